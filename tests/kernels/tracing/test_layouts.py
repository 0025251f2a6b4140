"""The layout of a merged axis is found among all merges, and none is named where several are left."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.kernels.tracing.layouts import Evidence, Layout, growing_axis, prove_layout

PAIRS = ((0, 2), (2, 1))  # (place among 4 examples, place among 3)


def evidence(layout: Layout, rows: tuple[int, ...], read: tuple[int, ...], *, constant: bool = False) -> Evidence:
    """What a batch shows whose entries are (example, position) codes, with gradients at the positions read."""
    n = len(rows)
    code = torch.tensor(rows)[:, None] * 1000.0 * (not constant) + torch.arange(float(layout.per_example))
    result = torch.zeros(layout.outer * n * layout.inner)
    layout.by_example(result, n).reshape(n, layout.outer, layout.inner).copy_(code.view(n, layout.outer, layout.inner))
    merged = torch.arange(layout.outer * n * layout.inner).view(layout.outer, n, layout.inner)
    support = torch.zeros(n, result.numel(), dtype=torch.bool)
    for example in range(n):
        support[example, merged[:, example].reshape(-1)[list(read)]] = True
    return Evidence(n, merged_values(code, layout, n), support, shared=False)


def merged_values(code: torch.Tensor, layout: Layout, n: int) -> torch.Tensor:
    return code.view(n, layout.outer, layout.inner).movedim(0, 1).reshape(-1)


@given(outer=st.integers(1, 6), inner=st.integers(1, 6), read=st.integers(0, 35))
def test_the_only_layout_is_found_whichever_position_is_read(outer, inner, read):
    layout = Layout(0, outer, inner)
    position = (read % layout.per_example,)
    more, few = (evidence(layout, rows, position) for rows in ((0, 5, 7, 9), (3, 7, 0)))
    assert prove_layout(0, more, few, PAIRS, 1e-9) == layout


def test_a_gradient_on_the_first_entries_alone_names_no_layout():
    """8 positions, one read, values that say nothing: position-major and example-major cannot be told apart."""
    layout = Layout(0, 8, 1)
    more = evidence(layout, (0, 5, 7, 9), (0,), constant=True)
    few = evidence(layout, (3, 7, 0), (0,), constant=True)
    silent = [Evidence(e.examples, torch.zeros_like(e.result), torch.zeros_like(e.support), False) for e in (more, few)]
    assert prove_layout(0, *silent, PAIRS, 1e-9) is None


def test_a_shuffled_batch_has_no_layout():
    layout = Layout(0)
    more, few = (evidence(layout, rows, (0,)) for rows in ((0, 5, 7, 9), (3, 7, 0)))
    shuffled = Evidence(4, more.result[[1, 0, 3, 2]], more.support[:, [1, 0, 3, 2]], False)
    assert prove_layout(0, shuffled, few, PAIRS, 1e-9) is None


def test_the_axis_that_grows_with_the_batch():
    assert growing_axis(torch.Size([6, 5]), torch.Size([8, 5]), (3, 4)) == 0
    assert growing_axis(torch.Size([5, 6]), torch.Size([5, 8]), (3, 4)) == 1
    assert growing_axis(torch.Size([3, 3]), torch.Size([4, 4]), (3, 4)) is None
    assert growing_axis(torch.Size([5]), torch.Size([6]), (3, 4)) is None
