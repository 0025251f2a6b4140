"""From a model of one's own to a stored run with its page."""

import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w
from torch import Tensor

from tangentlens.analysis.case import Case, Options, Subject, prepare
from tangentlens.analysis.findings import Findings, measurement, merged
from tangentlens.analysis.kernel_findings import kernel_findings, stored_modes
from tangentlens.analysis.kernel_modes import KernelModes, kernel_modes
from tangentlens.analysis.model_steps import MODEL_STEPS, ModelStep, left_out
from tangentlens.pipeline.summary import summarise
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement
from tangentlens.report import build_report
from tangentlens.store import Draft, begin, complete
from tangentlens.store.about import About, write_about
from tangentlens.store.arrays import read_measurement, read_seeds, write_measurement, write_part
from tangentlens.store.environment import write_environment
from tangentlens.store.results import write_results

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
    possible = [step for step in MODEL_STEPS if not step.lacks(case)]
    parts = [kernel_findings(kernels), _classes(case, kernels)]
    for done, step in enumerate(possible):
        progress("steps", done, len(possible))
        parts.append(_done_once(step, case, kernels, draft, progress))
    progress("steps", len(possible), len(possible))
    whole = merged(parts)
    notes = (*left_out(case, MODEL_STEPS), *whole.notes)
    seconds = time.perf_counter() - start
    write_measurement(draft.partial, _measured(case, whole, notes), seconds)
    return _finish(draft, title or type(subject.model).__name__, seconds)


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


def _measured(case: Case, found: Findings, notes: tuple[str, ...]) -> Measurement:
    return measurement(case.options.seed, found.figures, found.arrays, notes, found.words, found.intervals)


def _kernels(case: Case, draft: Draft, progress: Progress) -> KernelModes:
    path = _part(draft, "kernels")
    if path.exists():
        stored = read_measurement(path)
        return stored_modes(stored.arrays, stored.words, stored.figures.get("kernel.check"))
    kernels = kernel_modes(case.model, case.inputs, case.kernel, progress=progress)
    write_part(path, _measured(case, kernel_findings(kernels), ()))
    return kernels


def _done_once(step: ModelStep, case: Case, kernels: KernelModes, draft: Draft, progress: Progress) -> Findings:
    """A step's findings: computed and stored, or read where an interrupted run holds them."""
    path = _part(draft, step.name)
    if path.exists():
        stored = read_measurement(path)
        figures = {key: (value, stored.units.get(key, "")) for key, value in stored.figures.items()}
        return Findings(figures, dict(stored.arrays), dict(stored.intervals), stored.words, stored.notes)
    start = time.perf_counter()
    found = step.run(case, kernels, progress)
    seconds = {f"seconds.{step.name.replace(' ', '_')}": (time.perf_counter() - start, "seconds")}
    whole = merged((found, Findings(seconds)))
    write_part(path, _measured(case, whole, whole.notes))
    return whole


def _part(draft: Draft, name: str) -> Path:
    return draft.partial / "parts" / f"{name.replace(' ', '-')}.safetensors"


def _finish(draft: Draft, title: str, seconds: float) -> Path:
    shutil.rmtree(draft.partial / "parts", ignore_errors=True)
    write_results(draft.partial / "results.json", summarise(read_seeds(draft.partial)))
    write_environment(draft.partial, {**draft.environment, "seconds": seconds})
    write_about(draft.partial, About(title, (), ()))
    build_report(draft.partial)
    return complete(draft)
