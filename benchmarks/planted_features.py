"""Verdicts on networks whose features are known: needed, present but useless, and noise.

    python benchmarks/planted_features.py --out planted.jsonl            # 204 networks; goes on where it stopped
    python benchmarks/planted_features.py --out planted.jsonl --table docs/planted-features.md

Every network classifies inputs that hold four binary features along planted patterns, in normal noise. The class is
made of two of them (needed); the other two are as large in the inputs (useless). Two more labels are drawn at random
(noise). Four architectures, three ways in which features relate: independent; correlated (each needed feature agrees
with a useless one in four of five inputs); hierarchical (one of each two implies the other). Networks of one
architecture and relation are trained together. Every network is analysed as a user would: features, targets and its own
initial state; on inputs that it was not trained on.
"""

import argparse
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tangentlens.analysis.case import Options, prepare
from tangentlens.analysis.modes.kernel_modes import TOTAL, kernel_modes
from tangentlens.analysis.questions.feature_table import feature_table
from tangentlens.analysis.subject import Subject
from tangentlens.paper.stacked_training import StackedTraining
from tangentlens.progress import silent
from tangentlens.statistics.intervals import share_interval

NEEDED, USELESS, NOISE = ("needed a", "needed b"), ("useless a", "useless b"), ("noise a", "noise b")
RELATIONS = ("independent", "correlated", "hierarchical")
FIRST, EACH = 3, 17  # networks of each architecture and relation; those before set two constants of the tests
N, TRAINED_ON = 600, 600
LENGTH, SPREAD = 1.5, 0.7  # of a pattern, and of the noise of a coordinate
AGREEMENT = 0.8
STEPS, RATE, DECAY = 120, 1e-2, 1e-2
CONTROLS = 400  # of an intervention, at most
QUESTIONS = ("aligned", "learned", "used")


class Recurrent(nn.Module):
    """The class from the last state of an LSTM."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(12, 16, batch_first=True)
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class UnrolledRecurrent(Recurrent):
    """The same network step by step: the fused LSTM cannot be vectorised over networks."""

    def forward(self, x: Tensor) -> Tensor:
        cell = self.lstm
        h = c = x.new_zeros(len(x), cell.hidden_size)
        for step in x.unbind(1):
            gates = step @ cell.weight_ih_l0.T + cell.bias_ih_l0 + h @ cell.weight_hh_l0.T + cell.bias_hh_l0
            i, f, g, o = gates.chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.head(h)


class Encoder(nn.Module):
    """The class from the mean over the positions of one encoder layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(12, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x)).mean(dim=1))


def _mlp(classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, classes))


def _cnn(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(128, classes),
    )  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """How a network is built, as it is analysed and as it is trained, and the shape of an input."""

    build: Callable[[int], nn.Module]
    trainable: Callable[[int], nn.Module]
    shape: tuple[int, ...]


ARCHITECTURES = {
    "MLP": Architecture(_mlp, _mlp, (24,)),
    "CNN": Architecture(_cnn, _cnn, (1, 8, 8)),
    "LSTM": Architecture(Recurrent, UnrolledRecurrent, (5, 12)),
    "encoder": Architecture(Encoder, Encoder, (5, 12)),
}


@dataclass(frozen=True)
class Sample:
    """Inputs with their features and classes."""

    inputs: Tensor
    features: dict[str, Tensor]
    classes: Tensor


def features_of(relation: str, n: int, generator: Generator) -> tuple[dict[str, Tensor], Tensor]:
    """The six features and the class, from independent coins."""

    def coin(p: float = 0.5) -> Tensor:
        return torch.rand(n, generator=generator) < p

    a, b, c, d = coin(), coin(), coin(), coin()
    if relation == "correlated":
        c, d = (torch.where(coin(AGREEMENT), of, ~of) for of in (a, b))
    elif relation == "hierarchical":
        b, d = a & b, c & d
    named = dict(zip((*NEEDED, *USELESS, *NOISE), (a, b, c, d, coin(), coin()), strict=True))
    return named, a.long() + b.long() if relation == "hierarchical" else 2 * a.long() + b.long()


def patterns(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """(4, *shape) orthogonal patterns of one length; of sequences a direction at times of positive weights."""
    if len(shape) == 2:
        weights = torch.rand(4, shape[0], generator=generator) + 0.2
        directions = torch.linalg.qr(torch.randn(shape[1], 4, generator=generator)).Q.T
        return LENGTH * torch.einsum("jt,jw->jtw", weights / weights.norm(dim=1, keepdim=True), directions)
    basis = torch.linalg.qr(torch.randn(math.prod(shape), 4, generator=generator)).Q.T
    return LENGTH * basis.reshape(4, *shape)


def sample(relation: str, n: int, planted: Tensor, generator: Generator) -> Sample:
    """Inputs that hold the four features along their patterns, +1 and -1, in normal noise."""
    named, classes = features_of(relation, n, generator)
    signs = torch.stack([named[name] for name in (*NEEDED, *USELESS)], dim=1) * 2.0 - 1
    noise = SPREAD * torch.randn(n, *planted.shape[1:], generator=generator)
    return Sample(torch.tensordot(signs, planted, dims=1) + noise, named, classes)


@dataclass(frozen=True)
class Trained:
    """One network, before and after training, and the inputs that it is analysed on."""

    initial: dict[str, Tensor]
    final: dict[str, Tensor]
    analysed: Sample


def trained(name: str, relation: str, count: int) -> list[Trained]:
    """Networks of one architecture and relation, trained together."""
    architecture, classes = ARCHITECTURES[name], 3 if relation == "hierarchical" else 4
    networks, learned_on, analysed = [], [], []
    for index in range(count):
        seed = 1000 * (1 + list(ARCHITECTURES).index(name)) + 100 * RELATIONS.index(relation) + index
        generator = Generator().manual_seed(seed)
        planted = patterns(architecture.shape, generator)
        learned_on.append(sample(relation, TRAINED_ON, planted, generator))
        analysed.append(sample(relation, N, planted, generator))
        networks.append(seeded(architecture.trainable, classes, seed))
    training = StackedTraining(
        networks,
        torch.stack([each.inputs for each in learned_on]),
        torch.stack([each.classes for each in learned_on]),
        objective=nn.functional.cross_entropy,
        optimiser=lambda leaves: torch.optim.AdamW(leaves, RATE, weight_decay=DECAY),
        generators=[Generator() for _ in range(count)],
    )
    initial = [training.snapshot(index) for index in range(count)]
    with sdpa_kernel(SDPBackend.MATH):
        for _ in range(STEPS):
            training.run_epoch()
    return [Trained(initial[i], training.snapshot(i), analysed[i]) for i in range(count)]


def seeded(build: Callable[[int], nn.Module], classes: int, seed: int) -> nn.Module:
    """A network from its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(classes)


def verdicts(model: nn.Module, given: Sample, untrained: Any, **settings: Any) -> list[dict[str, Any]]:
    """The table "alignment" of an analysis, rows as dicts."""
    subject = Subject(
        model.eval(), given.inputs, features=given.features, targets=given.classes, untrained=untrained, **settings
    )
    case = prepare(subject, Options(controls=CONTROLS))
    found = feature_table(case, kernel_modes(case.model, case.inputs, case.kernel, check=False), silent)
    kept = ("feature", "group", "score", "p_corrected", "share", "share_untrained", "p_learned", "site", "effect",
            "control", "effect_low", "p_used", "verdict_aligned", "verdict_learned", "verdict_used")  # fmt: skip
    columns = {}
    for column in kept:
        key = f"table.alignment.{column}"
        columns[column] = found.words[key] if key in found.words else found.arrays[key].tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def analysed(name: str, network: Trained) -> dict[str, Any]:
    """The verdicts on a trained network, and on the same network before it was trained beside others like it."""
    start = time.perf_counter()
    build, classes = ARCHITECTURES[name].build, int(network.analysed.classes.max()) + 1
    models = [build(classes) for _ in range(2)]
    for model, state in zip(models, (network.final, network.initial), strict=True):
        model.load_state_dict(state)
    with torch.no_grad():
        outputs = models[0].eval()(network.analysed.inputs)
    rows = verdicts(models[0], network.analysed, network.initial)
    before = verdicts(models[1], network.analysed, lambda seed: seeded(build, classes, seed), sites={}, groups="all")
    accuracy = float((outputs.argmax(dim=1) == network.analysed.classes).float().mean())
    return {"accuracy": accuracy, "rows": rows, "untrained": before, "seconds": time.perf_counter() - start}


def run(out: Path, each: int) -> None:
    """Analyse what is not in the file yet; a line for each network."""
    done = {(line["architecture"], line["relation"], line["index"]) for line in read(out)}
    for name, relation, places in _missing(done, each):
        networks = trained(name, relation, FIRST + each)
        for index in places:
            line = {"architecture": name, "relation": relation, "index": index}
            line |= analysed(name, networks[index])
            with out.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(name, relation, index, f"accuracy {line['accuracy']:.3f}, {line['seconds']:.1f} s", flush=True)


def _missing(done: set[tuple[str, str, int]], each: int) -> Iterator[tuple[str, str, list[int]]]:
    for relation in RELATIONS:
        for name in ARCHITECTURES:
            places = [index for index in range(FIRST, FIRST + each) if (name, relation, index) not in done]
            if places:
                yield name, relation, places


def read(out: Path) -> list[dict[str, Any]]:
    """The lines of the file."""
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def shares(lines: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Question -> 0 or 1, for each feature or network that it is asked about."""
    found: dict[str, list[float]] = {}

    def count(key: str, held: bool) -> None:
        found.setdefault(key, []).append(float(held))

    for line in lines:
        total = {row["feature"]: row for row in line["rows"] if row["group"] == TOTAL}
        for question in QUESTIONS:
            for kind, names in (("needed", NEEDED), ("useless", USELESS)):
                for name in names:
                    count(f"{kind} {question}", total[name][f"verdict_{question}"] == "holds")
        for name in NEEDED:
            count("needed all", all(total[name][f"verdict_{question}"] == "holds" for question in QUESTIONS))
        noise = [row for row in line["rows"] if row["feature"] in NOISE]
        count("noise any", any(row[f"verdict_{question}"] == "holds" for row in noise for question in QUESTIONS))
        count("untrained learned", any(row["verdict_learned"] == "holds" for row in line["untrained"]))
    return found


WORDS = {
    "needed all": "a needed feature is aligned, learned and used",
    "needed aligned": "a needed feature is aligned",
    "needed learned": "a needed feature is learned",
    "needed used": "a needed feature is used",
    "useless aligned": "a useless feature is aligned",
    "useless learned": "a useless feature is learned",
    "useless used": "a useless feature is used",
    "noise any": "a network in which any verdict on a noise feature holds, in any group",
    "untrained learned": "an untrained network in which any feature is learned",
}


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The shares with their intervals, for all networks, each architecture and each relation."""
    text = [f"Networks: {len(lines)}; accuracy on the analysed inputs: least "
            f"{min(line['accuracy'] for line in lines):.3f}, median "
            f"{sorted(line['accuracy'] for line in lines)[len(lines) // 2]:.3f}.", ""]  # fmt: skip
    text += ["| | holds | of | share | 95 % interval |", "|---|---|---|---|---|"]
    for key, values in shares(lines).items():
        figure = share_interval(values)
        low, high = figure.interval or (float("nan"), float("nan"))
        text.append(f"| {WORDS[key]} | {int(sum(values))} | {len(values)} | {100 * sum(values) / len(values):.1f} % "
                    f"| {100 * low:.1f} to {100 * high:.1f} % |")  # fmt: skip
    keys = ("needed all", "useless used", "noise any", "untrained learned")
    text += ["", "Share in percent by architecture and relation:", ""]
    text += [f"| networks | {' | '.join(keys)} |", "|---" * (len(keys) + 1) + "|"]
    for field in ("architecture", "relation"):
        for value in dict.fromkeys(line[field] for line in lines):
            part = shares([line for line in lines if line[field] == value])
            cells = [f"{100 * sum(part[key]) / len(part[key]):.1f}" for key in keys]
            text.append(f"| {value} | {' | '.join(cells)} |")
    return "\n".join(text)


def main() -> None:
    """Run, or write the table."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="results, a line of JSON for each network")
    parser.add_argument("--each", type=int, default=EACH, help="networks of each architecture and relation")
    parser.add_argument("--table", type=Path, help="print the table of the results at hand and write it into this page")
    arguments = parser.parse_args()
    if arguments.table is None:
        run(arguments.out, arguments.each)
        return
    text = table(read(arguments.out))
    print(text)
    mark = "<!-- figures of benchmarks/planted_features.py -->"
    page = arguments.table.read_text()
    arguments.table.write_text(page.split(mark)[0] + f"{mark}\n\n{text}\n")


if __name__ == "__main__":
    main()
