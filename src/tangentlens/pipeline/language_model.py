"""From a language model and a text to a stored run with its page."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from tangentlens.analysis.findings import merged
from tangentlens.analysis.modes.kernel_findings import kernel_findings
from tangentlens.analysis.steps import left_out, possible
from tangentlens.language.text_analysis.case import TextCase
from tangentlens.language.text_analysis.kernels import kernel_modes, swept
from tangentlens.language.text_analysis.steps import TEXT_STEPS, TextFindings
from tangentlens.language.windows.text_windows_file import write_text_windows
from tangentlens.pipeline.parts import done_once, finish, measured
from tangentlens.progress import Progress, silent
from tangentlens.store import begin

SETTING = "text"
WINDOWS = "windows.safetensors"  # of a run, for another model


def analyse_text(
    case: TextCase,
    folder: Path,
    *,
    called: Mapping[str, Any],
    title: str = "",
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = silent,
) -> Path:
    """Analyse a language model and store the run; the folder appears under its name only when complete.

    Args:
        case: model, windows and labels.
        folder: where the run goes; it is built in the sibling `<name>.partial`.
        called: the arguments that replay it, as far as a file can hold them (`replayable`).
        title: of the page; by default the model's name.
        overwrite: replace a complete run, once the new one is complete.
        resume: go on from an interrupted run, keeping its finished steps and groups.
        progress: receives the stages.

    Returns:
        The run folder.

    Raises:
        InvalidInputError: the folder is taken.
        UnsupportedModelError: the model cannot be swept.
        NumericalError: a kernel is not that of automatic differentiation.
        StoreError: the folder cannot be written.
    """
    draft = begin(folder, tomli_w.dumps(_description(case, called)), overwrite=overwrite, resume=resume)
    start = time.perf_counter()
    write_text_windows(draft.partial / WINDOWS, case.windows)
    work, seed = draft.partial / "work", case.options.seed
    found = swept(case.lm, case.windows, case.options, work / "sweep", progress)
    kernels = kernel_modes(found, case.options.modes)
    given = TextFindings(case, kernels, found, work, progress)
    steps = possible(TEXT_STEPS, given)
    parts = [kernel_findings(kernels)]
    for done, step in enumerate(steps):
        progress("steps", done, len(steps))
        parts.append(done_once(draft, step.name, seed, lambda step=step: step.run(given)))  # type: ignore[misc]
    progress("steps", len(steps), len(steps))
    whole = merged(parts)
    notes = (*_source_notes(case), *left_out(TEXT_STEPS, given), *whole.notes)
    record = measured(seed, whole, notes)
    return finish(draft, title or model_name(case), record, time.perf_counter() - start, "work")


def model_name(case: TextCase) -> str:
    """The last part of the model's name, or its class."""
    source = case.lm.source
    return type(case.lm.model).__name__ if source is None else source.name.rstrip("/").rpartition("/")[2]


def _description(case: TextCase, called: Mapping[str, Any]) -> dict[str, Any]:
    model = case.lm.model
    options = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(case.options).items()
        if isinstance(value, str | int | float | tuple | list)
    }
    return {
        "setting": SETTING,
        "seeds": [case.options.seed],
        "model": {"name": model_name(case), "class": type(model).__name__,
                  "parameters": sum(p.numel() for p in model.parameters())},
        "windows": {"count": case.count, "length": case.windows.input_ids.shape[1],
                    "texts": len(case.windows.text_index.unique())},
        "labels": {"names": [each.name for each in case.features.features]},
        "options": options,
        "replay": dict(called),
    }  # fmt: skip


def _source_notes(case: TextCase) -> tuple[str, ...]:
    source = case.windows.source
    text = ", ".join(f"{key} {value}" for key, value in source["text"].items())
    rules = source["rules"]
    special = source.get("special") or {}
    return (
        f"text: {text}; {case.count} windows of {source['candidates']} candidates, ending at {rules['at']!r}",
        f"labels by {source['tagger']}" if source.get("tagger") else "no tagger",
        "special tokens in the windows: " + (", ".join(f"{k} {v}" for k, v in special.items()) or "none"),
    )
