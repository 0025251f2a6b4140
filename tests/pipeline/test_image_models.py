"""Image models of Hugging Face: pixel_values from a processor, a data set with its transform, outputs with logits."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset as TorchDataset

import tangentlens as tl
from tangentlens.analysis.arguments.inputs import read_inputs

transformers = pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")
pytest.importorskip("PIL")

TOP = np.arange(40) % 2 == 0
PROCESSOR = transformers.ViTImageProcessor(size={"height": 16, "width": 16})


def photographs():
    """(20, 20, 3) pictures, the upper half of every second one bright."""
    pictures = np.random.default_rng(0).integers(0, 120, (40, 20, 20, 3), dtype=np.uint8)
    pictures[TOP, :10] += 120
    return list(pictures)


def vit():
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=8,
        num_labels=3,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config), ["vit.layernorm"]


def resnet():
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3
    )
    return transformers.ResNetForImageClassification(config), ["resnet.encoder.stages.0"]


class Processed(TorchDataset):
    """A data set that calls the processor on each picture."""

    def __init__(self, pictures):
        self.pictures = pictures

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        values = PROCESSOR(self.pictures[i], return_tensors="pt")["pixel_values"][0]
        return {"pixel_values": values, "labels": int(TOP[i])}


def transformed(pictures):
    """A data set of the hub with the processor as its transform."""

    def prepare(rows):
        images = [np.array(image, dtype=np.uint8) for image in rows["image"]]
        return {**PROCESSOR(images, return_tensors="pt"), "labels": rows["label"]}

    table = {"image": [picture.tolist() for picture in pictures], "label": TOP.astype(int).tolist()}
    return datasets.Dataset.from_dict(table).with_transform(prepare)


@pytest.mark.parametrize("data_set", [Processed, transformed])
def test_a_data_set_with_a_processor_gives_what_the_processor_gives(data_set):
    pictures = photographs()
    batch = read_inputs(data_set(pictures), vit()[0], memory=2**30)
    expected = PROCESSOR(pictures, return_tensors="pt")["pixel_values"]
    assert list(batch.inputs) == ["pixel_values"]
    torch.testing.assert_close(batch.inputs["pixel_values"], expected)
    assert batch.labels.tolist() == TOP.astype(int).tolist()


@pytest.mark.parametrize("build", [vit, resnet])
def test_an_image_model_is_analysed_from_what_its_processor_gives(build, tmp_path):
    torch.manual_seed(0)
    model, sites = build()
    inputs = PROCESSOR(photographs(), return_tensors="pt")
    run = tl.analyse(
        model.eval(), inputs, features={"bright top": TOP}, groups="all", sites=sites, show="image", modes=3,
        permutations=999, out=tmp_path / "run", progress=False,
    )  # fmt: skip
    assert run.results["kernel.check"].value < 1e-4
    assert set(run.table("alignment")["verdict_used"]) <= {"holds", "does not hold", "undecided"}
    assert run.card(0).highest[0].shown.startswith(b"\x89PNG")
