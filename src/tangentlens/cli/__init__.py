"""The command line: parse, call, print."""

import itertools
import json
import shlex
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tangentlens import __version__
from tangentlens.cli.console import Terminal, listening, reporting, start_logging
from tangentlens.cli.printing import caveats, checks_table, comparison_tables, diagnosis, figures_table, shortfalls
from tangentlens.config import changed_config, read_config
from tangentlens.errors import InvalidInputError
from tangentlens.language.doctor import examine
from tangentlens.paper import about, experiments
from tangentlens.pipeline import add_evidence
from tangentlens.pipeline import run as run_config
from tangentlens.report import build_report
from tangentlens.report.cards.neuronpedia import write_neuronpedia
from tangentlens.report.comparison import compare as compare_runs
from tangentlens.report.comparison import summary
from tangentlens.report.comparison_page import write_comparison
from tangentlens.report.figure_files import write_figures
from tangentlens.report.gallery import write_gallery
from tangentlens.report.numbers import notes_by_seeds
from tangentlens.report.page import shown_run
from tangentlens.report.table_files import write_tables
from tangentlens.store import open_run
from tangentlens.store.run_folder import is_run

app = typer.Typer(
    name="tangentlens",
    help="Find the features a trained network uses, by eigenanalysis of its empirical neural tangent kernel.",
    epilog="Every command takes --quiet and --verbose.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and the report's path alone.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say which method was chosen and why; tracebacks.")]
Out = Annotated[Path | None, typer.Option("--out", help="The run folder.", show_default=False)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from an interrupted run; finished seeds are kept.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run once the new one is complete.")]
NoEvidence = Annotated[
    bool,
    typer.Option("--no-evidence", help="Leave out nulls, interventions and baselines; `evidence` adds them later."),
]

Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the config: --set windows.count=128. Repeatable."),
]


def main() -> None:
    """Entry point; exits with 0 where all went well, 1 where the run failed, 2 where the arguments are wrong."""
    app(options_after_command(sys.argv[1:]))


def options_after_command(arguments: Sequence[str]) -> list[str]:
    """The arguments with --quiet and --verbose moved behind the command's name, where the commands take them."""
    anywhere = {"--quiet", "-q", "--verbose", "-v"}
    leading = list(itertools.takewhile(anywhere.__contains__, arguments))
    command, rest = arguments[len(leading) : len(leading) + 1], arguments[len(leading) + 1 :]
    return [*command, *leading, *rest]


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"tangentlens {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _common(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    # No docstring: typer would print it in place of the program's help.
    return


@app.command()
def demo(out: Out = None, overwrite: Overwrite = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Train the paper's MLP once and follow its kernel: under a minute. Replaces its own earlier run in runs/demo.

    Without evidence, which one network cannot give; `tangentlens evidence runs/demo` adds what it can.
    """
    terminal = _terminal(quiet, verbose)
    with reporting(terminal, resume=_command("demo", out, overwrite=out is not None)):
        config = read_config(experiments.find("mlp").config).model_copy(update={"seeds": (0,)})
        folder, replace = out or Path("runs/demo"), overwrite or out is None
        with listening(terminal) as progress:
            folder = run_config(config, folder, overwrite=replace, evidence=False, progress=progress)
        _summarise(terminal, folder)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="A TOML config, for example the config.toml of a run.")],
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    no_evidence: NoEvidence = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run a config: any setting, any seeds. Goes to runs/<setting>-<name of the config> unless --out says otherwise."""
    terminal = _terminal(quiet, verbose)
    again = _command(f"run {shlex.quote(str(config))}", out, resume=True, overwrite=overwrite, no_evidence=no_evidence)
    with reporting(terminal, resume=again):
        checked = read_config(config)
        folder = out or Path("runs") / _run_name(config, checked.model_dump()["setting"])
        with listening(terminal) as progress:
            folder = run_config(
                checked, folder, overwrite=overwrite, resume=resume, evidence=not no_evidence, progress=progress
            )
        _summarise(terminal, folder)


@app.command()
def reproduce(
    setting: Annotated[str, typer.Argument(help="A setting of the paper, or all.")],
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    no_evidence: NoEvidence = False,
    changes: Changes = None,
    windows: Annotated[int | None, typer.Option(hidden=True)] = None,
    groups: Annotated[str | None, typer.Option(hidden=True)] = None,
    text: Annotated[Path | None, typer.Option(hidden=True)] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run the paper's experiment with all its seeds and compare its figures with what is expected of them."""
    terminal = _terminal(quiet, verbose)
    changes = [*(changes or ()), *_older_options(windows, groups, text)]
    words = " ".join([f"reproduce {setting}", *(f"--set {shlex.quote(change)}" for change in changes)])
    again = _command(words, out, resume=True, overwrite=overwrite, no_evidence=no_evidence)
    with reporting(terminal, resume=again):
        for name in _chosen(setting):
            folder = _reproduction_folder(name, setting, out)
            if setting == "all" and resume and not overwrite and is_run(folder):
                terminal.say(f"{name} is complete already: {folder}")
                continue
            with listening(terminal) as progress:
                config = changed_config(read_config(experiments.find(name).config), _parsed(changes), where="options")
                folder = run_config(
                    config, folder, overwrite=overwrite, resume=resume, evidence=not no_evidence, progress=progress
                )
            _summarise(terminal, folder)


@app.command()
def evidence(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Compute evidence again that is there.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Add nulls, interventions, baselines and verdicts to a stored run, from what it holds."""
    terminal = _terminal(quiet, verbose)
    with reporting(terminal, resume=_command(f"evidence {shlex.quote(str(run))}", None)):
        with listening(terminal) as progress:
            add_evidence(run, overwrite=overwrite, progress=progress)
        _summarise(terminal, run)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    no_text: Annotated[bool, typer.Option("--no-text", help="Leave the texts and words of windows out.")] = False,
    tables: Annotated[
        Path | None, typer.Option(help="Also write every table there as CSV, Markdown and LaTeX.", show_default=False)
    ] = None,
    figures: Annotated[
        str, typer.Option(help="Also write the figures to RUN/figures: pdf, svg, png, with commas.", show_default=False)
    ] = "",
    cards: Annotated[
        Path | None,
        typer.Option(help="Also write feature cards there as JSON in Neuronpedia's style.", show_default=False),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write report.html of a stored run again."""
    terminal = _terminal(quiet, verbose)
    with reporting(terminal):
        terminal.answer(str(build_report(run, text=not no_text, describe=about)))
        stored = shown_run(run, text=not no_text, describe=about)
        if tables:
            written = write_tables(stored, tables)
            terminal.say(f"{len(written)} files of tables in {_shown(tables)}")
        if figures:
            drawn = write_figures(stored, run / "figures", figures.split(","))
            terminal.say(f"{len(drawn)} figures in {_shown(run / 'figures')}")
        if cards:
            written = write_neuronpedia(stored, cards)
            terminal.say(f"{len(written)} files of cards in {_shown(cards)}")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A run folder.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    out: Annotated[Path | None, typer.Option(help="Also write a page there (.html).", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Print every figure, not the headline alone.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Lay two runs side by side: where their configs differ, and their figures with intervals."""
    terminal = _terminal(quiet, verbose)
    with reporting(terminal):
        found = compare_runs(open_run(first, about), open_run(second, about))
        if out:
            write_comparison(found, out)
        if not quiet:
            terminal.out.print(*comparison_tables(found, found.figures if every else found.headline))
        terminal.answer(summary(found))
        if out:
            terminal.answer(f"comparison: {_shown(out)}")


@app.command()
def gallery(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, one of a setting.")],
    out: Annotated[Path, typer.Option(help="The gallery's folder.")] = Path("gallery"),
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write the pages of runs into one folder to pass on: OUT/<setting>/index.html, with one plotly.js for all.

    The texts of a language model's windows are shown only where the model wrote them itself.
    """
    terminal = _terminal(quiet, verbose)
    with reporting(terminal):
        for page in write_gallery(runs, out, describe=about):
            terminal.answer(_shown(page))


@app.command()
def doctor(
    model: Annotated[str, typer.Argument(help="A model id of the Hugging Face hub, a folder, or a GGUF file.")],
    revision: Annotated[str | None, typer.Option(help="Commit, branch or tag of a hub model.")] = None,
    windows: Annotated[int, typer.Option(min=1, help="Windows of the sweep whose cost is predicted.")] = 256,
    length: Annotated[int, typer.Option(min=2, help="Tokens in each.")] = 64,
    directions: Annotated[int, typer.Option(min=1, help="Output directions.")] = 24,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what will work with a language model: passes, padding, ties, attention, factors, derivatives, memory, time.

    Exits with 1 where something will not work.
    """
    terminal = _terminal(quiet, verbose)
    with reporting(terminal):
        with listening(terminal) as progress:
            found = examine(
                model, revision=revision, windows=windows, length=length, directions=directions, progress=progress
            )
        if not quiet:
            terminal.out.print(checks_table(found))
        terminal.answer(diagnosis(found))
        if found.failing:
            raise typer.Exit(1)


def _terminal(quiet: bool, verbose: bool) -> Terminal:
    terminal = Terminal(quiet=quiet, verbose=verbose)
    start_logging(terminal)
    return terminal


def _command(
    words: str, out: Path | None, *, resume: bool = False, overwrite: bool = False, no_evidence: bool = False
) -> str:
    options = [f"--out {shlex.quote(str(out))}"] if out else []
    options += ["--resume"] if resume else []
    options += ["--overwrite"] if overwrite else []
    options += ["--no-evidence"] if no_evidence else []
    return " ".join(["tangentlens", words, *options])


def _run_name(config: Path, setting: str) -> str:
    """mlp-wide for wide.toml; a file called config.toml is named by its folder."""
    stem = config.resolve().parent.name if config.stem == "config" else config.stem
    return setting if stem in ("", setting) else f"{setting}-{stem}"


def _older_options(windows: int | None, groups: str | None, text: Path | None) -> list[str]:
    """--windows, --groups and --text as changes of a config, which they stood for before --set."""
    changes = [] if windows is None else [f"windows.count={windows}"]
    if groups is not None:
        named = [part.strip() for part in groups.split(",")]
        changes.append(f"kernel.groups={json.dumps(named[0] if groups in ('down_proj', 'weights') else named)}")
    if text is not None:
        changes += ["text.source=file", f"text.file={json.dumps(str(text))}"]
    return changes


def _parsed(changes: Sequence[str]) -> dict[str, Any]:
    """Dotted keys and their values: TOML where it is that, else text."""
    pairs = [change.partition("=") for change in changes]
    for key, equals, _ in pairs:
        if not key.strip() or not equals:
            raise InvalidInputError(f"{key!r} is no change", where="--set", remedy="Give KEY=VALUE.")
    return {key.strip(): _value(value.strip()) for key, _, value in pairs}


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _chosen(setting: str) -> tuple[str, ...]:
    known = experiments.names()
    if setting == "all":
        return known
    if setting not in known:
        raise InvalidInputError(
            f"there is no experiment for {setting!r}", where="reproduce", remedy=f"Choose {', '.join(known)} or all."
        )
    return (setting,)


def _reproduction_folder(name: str, setting: str, out: Path | None) -> Path:
    if setting == "all" and out is not None:
        return out / name
    return out or Path("runs") / f"reproduce-{name}"


def _summarise(terminal: Terminal, folder: Path) -> None:
    """Headline figures, what falls short, what the computation noted, and the report's path."""
    run = open_run(folder, about)
    expected = tuple(row for row in run.about.expected if row.bounded)
    if expected and not terminal.quiet:
        terminal.out.print(figures_table(run, expected))
        terminal.say(*shortfalls(run, expected), *caveats(run))
    terminal.say(*(f"{seeds}: {note}" for seeds, note in notes_by_seeds(run.notes)))
    terminal.answer(f"report: {_shown(folder / 'report.html')}")


def _shown(path: Path) -> str:
    """Relative to where the user stands, if the file lies below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
