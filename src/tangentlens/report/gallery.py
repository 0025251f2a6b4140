"""A gallery: the pages of several runs in one folder, which share one plotly.js."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tangentlens.errors import InvalidInputError
from tangentlens.report.page import plotly_js, render, without_text
from tangentlens.store import StoredRun, open_run
from tangentlens.store.about import Describe, setting_alone
from tangentlens.store.atomic import storing, write_text

PLOTLY = "plotly.min.js"


@dataclass(frozen=True)
class _Page:
    folder: Path
    html: str


def write_gallery(runs: Sequence[Path], folder: Path, *, describe: Describe = setting_alone) -> tuple[Path, ...]:
    """Write each run's page as FOLDER/<experiment>/index.html, and plotly.js once beside them; other pages there stay.

    The texts of a language model's windows are shown only where the model wrote them itself (text.source = "written"):
    a gallery is made to be passed on.

    Args:
        runs: run folders, one of a setting.
        folder: made if it is missing.
        describe: gives the title, claims and expectations that an older version did not store.

    Returns:
        the pages, in the order of the runs.

    Raises:
        InvalidInputError: a folder is not a run, its setting is no experiment's, or two runs have the same one.
        StoreError: a file of a run is damaged, or the folder cannot be written.
    """
    opened = [open_run(run, describe) for run in runs]
    pages = [_Page(folder / place, _html(run)) for place, run in zip(_places(opened), opened, strict=True)]
    with storing(folder):
        for page in pages:
            page.folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / PLOTLY, plotly_js())
    for page in pages:
        write_text(page.folder / "index.html", page.html)
    return tuple(page.folder / "index.html" for page in pages)


def _places(runs: Sequence[StoredRun]) -> list[str]:
    """The experiment of each run, which names its folder."""
    for run in runs:
        if not re.fullmatch(r"\w[\w-]*", run.about.experiment):
            raise InvalidInputError(
                f"the gallery has no place for the setting {run.setting!r}",
                where=str(run.folder),
                remedy="Give runs of the experiments that come with tangentlens.",
            )
    for setting, count in Counter(run.setting for run in runs).items():
        if count > 1:
            raise InvalidInputError(
                f"{count} runs have the setting {setting!r}", where="gallery", remedy="Give one run of a setting."
            )
    return [run.about.experiment for run in runs]


def _html(run: StoredRun) -> str:
    own_text = run.config.get("text", {}).get("source") == "written"
    return render(run if own_text else without_text(run), plotly=f"../{PLOTLY}")
