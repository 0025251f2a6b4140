"""Small runs of the four settings and what they gave when they were stored.

    python -m tests.support.small_runs [SETTING ...]     # store them anew, after a change that means to change figures

Each file holds every figure of results.json but wall times, and shape and Euclidean norm of every stored array.
"""

import json
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / "golden"
EVIDENCE = {"random_curves": 6, "random_subspaces": 2, "null_draws": 40, "directions": 2, "doses": [0.1, 1.0]}


def mlp(_folder: Path) -> dict[str, Any]:
    return {
        "setting": "mlp",
        "seeds": [1, 2],
        "data": {"p": 7},
        "model": {"width": 32},
        "training": {"epochs": 60, "measure_every": 10, "learning_rate": 0.05},
        "evidence": EVIDENCE,
    }


def transformer(_folder: Path) -> dict[str, Any]:
    """A bar so low that every network counts as one that has learned."""
    return {
        "setting": "transformer",
        "seeds": [1, 3],
        "data": {"p": 7},
        "model": {"d_model": 32, "heads": 2, "d_mlp": 32},
        "training": {"epochs": 40, "max_epochs": 40, "measure_every": 10, "hold_accuracy": 1e-9, "hold_epochs": 10},
        "analysis": {"modes": 32, "sum_wave_share": 0.01},
        "evidence": EVIDENCE,
    }


def superposition(_folder: Path) -> dict[str, Any]:
    return {
        "setting": "superposition",
        "seeds": [0, 1],
        "regimes": [
            {"name": "narrow", "hidden": 2, "sparsity": 0.5},
            {"name": "wide", "hidden": 5, "sparsity": 0.5},
        ],
        "data": {"features": 6, "examples": 20},
        "training": {"steps": 400, "learning_rate": 0.02, "measure_every": 150},
        "kernel": {"modes": 9, "taus": [1.0, 0.33]},
    }


def language(folder: Path) -> dict[str, Any]:
    """A tiny model of random weights, a little trained, on stories from a file."""
    from tests.support import language_cases  # noqa: PLC0415 (needs the extra `language`)

    language_cases.write_model(folder)
    return {
        "setting": "language",
        "seeds": [0],
        "model": {"name": str(folder / "model")},
        "text": {"source": "file", "file": str(folder / "stories.txt")},
        "windows": {"count": 48, "pos": ["NOUN", "VERB", "PUNCT"], "length": 12, "per_story": 3},
        "labels": {"support": 8, "distinct": 2, "largest_share": 0.95},
        "kernel": {"modes": 5, "directions": 6, "pilot_windows": 6, "groups": "weights"},
        "scoring": {"resamples": 60, "permutations": 20, "examples": 4, "tokens": 3},
    }


SETTINGS: dict[str, Callable[[Path], dict[str, Any]]] = {
    each.__name__: each for each in (mlp, transformer, superposition, language)
}


def measured(name: str, folder: Path) -> dict[str, Any]:
    """Run a setting on one thread: its figures and arrays, and what machine code they were computed by."""
    from tangentlens.config import parse_config  # noqa: PLC0415 (the tests' import hook comes first)
    from tangentlens.pipeline import run  # noqa: PLC0415
    from tangentlens.store import open_run  # noqa: PLC0415

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        import tomli_w  # noqa: PLC0415

        config = parse_config(tomli_w.dumps(SETTINGS[name](folder)))
        stored = open_run(run(config, folder / "run"))
    finally:
        torch.set_num_threads(threads)
    figures = {
        key: {"value": figure.value, "interval": figure.interval and list(figure.interval), "n": figure.n,
              "unit": figure.unit}
        for key, figure in sorted(stored.figures.items()) if figure.unit != "seconds"
    }  # fmt: skip
    arrays = {
        f"{record.seed}/{array}": [*(values := record.array(array)).shape, _norm(values)]
        for record in stored.seeds
        for array in sorted(record.names)
    }
    return {"computed_by": computed_by(), "figures": figures, "arrays": arrays}


def computed_by() -> dict[str, str]:
    """What decides the last bits of a figure."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "vectors": torch.backends.cpu.get_cpu_capability(),
    }


def stored(name: str) -> dict[str, Any]:
    """What the file of a setting holds."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return found


def _norm(values: np.ndarray) -> float | None:
    norm = float(np.linalg.norm(values.astype(np.float64)))
    return norm if np.isfinite(norm) else None


def _write(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = measured(name, Path(folder))
    rows = [f'"computed_by": {json.dumps(found["computed_by"])}']
    for part in ("figures", "arrays"):
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in found[part].items())
        rows.append(f'"{part}": {{\n{lines}\n}}')
    (FOLDER / f"{name}.json").write_text("{\n" + ",\n".join(rows) + "\n}\n", "utf-8")


if __name__ == "__main__":
    for setting in sys.argv[1:] or SETTINGS:
        _write(setting)
