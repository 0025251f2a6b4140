"""The command line: parse, call, print.

A command imports what it runs once it is called, so that `--help` and `--version` wait for no torch.
"""

import itertools
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tangentlens.cli import language as language_command
from tangentlens.cli.changes import older_options, parsed_changes
from tangentlens.cli.console import Terminal, listening, reporting, shown_path, terminal_of
from tangentlens.cli.options import Changes, NoEvidence, Out, Overwrite, Quiet, Resume, Verbose
from tangentlens.errors import InvalidInputError

app = typer.Typer(
    name="tangentlens",
    help="Find the features a trained network uses, by eigenanalysis of its empirical neural tangent kernel.",
    epilog="Every command takes --quiet and --verbose.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
        from tangentlens import __version__

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
    terminal = terminal_of(quiet, verbose)
    with reporting(terminal, resume=_command("demo", out, overwrite=out is not None)):
        from tangentlens import pipeline
        from tangentlens.config import read_config
        from tangentlens.paper import experiments

        config = read_config(experiments.find("mlp").config).model_copy(update={"seeds": (0,)})
        folder, replace = out or Path("runs/demo"), overwrite or out is None
        with listening(terminal) as progress:
            folder = pipeline.run(config, folder, overwrite=replace, evidence=False, progress=progress)
        _summarise(terminal, folder)


@app.command()
def analyse(
    source: Annotated[
        str, typer.Argument(help="FILE.py:FUNCTION, which returns a Subject or the keywords of analyse.")
    ],
    out: Out = None,
    modes: Annotated[int, typer.Option(min=1, help="Modes of each kernel.")] = 25,
    seed: Annotated[int, typer.Option(min=0, help="Of halves, permutations and controls.")] = 0,
    limit: Annotated[int | None, typer.Option(min=2, help="First inputs to analyse.", show_default=False)] = None,
    memory_budget: Annotated[str | None, typer.Option(help='For example "4GB".', show_default=False)] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Analyse a model of your own: which features it holds, learned and uses. Goes to runs/<FUNCTION>."""
    terminal = terminal_of(quiet, verbose)
    again = _command(f"analyse {shlex.quote(source)}", out, resume=True, overwrite=overwrite)
    with reporting(terminal, resume=again):
        options = {"modes": modes, "seed": seed, "limit": limit, "memory_budget": memory_budget}
        folder = out or Path("runs") / source.rpartition(":")[2]
        _analyse(terminal, source, folder, options, overwrite=overwrite, resume=resume)


def _analyse(
    terminal: Terminal, source: str, folder: Path, options: dict[str, Any], *, overwrite: bool, resume: bool
) -> None:
    from tangentlens.analysis.case import Options
    from tangentlens.cli.own_model import built_subject, print_analysis
    from tangentlens.pipeline.own_model import analyse_model

    subject = built_subject(source)
    with listening(terminal) as progress:
        folder = analyse_model(
            subject, Options(**options), folder, source=source, overwrite=overwrite, resume=resume, progress=progress
        )
    print_analysis(terminal, folder)


app.command("language")(language_command.language)


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
    terminal = terminal_of(quiet, verbose)
    again = _command(f"run {shlex.quote(str(config))}", out, resume=True, overwrite=overwrite, no_evidence=no_evidence)
    with reporting(terminal, resume=again):
        from tangentlens.cli.own_model import replayed

        stored = replayed(config)
        if stored is not None:
            source, folder = stored.pop("source"), out or Path("runs") / _run_name(config, "analysis")
            _analyse(terminal, source, folder, stored, overwrite=overwrite, resume=resume)
            return
        arguments = language_command.replayed_text(config)
        if arguments is not None:
            language_command.analyse(
                terminal, arguments, out or Path("runs") / _run_name(config, "text"), resume=resume, overwrite=overwrite
            )
            return
        from tangentlens import pipeline
        from tangentlens.config import read_config

        checked = read_config(config)
        folder = out or Path("runs") / _run_name(config, checked.model_dump()["setting"])
        with listening(terminal) as progress:
            folder = pipeline.run(
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
    terminal = terminal_of(quiet, verbose)
    changes = [*(changes or ()), *older_options(windows, groups, text)]
    words = " ".join([f"reproduce {setting}", *(f"--set {shlex.quote(change)}" for change in changes)])
    again = _command(words, out, resume=True, overwrite=overwrite, no_evidence=no_evidence)
    with reporting(terminal, resume=again):
        from tangentlens import pipeline
        from tangentlens.config import changed_config, read_config
        from tangentlens.paper import experiments
        from tangentlens.store.run_folder import is_run

        for name in _chosen(setting, experiments.names()):
            folder = _reproduction_folder(name, setting, out)
            if setting == "all" and resume and not overwrite and is_run(folder):
                terminal.say(f"{name} is complete already: {folder}")
                continue
            with listening(terminal) as progress:
                config = changed_config(
                    read_config(experiments.find(name).config), parsed_changes(changes), where="options"
                )
                folder = pipeline.run(
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
    terminal = terminal_of(quiet, verbose)
    with reporting(terminal, resume=_command(f"evidence {shlex.quote(str(run))}", None)):
        from tangentlens import pipeline

        with listening(terminal) as progress:
            pipeline.add_evidence(run, overwrite=overwrite, progress=progress)
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
    terminal = terminal_of(quiet, verbose)
    with reporting(terminal):
        from tangentlens.paper import about
        from tangentlens.report.cards.neuronpedia import write_neuronpedia
        from tangentlens.report.figure_files import write_figures
        from tangentlens.report.page import build_report, shown_run
        from tangentlens.report.table_files import write_tables

        terminal.answer(str(build_report(run, text=not no_text, describe=about)))
        stored = shown_run(run, text=not no_text, describe=about)
        if tables:
            written = write_tables(stored, tables)
            terminal.say(f"{len(written)} files of tables in {shown_path(tables)}")
        if figures:
            drawn = write_figures(stored, run / "figures", figures.split(","))
            terminal.say(f"{len(drawn)} figures in {shown_path(run / 'figures')}")
        if cards:
            written = write_neuronpedia(stored, cards)
            terminal.say(f"{len(written)} files of cards in {shown_path(cards)}")


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
    terminal = terminal_of(quiet, verbose)
    with reporting(terminal):
        from tangentlens.cli.printing import comparison_tables
        from tangentlens.paper import about
        from tangentlens.report.comparison import compare as compare_runs
        from tangentlens.report.comparison import summary
        from tangentlens.report.comparison_page import write_comparison
        from tangentlens.store import open_run

        found = compare_runs(open_run(first, about), open_run(second, about))
        if out:
            write_comparison(found, out)
        if not quiet:
            terminal.out.print(*comparison_tables(found, found.figures if every else found.headline))
        terminal.answer(summary(found))
        if out:
            terminal.answer(f"comparison: {shown_path(out)}")


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
    terminal = terminal_of(quiet, verbose)
    with reporting(terminal):
        from tangentlens.paper import about
        from tangentlens.report.gallery import write_gallery

        for page in write_gallery(runs, out, describe=about):
            terminal.answer(shown_path(page))


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
    terminal = terminal_of(quiet, verbose)
    with reporting(terminal):
        from tangentlens.cli.printing import checks_table, diagnosis
        from tangentlens.language.doctor import examine

        with listening(terminal) as progress:
            found = examine(
                model, revision=revision, windows=windows, length=length, directions=directions, progress=progress
            )
        if not quiet:
            terminal.out.print(checks_table(found))
        terminal.answer(diagnosis(found))
        if found.failing:
            raise typer.Exit(1)


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


def _chosen(setting: str, known: tuple[str, ...]) -> tuple[str, ...]:
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
    from tangentlens.cli.printing import print_summary

    print_summary(terminal, folder)
