"""What the sections on evidence say, from figures and arrays made up for it."""

from dataclasses import replace

import pytest
import torch

from tangentlens.paper.mlp.claims import CLAIMS
from tangentlens.records import Figure, Measurement
from tangentlens.report.blocks import Chart, Lead, Note, Table
from tangentlens.report.page import render
from tangentlens.report.sections import claims, interventions, leaderboard
from tangentlens.statistics.claims import evaluate, evidence_figures
from tangentlens.store import StoredRun, open_run
from tangentlens.store.about import About
from tangentlens.store.arrays import write_evidence
from tests.support.synthetic_run import store_run, synthetic_measurement

CAUSAL = {
    "ablate.entk.accuracy": 0.5, "ablate.pca.accuracy": 12.0, "ablate.random.accuracy": 99.0,
    "functions.second_cliff.accuracy": 0.0, "functions.second_cliff.removed": 40.0,
    "functions.second_cliff.kept.sum": 1.5, "weird.block.accuracy": 1.0,
}  # fmt: skip


def evidence(seed: int) -> Measurement:
    curve = torch.linspace(100, 0, 4).double()
    arrays = {"ablation.size": torch.arange(4), "steering.dose": torch.tensor([0.1, 1.0]).double()}
    for name in ("entk", "pca", "random"):
        arrays |= {f"ablation.{space}.{name}.accuracy": curve for space in ("functions", "directions")}
        arrays |= {f"steering.inputs.{name}.{kind}": torch.tensor([0.1, 1.0]) for kind in ("change", "predicted")}
    return Measurement(seed, {}, {}, arrays)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    folder = store_run(tmp_path_factory.mktemp("evidence") / "run", [synthetic_measurement(seed) for seed in range(3)])
    for seed in range(3):
        write_evidence(folder, evidence(seed), 1.0)
    stored = open_run(folder)
    figures = {
        f"causal.mlp.{key}": Figure(value, (value - 1, value + 1), 3, (0, 1, 2), "percent")
        for key, value in CAUSAL.items()
    }
    figures["settle.inputs.sensitivity_ratio.entk_over_pca"] = Figure(1.25, (1.2, 1.3), 3, (0, 1, 2), "ratio")
    for method, percent in {"entk": 94.0, "pca.activations": 96.0, "random": 13.0}.items():
        figures |= {
            f"leaderboard.{method}.sum.percent": Figure(percent, (percent - 1, percent + 1), 3, (0, 1, 2), "percent"),
            f"leaderboard.{method}.dimension": Figure(112.0, None, 3, (0, 1, 2), "count"),
            f"leaderboard.{method}.seconds": Figure(0.4, None, 3, (0, 1, 2), "seconds"),
        }
    numbers = {CLAIMS[0].metric: [1.0] * 10, CLAIMS[1].metric: [98.0] * 10, CLAIMS[1].null: [98.5] * 10}
    figures |= evidence_figures(evaluate(CLAIMS, numbers, range(10), {CLAIMS[1].metric: "percent"}))
    return replace(stored, figures={**stored.figures, **figures})


def texts(blocks):
    return " ".join(block.text for block in blocks if isinstance(block, Lead | Note))


def test_claims_are_counted_and_shown_with_their_verdicts(run):
    blocks = claims.SECTION.blocks(run)
    assert f"Of {len(CLAIMS)} claims, over 3 seeds, 1 holds, {len(CLAIMS) - 2} are undecided and 1 does not." in texts(
        blocks
    )
    (table,) = [block for block in blocks if isinstance(block, Table)]
    verdicts = {row[0]: row[1] for row in table.rows}
    assert verdicts[CLAIMS[0].statement] == "holds"
    assert verdicts[CLAIMS[1].statement] == "does not hold"
    assert "above 98.5 %" in table.rows[1][3]
    assert "not measured" not in table.rows[2][3]


def test_a_run_without_evidence_says_how_to_add_it(run):
    bare = replace(
        run, figures={key: f for key, f in run.figures.items() if not key.startswith(("claim", "causal", "leader"))}
    )
    assert "tangentlens evidence" in texts(claims.SECTION.blocks(bare))
    assert not interventions.SECTION.belongs_to(bare)
    assert not leaderboard.SECTION.belongs_to(bare)
    assert not claims.SECTION.belongs_to(replace(run, about=About("other")))


def test_interventions_are_told_and_drawn(run):
    blocks = interventions.SECTION.blocks(run)
    assert "test accuracy is 0.5 %; with as many principal components 12.0 %" in texts(blocks)
    assert "factor of 1.250 at the inputs" in texts(blocks)
    assert len([block for block in blocks if isinstance(block, Chart)]) == 2
    (table,) = [block for block in blocks if isinstance(block, Table)]
    assert table.rows == [("functions of the input", "second cliff", "0.0 %", "1.5 %", "40.0 %")]


def test_the_leaderboard_says_who_wins(run):
    blocks = leaderboard.SECTION.blocks(run)
    assert "PCA of the activations holds most, 96.0 %; the eNTK's modes 94.0 %." in texts(blocks)
    (table,) = [block for block in blocks if isinstance(block, Table)]
    assert [row[0] for row in table.rows] == ["PCA of the activations", "eNTK, leading modes", "random functions"]
    assert table.rows[0][2] == "96.0 % (95.0 to 97.0)"


def test_the_page_has_them(run):
    page = render(run)
    for name in ("claims", "interventions", "leaderboard"):
        assert f'<section id="{name}"' in page


def test_drops_of_words_are_no_accuracies_of_a_classifier(run):
    keys = ("causal.language.ablate.NOUN.entk.own", "causal.language.ablate.macro.entk.selectivity")
    words = dict.fromkeys(keys, Figure(3.0))
    assert not interventions.SECTION.belongs_to(replace(run, figures=words))
    assert interventions.SECTION.belongs_to(replace(run, figures={"causal.own.functions.entk.accuracy": Figure(3.0)}))
