"""From a model of one's own to a stored run with its page."""

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import tomli_w
from torch import Tensor

from tangentlens.analysis.case import Case, Options, prepare
from tangentlens.analysis.findings import Findings, merged
from tangentlens.analysis.model_steps import MODEL_STEPS
from tangentlens.analysis.modes.kernel_findings import halves_findings, kernel_findings, stored_modes
from tangentlens.analysis.modes.kernel_modes import KernelModes, kernel_modes
from tangentlens.analysis.modes.stability import random_halves
from tangentlens.analysis.steps import left_out, possible
from tangentlens.analysis.subject import Subject
from tangentlens.pipeline.parts import done_once, finish, measured, part_path
from tangentlens.progress import Progress, silent
from tangentlens.store import Draft, begin
from tangentlens.store.arrays import read_measurement, write_part

SETTING = "analysis"


def analyse_model(
    subject: Subject,
    options: Options,
    folder: Path,
    *,
    title: str = "",
    source: str = "",
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = silent,
) -> Path:
    """Analyse a model and store the run; the folder appears under its name only when complete.

    Args:
        subject: the model, its inputs, and what else there is.
        options: how much to compute.
        folder: where the run goes; it is built in the sibling `<name>.partial`.
        title: of the page; by default the model's class.
        source: FILE.py:FUNCTION that built the subject, so that the run can be replayed.
        overwrite: replace a complete run, once the new one is complete.
        resume: go on from an interrupted run, keeping its finished steps.
        progress: receives the stages.

    Returns:
        The run folder.

    Raises:
        InvalidInputError: an argument cannot be used, or the folder is taken.
        UnsupportedModelError: the model cannot be analysed.
        StoreError: the folder cannot be written.
    """
    case = prepare(subject, options, progress)
    draft = begin(folder, tomli_w.dumps(description(case, source)), overwrite=overwrite, resume=resume)
    start = time.perf_counter()
    kernels = _kernels(case, draft, progress)
    steps = possible(MODEL_STEPS, case)
    parts = [kernel_findings(kernels), _classes(case, kernels)]
    for done, step in enumerate(steps):
        progress("steps", done, len(steps))
        run = partial(step.run, case, kernels, progress)
        parts.append(done_once(draft, step.name, case.options.seed, run))
    progress("steps", len(steps), len(steps))
    whole = merged(parts)
    notes = (*left_out(MODEL_STEPS, case), *whole.notes)
    record = measured(case.options.seed, whole, notes)
    return finish(draft, title or type(subject.model).__name__, record, time.perf_counter() - start)


def description(case: Case, source: str) -> dict[str, Any]:
    """What config.toml says of the run."""
    options = {name: value for name, value in asdict(case.options).items() if value is not None}
    model = case.model
    shapes: dict[str, list[int]] = {}
    for place, tensor in enumerate(_tensors(case)):
        shapes[f"input_{place}"] = list(tensor.shape)
    return {
        "setting": SETTING,
        "seeds": [case.options.seed],
        "replay": {"source": source, "complete": bool(source)},
        "model": {"name": type(model).__name__, "parameters": sum(p.numel() for p in model.parameters())},
        "inputs": {"count": case.N, "left_out": case.left_out, **shapes},
        "loss": {"name": case.loss},
        "options": options,
    }


def _tensors(case: Case) -> list[Tensor]:
    inputs = case.inputs
    if isinstance(inputs, Tensor):
        return [inputs]
    return list(inputs.values() if isinstance(inputs, dict) else inputs)


def _classes(case: Case, kernels: KernelModes) -> Findings:
    """The class of the module that each group of a kernel is named after; "" where it is no module's name."""
    modules = dict(case.model.named_modules())
    names = tuple(type(modules[name]).__name__ if name in modules else "" for name in kernels.groups)
    return Findings(words={"kernel.classes": names})


def _kernels(case: Case, draft: Draft, progress: Progress) -> KernelModes:
    path = part_path(draft, "kernels")
    if path.exists():
        stored = read_measurement(path)
        return stored_modes(stored.arrays, stored.words, stored.figures.get("kernel.check"))
    kernels = kernel_modes(case.model, case.inputs, case.kernel, halves=random_halves(case), progress=progress)
    kept = merged((kernel_findings(kernels), halves_findings(kernels)))
    write_part(path, measured(case.options.seed, kept, ()))
    return kernels
