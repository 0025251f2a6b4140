"""How long `tangentlens.analyse` takes on models of five kinds, and on 5,000 inputs of a wide MLP; and its memory.

    python benchmarks/analyse_times.py                 # digits CNN, LSTM, ViT-like, regression, padding masks
    python benchmarks/analyse_times.py --wide          # N = 5,000 inputs x 10 outputs, width 512, every step timed

Each model is trained first, which is not counted. Every analysis has everything that its user would give: features,
targets, the initial state. Each kind runs in a process of its own, so that peak memory is that of one analysis.
"""

import argparse
import logging
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor, nn

import tangentlens as tl

Case = tuple[nn.Module, Any, dict[str, Any]]  # model, inputs, keywords


def fitted(model: nn.Module, inputs: Any, targets: Tensor, loss: Callable[..., Tensor], steps: int = 300) -> dict:
    """Train on all inputs at once; returns the initial state."""
    start = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    rows = [torch.randint(len(targets), (128,)) for _ in range(steps)]
    for chosen in rows:
        batch = {k: v[chosen] for k, v in inputs.items()} if isinstance(inputs, dict) else inputs[chosen]
        optimiser.zero_grad()
        outputs = model(**batch) if isinstance(batch, dict) else model(batch)
        loss(outputs, targets[chosen]).backward()
        optimiser.step()
    model.eval()
    return start


def digits() -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Pictures (N, 8, 8), digits and features of 600 digits."""
    data = load_digits()
    images = torch.tensor(data.images[:600], dtype=torch.float32) / 16
    top = images[:, :4].sum(dim=(1, 2)) > images[:, 4:].sum(dim=(1, 2))
    labels = torch.tensor(data.target[:600])
    return images, labels, {"digit": labels, "top-heavy": top, "ink": images.sum(dim=(1, 2))}


def cnn() -> Case:
    """A small CNN on digits."""
    images, labels, features = digits()
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    start = fitted(model, images[:, None], labels, nn.functional.cross_entropy)
    return model, images[:, None], {"features": features, "targets": labels, "untrained": start, "show": images}


class Lstm(nn.Module):
    """Digits read row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 48, batch_first=True), nn.Linear(48, 10)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.lstm(rows)[0][:, -1])


def lstm() -> Case:
    """An LSTM on digits."""
    images, labels, features = digits()
    model = Lstm()
    start = fitted(model, images, labels, nn.functional.cross_entropy)
    return model, images, {"features": features, "targets": labels, "untrained": start, "show": "series"}


class Vit(nn.Module):
    """Patches of 2 x 2 through two encoder layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 32, 2, stride=2)
        self.place = nn.Parameter(0.02 * torch.randn(16, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patch(images).flatten(2).mT + self.place
        return self.head(self.encoder(tokens).mean(dim=1))


def vit() -> Case:
    """A transformer of patches on digits."""
    images, labels, features = digits()
    model = Vit()
    start = fitted(model, images[:, None], labels, nn.functional.cross_entropy)
    return model, images[:, None], {"features": features, "targets": labels, "untrained": start, "show": images}


def regression() -> Case:
    """An MLP with dropout and batch norm on scikit-learn's diabetes table."""
    data = load_diabetes()
    X = torch.tensor(data.data / data.data.std(axis=0), dtype=torch.float32)
    y = torch.tensor((data.target - data.target.mean()) / data.target.std(), dtype=torch.float32)[:, None]
    model = nn.Sequential(nn.Linear(10, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 1))
    start = fitted(model, X, y, nn.functional.mse_loss)
    features = {
        name: data.data[:, place] for place, name in enumerate(data.feature_names) if name in ("bmi", "bp", "s5")
    }
    return model, X, {"features": features, "targets": y, "loss": "mse", "untrained": start, "show": "table",
                      "columns": data.feature_names}  # fmt: skip


class Masked(nn.Module):
    """Tokens with padding through an encoder; the mean of those that are there."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(40, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(32, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        found = self.encoder(self.embed(input_ids), src_key_padding_mask=attention_mask == 0)
        kept = attention_mask[..., None].float()
        return self.head((found * kept).sum(dim=1) / kept.sum(dim=1))


def masked() -> Case:
    """Sequences of tokens: is the token 1 before the token 2?"""
    random = np.random.default_rng(0)
    ids, mask = np.zeros((600, 12), dtype=np.int64), np.zeros((600, 12), dtype=np.int64)
    for row in range(600):
        length = int(random.integers(4, 13))
        ids[row, :length], mask[row, :length] = random.integers(3, 40, length), 1
        first, second = random.choice(length, 2, replace=False)
        ids[row, first], ids[row, second] = 1, 2
    answers = torch.tensor((ids == 1).argmax(axis=1) < (ids == 2).argmax(axis=1)).long()
    inputs = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    model = Masked()
    start = fitted(model, inputs, answers, nn.functional.cross_entropy)
    features = {"order": answers.bool(), "length": mask.sum(axis=1), "has 7": (ids == 7).any(axis=1)}
    return model, inputs, {"features": features, "targets": answers, "untrained": start}


def wide() -> Case:
    """N = 5,000 x 10 outputs, width 512."""
    X = torch.randn(5000, 64)
    y = X[:, :10].argmax(dim=1)
    model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    start = fitted(model, X, y, nn.functional.cross_entropy, steps=60)
    return model, X, {"features": {"class": y, "size": X.norm(dim=1)}, "targets": y, "untrained": start}


KINDS = {"digits CNN": cnn, "LSTM": lstm, "ViT-like": vit, "regression": regression, "padding masks": masked}


def report(kind: str) -> None:
    """Analyse one kind in this process and print its row."""
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    model, inputs, keywords = {**KINDS, "wide": wide}[kind]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    with TemporaryDirectory() as folder:
        run = tl.analyse(model, inputs, **keywords, out=f"{folder}/run", progress=False)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        total = run.table("alignment").query("group == 'total'")
        size = run.report.stat().st_size / 2**20
        steps = {key.removeprefix("seconds."): figure.value for key, figure in run.results.items()
                 if key.startswith("seconds.")}  # fmt: skip
    verdicts = "; ".join(f"{row.feature}: {row.verdict_aligned}, {row.verdict_learned}, {row.verdict_used}"
                         for row in total.itertuples() if " = " not in row.feature)  # fmt: skip
    print(f"| {kind} | {wall:.0f} | {cpu:.0f} | {(peak - before) / 2**10:.0f} | {size:.1f} | {verdicts} |", flush=True)
    if kind == "wide":
        spent = ", ".join(f"{name} {value:.0f}" for name, value in steps.items() if value)
        print(f"\nSeconds of steps (kernels and their modes are the rest): {spent}; peak {peak / 2**20:.2f} GB")


def main() -> None:
    """A process for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wide", action="store_true", help="5,000 inputs of a wide MLP instead")
    parser.add_argument("--kind", help="one kind, in this process")
    arguments = parser.parse_args()
    if arguments.kind:
        report(arguments.kind)
        return
    print("| model | seconds | of processor time | MiB more than before | page, MB | aligned, learned, used |")
    print("|---|---|---|---|---|---|", flush=True)
    for kind in ["wide"] if arguments.wide else KINDS:
        subprocess.run([sys.executable, __file__, "--kind", kind], check=True)


if __name__ == "__main__":
    main()
