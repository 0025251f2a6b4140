import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tangentlens import __version__, cli, pipeline
from tangentlens.cli import app, options_after_command
from tangentlens.paper import experiments
from tangentlens.report import figure_files

TINY = """setting = "mlp"
seeds = [0]
[data]
p = 5
[model]
width = 16
[training]
epochs = 20
measure_every = 10
learning_rate = 0.05
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every command runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny(folder, monkeypatch):
    """An experiments folder whose mlp is small and cannot meet its bounds."""
    place = folder / "experiments" / "mlp"
    place.mkdir(parents=True)
    (place / "config.toml").write_text(TINY)
    (place / "expected.toml").write_text('[[figure]]\nkey = "test.accuracy.final"\nat_least = 100.5\nsource = "wish"\n')
    monkeypatch.setattr(experiments, "_PLACES", (folder / "experiments",))
    return place


def call(*arguments: str):
    return CliRunner().invoke(app, options_after_command(arguments))


def test_version_and_help():
    assert call("--version").output.strip() == f"tangentlens {__version__}"
    for command in ("demo", "run", "reproduce", "report"):
        assert call(command, "--help").exit_code == 0


@pytest.mark.parametrize("arguments", [[], ["bogus"], ["run"], ["demo", "--bogus"], ["report"], ["reproduce"]])
def test_wrong_arguments_exit_with_2(arguments):
    assert call(*arguments).exit_code == 2


def test_gallery_writes_a_page_for_each_setting():
    Path("tiny.toml").write_text(TINY)
    assert call("run", "tiny.toml", "--out", "tiny", "--no-evidence").exit_code == 0
    done = call("gallery", "tiny", "--out", "pages")
    assert (done.exit_code, done.output.strip()) == (0, "pages/mlp/index.html")
    assert call("gallery", "tiny", "tiny", "--out", "twice").exit_code == 2
    assert not Path("twice").exists()


def test_run_stores_a_replayable_run_and_says_where():
    Path("wide.toml").write_text(TINY)
    done = call("run", "wide.toml")
    assert done.exit_code == 0, done.output
    assert "report: runs/mlp-wide/report.html" in done.stdout
    again = call("--quiet", "run", "runs/mlp-wide/config.toml", "--out", "again")
    assert again.exit_code == 0, again.output
    assert again.stdout.strip() == "report: again/report.html"
    first, second = (
        {
            key: row
            for key, row in json.loads(Path(path, "results.json").read_text()).items()
            if row["unit"] != "seconds"
        }
        for path in ("runs/mlp-wide", "again")
    )
    assert first == second

    refused = call("run", "wide.toml")
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr
    rewritten = Path("again/report.html")
    rewritten.unlink()
    assert call("report", "again").stdout.strip() == "again/report.html"
    assert rewritten.is_file()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read"),
        ("= 1", "not valid TOML"),
        ('setting = "mpl"', 'Did you mean setting = "mlp"?'),
        ('setting = "mlp"\n[data]\nq = 5', "unknown key data.q"),
        ('setting = "mlp"\n[data]\np = "five"', "config.toml: data.p"),
    ],
)
def test_a_wrong_config_exits_with_2_and_leaves_nothing(text, says):
    if text is not None:
        Path("config.toml").write_text(text)
    done = call("run", "config.toml")
    assert done.exit_code == 2
    assert says in done.stderr
    assert "Traceback" not in done.output
    assert not Path("runs").exists()


def test_a_folder_that_cannot_be_written_exits_with_1():
    Path("config.toml").write_text(TINY)
    Path("file").write_text("")
    done = call("run", "config.toml", "--out", "file/run")
    assert done.exit_code == 1
    assert "remedy:" in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["mlp", "--windows", "256"], "unknown key windows"),
        (["gemma", "--windows", "100"], "multiple of the 8"),
        (["gemma", "--text", "nowhere.txt", "--windows"], "requires an argument"),
        (["mlp", "--set", "data.q=5"], "unknown key data.q"),
        (["mlp", "--set", "data.p"], "is no change"),
        (["mlp", "--set", "training.optimiser=sdg"], "training.optimiser"),
    ],
)
def test_changes_of_a_config_are_checked_before_anything_runs(options, says):
    done = call("reproduce", *options)
    assert done.exit_code == 2
    assert says in done.output
    assert not Path("runs").exists()


def test_a_change_of_the_config_is_in_the_run(tiny):
    (tiny / "config.toml").write_text(TINY)
    done = call("reproduce", "mlp", "--set", "model.width=9", "--set", "training.optimiser=sgd", "--no-evidence")
    assert done.exit_code == 0, done.output
    written = tomllib.loads(Path("runs/reproduce-mlp/config.toml").read_text())
    assert (written["model"]["width"], written["training"]["optimiser"]) == (9, "sgd")
    assert "--set" in call("reproduce", "--help").stdout
    assert "--windows" not in call("reproduce", "--help").stdout


def test_what_is_no_run_has_no_report():
    done = call("report", ".")
    assert done.exit_code == 2
    assert "not a run" in done.stderr


def test_demo_runs_seed_0_and_replaces_only_its_own_run(tiny):
    (tiny / "config.toml").write_text(TINY.replace("seeds = [0]", "seeds = [3, 4]"))
    for _ in range(2):
        done = call("demo")
        assert done.exit_code == 0, done.output
    assert "report: runs/demo/report.html" in done.stdout
    assert "seeds = [\n    0,\n]" in Path("runs/demo/config.toml").read_text()
    assert "test.accuracy.final" in done.stdout
    assert call("demo", "--out", "runs/demo").exit_code == 2
    assert call("demo", "--out", "runs/demo", "--overwrite").exit_code == 0


@pytest.mark.usefixtures("tiny")
def test_reproduce_says_what_falls_short_and_still_exits_with_0():
    done = call("reproduce", "mlp")
    assert done.exit_code == 0, done.output
    assert "falls short: test.accuracy.final" in done.stdout
    assert call("reproduce", "mlp").exit_code == 2
    everything = call("reproduce", "all", "--resume")
    assert everything.exit_code == 0
    assert "mlp is complete already" in everything.stdout


@pytest.mark.usefixtures("tiny")
def test_reproduce_refuses_an_unknown_setting():
    done = call("reproduce", "bert")
    assert done.exit_code == 2
    assert "mlp or all" in done.stderr


def failing(error):
    def run(*_arguments, **_options):
        raise error

    return run


@pytest.mark.usefixtures("tiny")
def test_an_interrupted_run_says_how_to_resume(monkeypatch):
    monkeypatch.setattr(pipeline, "run", failing(KeyboardInterrupt()))
    done = call("reproduce", "mlp", "--out", "my run", "--overwrite")
    assert done.exit_code == 1
    command = re.search(r"resume with: (.*)", done.stderr)
    assert command
    assert shlex.split(command[1]) == ["tangentlens", "reproduce", "mlp", "--out", "my run", "--resume", "--overwrite"]


@pytest.mark.usefixtures("tiny")
def test_an_unexpected_error_exits_with_1_and_shows_the_traceback_only_if_asked(monkeypatch):
    monkeypatch.setattr(pipeline, "run", failing(ZeroDivisionError("division by zero")))
    short, long = call("demo"), call("demo", "--verbose")
    assert (short.exit_code, long.exit_code) == (1, 1)
    assert "ZeroDivisionError" in short.stderr
    assert "--verbose" in short.stderr
    assert "Traceback" not in short.stderr
    assert "Traceback" in long.stderr


def test_tables_of_a_report_are_written_where_asked():
    Path("wide.toml").write_text(TINY)
    assert call("--quiet", "run", "wide.toml", "--no-evidence").exit_code == 0
    done = call("report", "runs/mlp-wide", "--tables", "tables")
    assert done.exit_code == 0, done.output
    assert "files of tables in tables" in done.stdout
    assert {path.suffix for path in Path("tables").iterdir()} == {".csv", ".md", ".tex"}
    assert Path("tables/results.csv").is_file()


def test_figures_are_written_into_the_run(monkeypatch):
    def write(run, folder, formats):
        folder.mkdir()
        return tuple(folder / f"{run.setting}.{ending}" for ending in formats)

    monkeypatch.setattr(figure_files, "write_figures", write)
    Path("wide.toml").write_text(TINY)
    assert call("--quiet", "run", "wide.toml", "--no-evidence").exit_code == 0
    done = call("report", "runs/mlp-wide", "--figures", "pdf,png")
    assert done.exit_code == 0, done.output
    assert "2 figures in runs/mlp-wide/figures" in done.stdout


def test_two_runs_are_compared_and_a_page_is_written_where_asked():
    Path("wide.toml").write_text(TINY)
    Path("narrow.toml").write_text(TINY.replace("width = 16", "width = 8"))
    for name in ("wide", "narrow"):
        assert call("--quiet", "run", f"{name}.toml", "--no-evidence").exit_code == 0
    done = call("compare", "runs/mlp-wide", "runs/mlp-narrow", "--out", "both.html")
    assert done.exit_code == 0, done.output
    assert re.search(r"model\.width +16 +8", done.stdout)
    assert "comparison: both.html" in done.stdout
    assert "<h1>Two runs" in Path("both.html").read_text()
    every = call("compare", "runs/mlp-wide", "runs/mlp-narrow", "--all")
    assert len(every.stdout.splitlines()) > len(done.stdout.splitlines())
    assert call("compare", "runs/mlp-wide", "runs").exit_code == 2
    assert call("compare", "runs/mlp-wide", "runs/mlp-narrow", "--out", "both.pdf").exit_code == 2
    assert call("compare", "runs/mlp-wide").exit_code == 2


@pytest.mark.usefixtures("tiny")
def test_verbose_says_which_method_was_chosen():
    done = call("demo", "--verbose")
    assert done.exit_code == 0
    assert "eigensolver" in done.stderr
    assert "eigensolver" not in done.stdout
    assert pipeline._log.name.startswith("tangentlens")


@pytest.mark.parametrize(
    ("given", "moved"),
    [
        (["-q", "demo", "--out", "x"], ["demo", "-q", "--out", "x"]),
        (["--quiet", "--verbose", "run", "a"], ["run", "--quiet", "--verbose", "a"]),
        (["demo", "-q"], ["demo", "-q"]),
        (["--version"], ["--version"]),
        (["-v"], ["-v"]),
        ([], []),
    ],
)
def test_quiet_and_verbose_may_stand_before_the_command(given, moved):
    assert options_after_command(given) == moved


def test_main_exits_with_the_code(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tangentlens", "--quiet", "report", "."])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert "not a run" in capsys.readouterr().err


def test_evidence_can_be_left_out_and_added_later():
    Path("wide.toml").write_text(TINY)
    assert call("--quiet", "run", "wide.toml", "--no-evidence").exit_code == 0
    results = Path("runs/mlp-wide/results.json")
    before = json.loads(results.read_text())
    assert not [key for key in before if key.startswith("claim.")]
    done = call("--quiet", "evidence", "runs/mlp-wide")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == "report: runs/mlp-wide/report.html"
    after = json.loads(results.read_text())
    assert "claim.second_cliff_is_needed.verdict" in after
    assert {key: after[key] for key in before} == before
    refused = call("evidence", "runs")
    assert refused.exit_code == 2
    assert "not a run" in refused.stderr
