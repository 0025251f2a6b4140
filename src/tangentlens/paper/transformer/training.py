"""Training of all seeds together, with their checkpoints on disk until each is measured.

Layout of the folder: seed-0000/epoch-00000.safetensors, the parameters at every checkpoint; seed-0000/run.safetensors,
the curves, written last, so that a seed whose file is there is complete.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from tangentlens.errors import NumericalError
from tangentlens.paper.modular_addition.data import labels, token_inputs
from tangentlens.paper.stacked_training import StackedTraining
from tangentlens.paper.training import cross_entropy
from tangentlens.paper.transformer.config import Config
from tangentlens.paper.transformer.subject import Drawn, draw
from tangentlens.progress import Progress, silent


@dataclass(frozen=True)
class TrainedSeed:
    """One seed's training as it lies on disk.

    Attributes:
        folder: of its checkpoints.
        curves: (E, 5) float64 rows (epoch, training loss and accuracy, test loss and accuracy), accuracies 0..1.
        seconds: wall time of the stack until this seed left it.
    """

    folder: Path
    curves: Float[Tensor, "E 5"]
    seconds: float

    @property
    def epochs(self) -> Int[Tensor, " E"]:
        """(E,) epochs of the checkpoints."""
        return self.curves[:, 0].to(torch.int64)

    def states(self) -> Iterator[dict[str, Tensor]]:
        """The parameters at every checkpoint, the earliest first."""
        for epoch in self.epochs.tolist():
            yield load_file(_checkpoint_path(self.folder, epoch))


def stacked(config: Config, drawn: Sequence[Drawn], targets: Int[Tensor, " N"]) -> StackedTraining:
    """The training of some seeds' networks together, on their own train rows of the targets."""
    p, settings = config.data.p, config.training
    rows = torch.stack([each.split.train for each in drawn])
    return StackedTraining(
        [each.model for each in drawn],
        token_inputs(p)[rows],
        targets[rows],
        objective=lambda logits, y: cross_entropy(logits[:, :p], y),
        optimiser=partial(torch.optim.AdamW, lr=settings.learning_rate, weight_decay=settings.weight_decay),
        generators=[each.generator for each in drawn],
        batch=settings.batch_size,
    )


@dataclass
class _Member:
    """A seed while it is in the stack."""

    seed: int
    folder: Path
    drawn: Drawn
    rows: list[list[float]] = field(default_factory=list)


def train_together(config: Config, folder: Path, progress: Progress = silent) -> Path:
    """Train every seed of the config whose training is not in the folder yet; returns the folder.

    All train for `training.epochs`; from then on a seed leaves as soon as its test accuracy has been at least
    `hold_accuracy` at every checkpoint of the last `hold_epochs`, at the latest at `max_epochs`.

    Raises:
        NumericalError: a network diverged.
        OSError: the folder cannot be written.
    """
    members = [_member(config, seed, folder) for seed in config.seeds if not _run_path(folder, seed).exists()]
    if not members:
        return folder
    settings, inputs, targets = config.training, token_inputs(config.data.p), labels(config.data.p)
    stack = stacked(config, [member.drawn for member in members], targets)
    start = time.perf_counter()
    progress("training all seeds together", 0, settings.max_epochs)
    while members:
        if stack.epoch % settings.measure_every == 0:
            _measure(stack, members, inputs, targets)
            staying = [i for i, member in enumerate(members) if not _finished(member, config)]
            for i in sorted(set(range(len(members))) - set(staying)):
                _write_curves(members[i], time.perf_counter() - start)
            members = [members[i] for i in staying]
            progress("training all seeds together", stack.epoch, settings.max_epochs)
            if members and len(members) < len(stack):
                stack.keep(staying)
        if members:
            stack.run_epoch()
    progress("training all seeds together", settings.max_epochs, settings.max_epochs)
    return folder


def trained_seed(folder: Path, seed: int) -> TrainedSeed:
    """The training of a seed that `train_together` has finished."""
    stored = load_file(_run_path(folder, seed))
    return TrainedSeed(_run_path(folder, seed).parent, stored["curves"], float(stored["seconds"]))


def held_by(curves: Float[Tensor, "E 5"], epoch: int, config: Config) -> bool:
    """True where, at that epoch, test accuracy had been kept for `hold_epochs` at every checkpoint."""
    hold = config.training.hold_epochs
    recent = curves[(curves[:, 0] >= epoch - hold) & (curves[:, 0] <= epoch), 4]
    return epoch >= hold and bool((recent >= config.training.hold_accuracy).all())


def _member(config: Config, seed: int, folder: Path) -> _Member:
    place = _run_path(folder, seed).parent
    place.mkdir(parents=True, exist_ok=True)
    return _Member(seed, place, draw(config, seed))


def _measure(stack: StackedTraining, members: list[_Member], inputs: Tensor, targets: Tensor) -> None:
    """One more row of every member's curves, and its parameters on disk."""
    p = int(targets.max()) + 1
    for i, (member, logits) in enumerate(zip(members, stack.outputs(inputs)[..., :p], strict=True)):
        right = (logits.argmax(dim=1) == targets).to(torch.float64)
        row = [float(stack.epoch)]
        for part in (member.drawn.split.train, member.drawn.split.test):
            row += [float(cross_entropy(logits[part], targets[part])), float(right[part].mean())]
        member.rows.append(row)
        if not bool(torch.tensor(row).isfinite().all()):
            raise NumericalError(
                "the loss is not finite",
                where=f"seed {member.seed}, epoch {stack.epoch}",
                remedy="Lower learning_rate.",
            )
        save_file(stack.snapshot(i), _checkpoint_path(member.folder, stack.epoch))


def _finished(member: _Member, config: Config) -> bool:
    epoch, settings = int(member.rows[-1][0]), config.training
    curves = torch.tensor(member.rows, dtype=torch.float64)
    return epoch >= settings.epochs and (epoch >= settings.max_epochs or held_by(curves, epoch, config))


def _write_curves(member: _Member, seconds: float) -> None:
    curves = torch.tensor(member.rows, dtype=torch.float64)
    stored = {"curves": curves, "seconds": torch.tensor(seconds, dtype=torch.float64)}
    aside = member.folder / "run.partial"
    save_file(stored, aside)
    aside.replace(member.folder / "run.safetensors")


def _run_path(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed:04d}" / "run.safetensors"


def _checkpoint_path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:05d}.safetensors"
