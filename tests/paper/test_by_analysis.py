"""The analysis of any model gives the overlaps that the MLP's and the Transformer's own measurements store."""

from dataclasses import replace

import pytest

import tangentlens as tl
from tangentlens.analysis.case import Options, prepare
from tangentlens.paper.mlp import analysis_subject as mlp
from tangentlens.paper.mlp.config import Config as MLPConfig
from tangentlens.paper.mlp.measure import measure as measure_mlp
from tangentlens.paper.modular_addition.by_analysis import mode_counts, overlaps_by_analysis
from tangentlens.paper.transformer import analysis_subject as transformer
from tangentlens.paper.transformer.config import Config as TransformerConfig
from tangentlens.paper.transformer.measure import measure as measure_transformer
from tangentlens.paper.transformer.training import train_together

MLP = MLPConfig.model_validate(
    {
        "seeds": [1],
        "data": {"p": 5},
        "model": {"width": 32},
        "training": {"epochs": 60, "measure_every": 30, "learning_rate": 0.05},
        "evidence": {"random_curves": 2},
    }
)
TRANSFORMER = TransformerConfig.model_validate(
    {
        "seeds": [1],
        "data": {"p": 7},
        "model": {"d_model": 32, "heads": 2, "d_mlp": 32},
        "training": {"epochs": 40, "max_epochs": 40, "measure_every": 20, "hold_accuracy": 1e-9, "hold_epochs": 10},
        "analysis": {"modes": 32, "sum_wave_share": 0.01},
        "evidence": {"random_curves": 2},
    }
)


def measured_transformer(folder):
    return measure_transformer(TRANSFORMER, 1, prepared=train_together(TRANSFORMER, folder))


@pytest.mark.parametrize(
    ("setting", "config", "measure", "figures"),
    [
        (mlp, MLP, lambda _: measure_mlp(MLP, 1), {"overlap.first_cliff.percent", "overlap.sum.percent"}),
        (transformer, TRANSFORMER, measured_transformer, {"overlap.unembed.sum.percent"}),
    ],
    ids=["mlp", "transformer"],
)
def test_scores_give_every_stored_overlap(setting, config, measure, figures, tmp_path):
    measured = measure(tmp_path / "trained")
    subject, blocks = setting.analysis_subject(config, measured), setting.stored_blocks(config, measured)
    case = prepare(subject, Options())
    assert set(case.by_name) == set(subject.features)
    assert all(site.run(site.values).shape == case.outputs.shape for site in case.sites.values())
    fast = replace(subject, sites={}, untrained=None)  # no overlap needs them
    scores = {}
    for count in mode_counts(blocks):
        run = tl.analyse(fast, modes=count, permutations=1, out=tmp_path / f"{count}", progress=False)
        rows = run.table("alignment")
        scores[count] = dict(zip(zip(rows["feature"], rows["group"], strict=True), rows["score"], strict=True))
    stored = {key for key in measured.figures if key.startswith("overlap.") and key.endswith(".percent")}
    stored.discard("overlap.group.chance.percent")
    found = overlaps_by_analysis(blocks, scores)
    assert figures <= found.keys() == stored
    assert found == {key: pytest.approx(measured.figures[key], abs=1e-6) for key in found}
