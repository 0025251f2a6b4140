"""A stored run as one HTML file that needs nothing else: no network, no other file."""

import base64
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from tangentlens.report.blocks import Block
from tangentlens.report.language_run import without_texts
from tangentlens.report.sections import SECTIONS
from tangentlens.report.visible_text import visible_block
from tangentlens.store import StoredRun, open_run
from tangentlens.store.about import Describe, setting_alone
from tangentlens.store.atomic import write_text


@dataclass(frozen=True)
class Part:
    """A section with its content, ready for a template."""

    name: str
    title: str
    blocks: tuple[Block, ...]


def build_report(run_folder: Path, *, text: bool = True, describe: Describe = setting_alone) -> Path:
    """Write report.html into a run folder and return its path.

    Args:
        run_folder: a folder made by `tangentlens run`.
        text: whether the page may hold the texts of windows and the words that follow them.
        describe: gives the title, claims and expectations that an older version did not store.

    Raises:
        InvalidInputError: the folder is not a run.
        StoreError: a file of the run is damaged, or the folder cannot be written.
    """
    path = Path(run_folder) / "report.html"
    write_text(path, render(shown_run(run_folder, text=text, describe=describe)))
    return path


def shown_run(run_folder: Path, *, text: bool = True, describe: Describe = setting_alone) -> StoredRun:
    """A stored run as its page shows it; arguments and errors as for `build_report`."""
    run = open_run(run_folder, describe)
    return run if text else without_text(run)


def without_text(run: StoredRun) -> StoredRun:
    """A run without the texts of windows and the words that follow them."""
    return replace(run, seeds=tuple(map(without_texts, run.seeds)))


def render(run: StoredRun, *, plotly: str | None = None) -> str:
    """The page of a run as HTML.

    Args:
        run: as the page shows it.
        plotly: address of plotly.js relative to the page; None puts it into the page.
    """
    parts = tuple(
        Part(section.name, section.title, section.blocks(run)) for section in SECTIONS if section.belongs_to(run)
    )
    return assembled("report.html.jinja", parts, plotly, title=run.about.title, run=run)


def assembled(template: str, parts: Sequence[Part], plotly: str | None = None, **names: Any) -> str:
    """A template filled with some parts, with the style and the scripts that their blocks need, as HTML.

    Args:
        template: report.html.jinja, or one that extends it.
        parts: in order.
        plotly: address of plotly.js relative to the page; None puts it into the page.
        names: what else the template asks for.
    """
    kinds = {block.kind for part in parts for block in part.blocks}
    assets = ("report", *(kind for kind in ("film", "cards") if kind in kinds))
    drawn = bool(kinds & {"chart", "charts", "film"})
    page = _environment().get_template(template)
    return page.render(
        **names,
        parts=parts,
        plotly_address=plotly if drawn and plotly else "",
        plotly_js=Markup(plotly_js()) if drawn and not plotly else "",
        style=Markup("".join(_asset(f"{name}.css") for name in assets)),
        script=Markup("".join(_asset(f"{name}.js") for name in assets)),
    )


def plotly_js() -> str:
    """The whole of plotly.js, as shipped with the Python package."""
    code: str = get_plotlyjs()
    return code


def script_json(text: str) -> Markup:
    """JSON that is safe inside a script element: "<" is written as its escape, so that no tag can begin in it."""
    json.loads(text)
    return Markup(text.replace("<", "\\u003c"))


def deflated(text: str) -> str:
    """Text for a script to inflate: zlib's format in base64."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode("ascii")


def bind(text: str) -> str:
    """A number and its sign or unit kept on one line."""
    return re.sub(r"(?<=\d) (?=(%|s|min|h)(?!\w))", "\N{NO-BREAK SPACE}", text)


def readable(value: Any) -> Any:
    """Escape invisible characters in text from outside; markup of our own stays as it is."""
    return visible_block(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tangentlens.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=readable,
    )
    environment.filters["script_json"] = script_json
    environment.filters["deflated"] = deflated
    environment.filters["bind"] = bind
    return environment


def _asset(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text("utf-8")
