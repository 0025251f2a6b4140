"""A table as CSV, Markdown and LaTeX. What comes from outside is text in each of them, never code."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence

from tangentlens.report.blocks import Table
from tangentlens.report.visible_text import visible

# what a spreadsheet may take for the begin of a formula (OWASP, "CSV Injection"), its full-width twins included
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_NUMBER = r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?"
_ONLY_NUMBERS = re.compile(rf"{_NUMBER}( to {_NUMBER})?( ?(%|s|min|h))?")

_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&#])")

_LATEX: Mapping[str, str] = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    "\u00a0": "~", "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "√": r"$\surd$", "²": "$^2$",
    "≤": r"$\le$", "≥": r"$\ge$", "→": r"$\to$", "∞": r"$\infty$", "λ": r"$\lambda$", "…": r"\dots{}",
}  # fmt: skip


def as_csv(table: Table) -> str:
    """Comma-separated, a heading line first; a cell that a spreadsheet would compute begins with an apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for row in _rows(table):
        writer.writerow([_no_formula(cell) for cell in row])
    return stream.getvalue()


def as_markdown(table: Table) -> str:
    """A table of GitHub's Markdown under its caption."""
    head, *body = [[_MARKDOWN.sub(r"\\\1", cell) for cell in row] for row in _rows(table)]
    rule = ["---:" if column in table.numeric else "---" for column in table.shown]
    caption = _MARKDOWN.sub(r"\\\1", visible(table.caption))
    return "\n".join([caption, "", *map(_markdown_line, (head, rule, *body)), ""])


def as_latex(table: Table) -> str:
    """A table environment without packages; letters outside ASCII need an engine that reads UTF-8."""
    head, *body = [[_latex(cell) for cell in row] for row in _rows(table)]
    columns = "".join("r" if column in table.numeric else "l" for column in table.shown)
    lines = [
        r"\begin{table}",
        rf"\caption{{{_latex(visible(table.caption))}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\hline",
        _latex_line(head),
        r"\hline",
        *map(_latex_line, body),
        r"\hline",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join([*lines, ""])


# ending of the file -> the table in that format
FORMATS: Mapping[str, Callable[[Table], str]] = {"csv": as_csv, "md": as_markdown, "tex": as_latex}


def _rows(table: Table) -> list[list[str]]:
    """Headings and rows, the empty columns left out, every cell on one line."""
    return [[visible(row[column]) for column in table.shown] for row in (table.columns, *table.rows)]


def _no_formula(cell: str) -> str:
    suspicious = cell.lstrip(" \u00a0").startswith(_FORMULA) and not _ONLY_NUMBERS.fullmatch(cell)
    return f"'{cell}" if suspicious else cell


def _latex(text: str) -> str:
    if _ONLY_NUMBERS.fullmatch(text):
        return text.replace("-", "$-$").replace("%", r"\%")
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub("-(?=-)", "-{}", escaped)  # no two hyphens become a dash


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex_line(cells: Sequence[str]) -> str:
    return rf"{' & '.join(cells)} \\"
