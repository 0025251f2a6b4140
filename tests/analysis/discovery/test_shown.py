"""How inputs are shown: by kind, by shape, by what a user gives; and what a run stores of it."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tangentlens.analysis.case import Options, prepare
from tangentlens.analysis.discovery.shown import read_shown
from tangentlens.analysis.discovery.shown_findings import shown_findings
from tangentlens.analysis.discovery.thumbnails import MOST_BYTES, bounds_of, thumbnail
from tangentlens.analysis.subject import Subject
from tangentlens.errors import InvalidInputError
from tangentlens.store.png import png
from tests.support.png import read_png

N = 20


def drawn(*shape, seed=0):
    return torch.rand(N, *shape, generator=torch.Generator().manual_seed(seed))


def decoded(content: bytes) -> np.ndarray:
    return read_png(content)[0]


class Picture:
    """As much of a PIL image as is asked of one."""

    def __init__(self, pixels):
        self.pixels = pixels

    def getbands(self):
        return ("L",) if self.pixels.ndim == 2 else ("R", "G", "B")

    def convert(self, mode):
        assert mode == ("L" if self.pixels.ndim == 2 else "RGB")
        return self

    def __array__(self, dtype=None, copy=None):
        return self.pixels


@pytest.mark.parametrize(("shape", "size"), [
    ((8, 9), (8, 9)), ((1, 8, 9), (8, 9)), ((3, 8, 9), (8, 9, 3)), ((8, 9, 3), (8, 9, 3)), ((4, 8, 9), (8, 9, 3)),
    ((64,), (8, 8)),
])  # fmt: skip
@pytest.mark.parametrize("scale", [1, 255, 16])
def test_pictures_of_any_layout_and_scale(shape, size, scale):
    inputs = drawn(*shape) * scale
    inputs[0].view(-1)[0], inputs[0].view(-1)[1] = scale, 0
    shown = read_shown("image", inputs, N)
    image = inputs[3].numpy()
    if size == (8, 9, 3) and shape[0] in (3, 4):
        image = np.moveaxis(image[:3], 0, -1)
    assert shown.kind == "image"
    np.testing.assert_array_equal(shown.item(3), np.rint(255 * (image.reshape(size) / scale)).astype(np.uint8))


def test_standardised_pictures_span_black_to_white():
    inputs = torch.randn(N, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    shown = read_shown(None, inputs, N)
    whole = np.stack([shown.item(i) for i in range(N)])
    assert (whole.min(), whole.max()) == (0, 255)
    assert bounds_of(0.0, 16.0) == (0, 16)  # digits of sixteen levels are no dark pictures of 256


@pytest.mark.parametrize(("inputs", "kind"), [
    (drawn(1, 8, 8), "image"), (drawn(3, 8, 8), "image"), (drawn(5), "table"), (drawn(100), "series"),
    (drawn(30, 2), "series"), (torch.arange(N * 6).reshape(N, 6), "text"), ((drawn(5), drawn(2)), "table"),
    (drawn(7, 8, 8), None), (drawn(2, 30), None), (drawn(8, 8) > 0.5, None), (drawn(30, 30), None),
])  # fmt: skip
def test_a_guess_is_made_only_where_the_shape_is_certain(inputs, kind):
    shown = read_shown(None, inputs, N)
    assert (None if shown is None else shown.kind) == kind


def test_tokens_are_their_numbers_without_those_that_a_mask_leaves_out():
    tokens = torch.arange(N * 4).reshape(N, 4)
    mask = torch.ones(N, 4, dtype=torch.int64)
    mask[2, 2:] = 0
    assert read_shown(None, tokens, N).item(2) == "8 9 10 11"
    inputs = {"input_ids": tokens, "attention_mask": mask}
    assert read_shown("text", inputs, N).item(2) == "8 9"

    class Tokenizer:
        def decode(self, ids):
            return "".join(chr(97 + i) for i in ids)

    assert read_shown(Tokenizer(), inputs, N).item(2) == "ij"


def test_a_table_has_the_names_of_its_columns():
    frame = pd.DataFrame({"age": np.arange(N) / 2, "height": np.ones(N)})
    inputs = torch.tensor(frame.to_numpy())
    assert read_shown(None, inputs, N, given=frame).columns == ("age", "height")
    assert read_shown(None, inputs, N, columns=["a", "b"]).columns == ("a", "b")
    assert read_shown(None, inputs, N).columns == ("column 0", "column 1")
    assert read_shown(frame, drawn(100), N).columns == ("age", "height")
    assert read_shown(frame.assign(who="me"), drawn(100), N).item(3) == "age 1.5, height 1.0, who me"
    np.testing.assert_allclose(read_shown("table", inputs, N).item(3), [1.5, 1.0])


def test_sequences_show_what_they_hold():
    inputs = drawn(7, 8, 8)
    words = [f"text {i}" for i in range(N)]
    assert read_shown(words, inputs, N).item(4) == "text 4"
    assert read_shown(np.array(words), inputs, N).kind == "text"
    assert read_shown(drawn(8, 8).numpy(), inputs, N).kind == "image"
    assert read_shown(drawn(50), inputs, N).kind == "series"
    assert read_shown(drawn(4), inputs, N).kind == "table"
    assert read_shown(torch.cat([drawn(4), drawn(4)]), inputs, N, left_out=N).item(3).shape == (4,)
    greys = [Picture(np.full((6, 5), i, np.uint8)) for i in range(N)]
    assert (read_shown(greys, inputs, N).item(9) == np.full((6, 5), 9)).all()
    colours = [Picture(np.full((6, 5, 3), i, np.uint8)) for i in range(N)]
    assert read_shown(colours, inputs, N).item(9).shape == (6, 5, 3)


def test_a_function_shows_each_index():
    inputs = drawn(7, 8, 8)
    assert read_shown(lambda i: f"number {i}", inputs, N).item(4) == "number 4"
    assert read_shown(lambda i: inputs[i, 0], inputs, N).kind == "image"
    assert read_shown(lambda i: np.arange(100) + i, inputs, N).item(4).shape == (100, 1)
    assert read_shown(lambda i: [i, 2.0], inputs, N).item(4).tolist() == [4, 2]


@pytest.mark.parametrize(("show", "inputs", "what"), [
    ("picture", drawn(5), "show='picture'"), ("image", drawn(5), "not shown as image"), (["a"] * 3, drawn(5), "3 ent"),
    ("text", drawn(5), "no tokens"), (3, drawn(5), "a int shows no inputs"), ({"a": 1}, drawn(5), "dict"),
    (["a"] * 19 + [3], drawn(5), "entry 19"), (lambda i: 1 // i, drawn(5), "fails on input 0"),
    (lambda i: "a" if i < 19 else 3, drawn(5), "input 19"), (drawn(5, 8, 8), drawn(5), "shows no inputs"),
    ([object()] * N, drawn(5), "object"), ("table", drawn(2, 2), "not shown as table"),
])  # fmt: skip
def test_what_cannot_be_shown_is_refused_with_a_remedy(show, inputs, what):
    with pytest.raises(InvalidInputError, match=what) as caught:
        read_shown(show, inputs, N)
    assert caught.value.where == "show"
    assert caught.value.remedy


@pytest.mark.parametrize("columns", [["a"], "abcde", [1, 2, 3, 4, 5]])
def test_columns_that_do_not_fit_are_refused(columns):
    with pytest.raises(InvalidInputError) as caught:
        read_shown(None, drawn(5), N, columns=columns)
    assert caught.value.where == "columns"


def test_a_wrong_show_is_found_before_anything_long_starts():
    model = nn.Linear(5, 2)
    with pytest.raises(InvalidInputError, match="3 entries for 20 inputs"):
        prepare(Subject(model, drawn(5), show=["a", "b", "c"]), Options())
    case = prepare(Subject(model, drawn(5), columns=list("abcde")), Options())
    assert case.shown.columns == tuple("abcde")


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (5, 17), (1, 1)])
def test_png_keeps_every_pixel(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(decoded(png(picture)), picture)
    ramp = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    np.testing.assert_array_equal(decoded(png(ramp)), ramp)
    if len(shape) == 2:
        palette = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
        for read, written in zip(read_png(png(picture, palette)), (picture, palette), strict=True):
            np.testing.assert_array_equal(read, written)


@pytest.mark.parametrize("shape", [(8, 8), (32, 32, 3), (224, 224, 3), (100, 700), (64, 64, 3)])
def test_thumbnails_are_small_and_look_the_same(shape):
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, shape, dtype=np.uint8)
    assert len(thumbnail(noise)) <= MOST_BYTES
    rows, columns = np.indices(shape[:2]) / max(shape)
    smooth = np.rint(127 + 120 * np.sin(5 * rows + 3 * columns)).astype(np.uint8)
    if len(shape) == 3:
        smooth = np.stack([smooth] * 3, axis=2)
    small = decoded(thumbnail(smooth))
    assert abs(small.mean() - smooth.mean()) < 3
    assert max(small.shape[:2]) <= 64
    assert small.shape[0] / small.shape[1] == pytest.approx(shape[0] / shape[1], rel=0.15)


def test_a_run_stores_only_the_inputs_that_are_shown():
    images = drawn(1, 8, 8)
    found = shown_findings(read_shown(None, images, N), [1, 4, 7])
    starts = [0, *found.arrays["shown.ends"].tolist()]
    content = found.arrays["shown.png"].numpy().tobytes()
    for place, row in enumerate([1, 4, 7]):
        shown = decoded(content[starts[place] : starts[place + 1]])
        np.testing.assert_array_equal(shown, np.rint(255 * images[row, 0].numpy() / 1).astype(np.uint8))
    table = shown_findings(read_shown(None, drawn(3), N), [1, 4])
    np.testing.assert_allclose(table.arrays["shown.table"], drawn(3)[[1, 4]].double())
    assert table.words["shown.columns"] == ("column 0", "column 1", "column 2")
    long = 1e6 * drawn(1000)
    series = shown_findings(read_shown(None, long, N), [2, 3])
    lines = series.arrays["shown.series"].double() * series.arrays["shown.scale"]
    assert lines.shape == (2, 200, 1)
    np.testing.assert_allclose(lines[:, :, 0], long[[2, 3]][:, ::5].double(), atol=500)
    texts = shown_findings(read_shown(["x" * 1000] * N, drawn(3), N), [0])
    assert len(texts.words["shown.texts"][0]) == 601
