"""Memory and time of a sweep, predicted from one block on windows of the length asked for."""

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tangentlens.kernels.budget import free_memory
from tangentlens.kernels.tracing.recording import Recording
from tangentlens.language.doctor.record import Check, Verdict
from tangentlens.language.doctor.subject import PLAN_WINDOWS, Block, Subject
from tangentlens.language.doctor.weights import no_such_weight
from tangentlens.language.sweep.pilot import COMBINATIONS, WINDOWS, pilot_passes
from tangentlens.language.sweep.stages import HIDDEN

_PROBES = 2  # random directions of a sweep beside its own
_TIMED = 3  # backward passes that are timed
_WORKSPACE = 2 * 2**30  # graphs and temporaries of a sweep, which runs its windows in chunks
_GIB = 2**30


@dataclass(frozen=True)
class Demand:
    """Bytes that a sweep takes.

    Attributes:
        model: the weights.
        pilot: gone when the sweep begins.
        graph: of one stage, for one window; windows are run in chunks of at most _WORKSPACE.
        window: inputs of all stages, gradients on either side of one, factors of the groups' weights in one block.
    """

    model: int
    pilot: int
    graph: int
    window: int

    def at(self, windows: int) -> int:
        """At the peak, for so many windows."""
        return self.model + max(self.pilot, windows * self.window + min(_WORKSPACE, windows * self.graph))

    def in_folder(self, windows: int) -> int:
        """Where what grows with the windows lies in files that the system may drop from memory."""
        return self.model + max(self.pilot, min(_WORKSPACE, windows * self.graph))

    def most(self, available: int) -> int:
        """The most windows that so many bytes hold."""
        if self.model + self.pilot > available:
            return 0
        left = available - self.model
        return max(0, (left - _WORKSPACE) // self.window, left // (self.window + self.graph))


def memory_of_weights(subject: Subject) -> Check:
    """Whether a sweep of that size over every weight fits into this machine's memory."""
    return _memory(subject, "weights")


def memory_of_mlp_outputs(subject: Subject) -> Check:
    """Whether a sweep over the last matrix of every MLP does."""
    return _memory(subject, "down_proj")


def _memory(subject: Subject, preset: str) -> Check:
    names = subject.wanted(preset)
    name = f"memory of {preset}"
    if not names:
        return no_such_weight(name)
    task, device = subject.task, subject.lm.unembedding.device
    demand = _demand(subject, names)
    need, total, free = demand.at(task.windows), total_memory(device), free_memory(device)
    found = (
        f"about {_gib(need)} of {_gib(total)} ({_gib(free)} free) for {task.windows} windows of {task.length} tokens "
        f"in {_passes(subject)} directions: {demand.window / 2**20:.1f} MiB a window, one block's factors at a time"
    )
    if need <= free:
        return Check(name, Verdict.FINE, found, need)
    fits = demand.most(free)
    remedy = (
        f"{fits} windows fit into what is free; fewer groups, shorter windows and fewer directions need less; in a "
        "folder (work=, which every run has) files take what memory cannot, and it takes longer."
        if fits
        else "Not one window fits into what is free: give fewer groups, fewer directions or a larger machine."
    )
    works = min(need, demand.in_folder(task.windows)) <= total
    return Check(name, Verdict.NOTE if works else Verdict.FAILS, found, need, remedy)


def duration(subject: Subject) -> Check:
    """How long the pilot and the backward passes of a sweep of that size take."""
    block, task = subject.largest_block, subject.task
    blocks, passes = len(subject.lm.blocks), _passes(subject)
    forward, backward = (seconds / PLAN_WINDOWS for seconds in _timed(block))
    pilot = blocks * backward * (pilot_passes(task.windows, task.directions) if _piloted(subject) else 0)
    swept = blocks * task.windows * (forward + passes * backward)
    found = (
        f"about {_spoken(pilot)} for the pilot and {_spoken(swept)} for the backward passes in {passes} directions "
        f"through {blocks} blocks, one taking {1e3 * backward:.2f} ms a window and direction; eigenpairs come on top"
    )
    return Check("time", Verdict.FINE, found, pilot + swept)


def total_memory(device: torch.device) -> int:
    """Bytes of memory that the device has."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _demand(subject: Subject, names: Collection[str]) -> Demand:
    parameters = dict(subject.lm.model.named_parameters())
    return Demand(
        model=sum(map(_bytes, parameters.values())),
        pilot=_pilot_bytes(subject, names, sum(_bytes(parameters[name]) for name in names)),
        graph=2 * subject.largest_block.planned.plan.bytes_per_example,
        window=_window_bytes(subject, names, _passes(subject)),
    )


def _pilot_bytes(subject: Subject, names: Collection[str], weights: int) -> int:
    """Gradients of every weight and the same weighted, or the directions found and one sweep of a few windows."""
    if not _piloted(subject):
        return 0
    graph = 2 * subject.largest_block.planned.plan.bytes_per_example
    columns = COMBINATIONS * weights
    windows = min(WINDOWS, subject.task.windows)
    swept = columns + windows * (_window_bytes(subject, names, subject.task.directions) + graph)
    return max(2 * columns + min(_WORKSPACE, windows * COMBINATIONS * graph), swept)


def _window_bytes(subject: Subject, names: Collection[str], directions: int) -> int:
    """Inputs of all stages, gradients on either side of one, and the factors of the wanted weights of one block."""
    block = subject.largest_block
    plan, hidden = block.planned.plan, block.inputs[HIDDEN][0]
    wanted = [plan.parameters[name] for name, full in block.planned.names.items() if full in names]
    sizes = [plan.use_sizes[i] for parameter in wanted for frame in parameter.views for i in frame.uses]
    factors = sum(directions * result + operand for result, operand in sizes)
    return block.entering_bytes + hidden.element_size() * (2 * directions * hidden.numel() + factors)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _passes(subject: Subject) -> int:
    """Backward passes of a sweep: its directions and the probes, or every coordinate."""
    wanted, d = subject.task.directions, subject.lm.d_model
    return wanted + _PROBES if wanted < d else d


def _piloted(subject: Subject) -> bool:
    """Whether a pilot chooses directions: not where every coordinate is one."""
    return subject.task.directions < subject.lm.d_model


def _timed(block: Block) -> tuple[float, float]:
    """Seconds of a block's forward pass with its graph, and of one backward pass that leaves its factors."""
    inputs = {**block.inputs, HIDDEN: block.inputs[HIDDEN].detach().requires_grad_()}
    start = time.perf_counter()
    recording = block.planned.plan.record(block.planned.view, inputs)
    forward = time.perf_counter() - start
    return forward, min(_backward(recording, inputs[HIDDEN]) for _ in range(_TIMED))


def _backward(recording: Recording, hidden: Tensor) -> float:
    sought: Any = [hidden, *dict.fromkeys(use.edge for use in recording.uses)]
    start = time.perf_counter()
    torch.autograd.grad(
        recording.output, sought, torch.ones_like(recording.output), retain_graph=True, allow_unused=True
    )
    return time.perf_counter() - start


def _gib(count: int) -> str:
    return f"{count / _GIB:.3g} GiB"


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
