import json

from typer.testing import CliRunner

from tangentlens.cli import app
from tests.support.synthetic_language_run import store_language_run


def test_the_report_command_can_leave_texts_out(tmp_path):
    folder = store_language_run(tmp_path / "run")
    page = folder / "report.html"
    for options, said in (([], False), (["--no-text"], True)):
        done = CliRunner().invoke(app, ["report", str(folder), *options])
        assert (done.exit_code, done.stdout.strip()) == (0, str(page))
        told = "--no-text" in page.read_text("utf-8")
        assert told == said


def test_cards_can_be_written_beside_the_report(tmp_path):
    folder, cards = store_language_run(tmp_path / "run"), tmp_path / "cards"
    for options, tokens in (([], 12), (["--no-text"], 0)):
        done = CliRunner().invoke(app, ["report", str(folder), "--cards", str(cards), *options])
        assert done.exit_code == 0, done.output
        features = json.loads((cards / "layer-1.json").read_text("utf-8"))["features"]
        assert sum(len(each["activations"][:1] and each["activations"][0]["tokens"]) for each in features[:1]) == tokens
