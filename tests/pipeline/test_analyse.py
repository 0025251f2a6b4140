"""One call from a model to a stored run: what it holds, how it goes on after an interruption, what it refuses."""

import subprocess
import sys
import textwrap

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn

import tangentlens as tl
from tangentlens.cli.own_model import replayed
from tangentlens.errors import InvalidInputError, TangentlensError
from tests.analysis.questions.test_used import planted

FEW = {"permutations": 999, "modes": 8, "progress": False}


@pytest.fixture(scope="module")
def subject():
    model, X, y, features = planted(N=120)
    return {"model": model, "inputs": X, "features": features, "targets": y, "untrained": "reinitialise"}


@pytest.fixture(scope="module")
def run(subject, tmp_path_factory):
    return tl.analyse(**subject, **FEW, out=tmp_path_factory.mktemp("runs") / "mlp")


def test_a_run_has_its_page_its_table_and_its_figures(run):
    assert run.report.is_file()
    table = run.table("alignment")
    assert list(table["feature"].unique()) == ["needed", "useless", "noise"]
    assert set(table["group"]) == {"total", "0", "2"}
    columns = ("feature", "group", "mode", "metric", "score", "low", "high", "p", "p_corrected", "untrained")
    assert {*columns, "verdict_aligned", "verdict_learned", "verdict_used"} <= set(table.columns)
    verdicts = table[["verdict_aligned", "verdict_learned", "verdict_used"]].to_numpy().ravel()
    assert set(verdicts) <= {"holds", "does not hold", "undecided", "not done"}
    needed = table[(table.feature == "needed") & (table.group == "total")].iloc[0]
    assert (needed.verdict_aligned, needed.verdict_used) == ("holds", "holds")
    assert tl.open_run(run.report.parent).table("alignment").equals(table)


def test_the_page_states_the_finding_first(run):
    page = run.report.read_text("utf-8")
    assert page.index("Which features the network holds") < page.index("What was run")


def test_the_page_names_the_class_of_a_numbered_module_and_the_table_does_not(run, subject):
    page = run.report.read_text("utf-8")
    assert f"<h1>{type(subject['model']).__name__}</h1>" in page
    assert "0 (Linear)" in page
    assert set(run.table("alignment")["group"]) == {"total", "0", "2"}


def test_the_model_is_left_as_it_was_found(subject, tmp_path):
    model = subject["model"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    hooks = sum(len(module._forward_hooks) for module in model.modules())
    tl.analyse(**subject, **FEW, out=tmp_path / "a")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert sum(len(module._forward_hooks) for module in model.modules()) == hooks


def test_without_features_the_page_says_what_is_missing(subject, tmp_path):
    run = tl.analyse(subject["model"], subject["inputs"], **FEW, out=tmp_path / "a")
    assert "alignment" not in run.tables
    assert any("needs features=" in note for _, note in run.stored.notes)


def test_an_interrupted_analysis_goes_on_where_it_stopped(subject, tmp_path, run):
    def interrupt(stage, done, _total):
        if stage == "interventions" and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tl.analyse(**subject, **{**FEW, "progress": interrupt}, out=tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.partial"]
    with pytest.raises(InvalidInputError, match="interrupted"):
        tl.analyse(**subject, **FEW, out=tmp_path / "a")
    stages = set()
    again = tl.analyse(
        **subject, **{**FEW, "progress": lambda stage, *_: stages.add(stage)}, out=tmp_path / "a", resume=True
    )
    assert "eigenpairs" not in stages  # the modes are kept
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert again.table("alignment").equals(run.table("alignment"))


def test_a_complete_run_is_not_overwritten_by_chance(run, subject):
    with pytest.raises(InvalidInputError, match="already there"):
        tl.analyse(**subject, **FEW, out=run.report.parent)


WRONG = {
    "model": [nn.Linear, "model"],
    "inputs": [None, torch.zeros(3, 12)],
    "features": [{"x": [1, 2]}, 5],
    "targets": [[1, 2], ["a"] * 120],
    "loss": ["hinge", 3],
    "groups": [{"a": ["nowhere*"]}, "layers"],
    "outputs": ["sum", 99],
    "output": [3, lambda _: "none"],
    "modes": [0, 2.5],
    "split": [[True, False], ([0, 1], [1, 2])],
    "untrained": [{"0.weight": torch.zeros(1)}, 3],
    "sites": [["nowhere"], 3],
    "memory_budget": ["many", -1],
    "limit": [0, "all"],
    "seed": [-1, "zero"],
    "progress": ["loud", 3],
    "permutations": [0, "many"],
}


@pytest.fixture
def _any_type():
    """Wrong types reach our own checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("_any_type")
@pytest.mark.parametrize(("keyword", "value"), [(k, v) for k, values in WRONG.items() for v in values])
def test_a_wrong_keyword_is_refused_before_anything_long(subject, tmp_path, keyword, value):
    with pytest.raises(TangentlensError) as caught:
        tl.analyse(**{**subject, **FEW, keyword: value}, out=tmp_path / "a")
    assert caught.value.what
    assert caught.value.remedy or caught.value.where
    assert list(tmp_path.iterdir()) == []


def test_the_command_builds_the_subject_and_replays_it(tmp_path):
    (tmp_path / "mine.py").write_text(
        textwrap.dedent(
            """
            import torch
            from torch import nn

            def build():
                torch.manual_seed(0)
                X = torch.randn(40, 3)
                return {"model": nn.Linear(3, 2).eval(), "inputs": X, "features": {"first": X[:, 0] > 0}}
            """
        ),
        "utf-8",
    )

    def command(*words):
        code = "import sys; from tangentlens.cli import main; sys.argv[0] = 'tangentlens'; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    done = command("analyse", "mine.py:build", "--out", "a")
    assert done.returncode == 0, done.stderr
    assert "first" in done.stdout
    again = command("run", "a/config.toml", "--out", "b")
    assert again.returncode == 0, again.stderr
    first, second = (tl.open_run(tmp_path / name).table("alignment") for name in "ab")
    assert first.equals(second)
    for wrong in ("mine.py:nothing", "nowhere.py:build", "mine.py"):
        assert command("analyse", wrong, "--out", "c").returncode == 2


def test_a_run_of_python_says_that_it_cannot_be_replayed(run):
    with pytest.raises(InvalidInputError, match="called in Python"):
        replayed(run.report.parent / "config.toml")


def test_numpy_and_missing_parts_are_enough(tmp_path):
    rng = np.random.default_rng(0)
    run = tl.analyse(nn.Linear(4, 1).eval(), rng.normal(size=(30, 4)), features={"x": rng.normal(size=30)},
                     **FEW, out=tmp_path / "a")  # fmt: skip
    assert run.table("alignment").iloc[0].metric == "r2"
