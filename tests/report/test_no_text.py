from typer.testing import CliRunner

from synthetic_language_run import store_language_run
from tangentlens.cli import app


def test_the_report_command_can_leave_texts_out(tmp_path):
    folder = store_language_run(tmp_path / "run")
    page = folder / "report.html"
    for options, said in (([], False), (["--no-text"], True)):
        done = CliRunner().invoke(app, ["report", str(folder), *options])
        assert (done.exit_code, done.stdout.strip()) == (0, str(page))
        told = "--no-text" in page.read_text("utf-8")
        assert told == said
