"""Evidence on a tiny Transformer: what claims need is there, and the unembedding's modes need no kernel."""

import pytest
import torch

from tangentlens.kernels import entk
from tangentlens.paper import SETTINGS
from tangentlens.paper.modular_addition.data import token_inputs
from tangentlens.paper.transformer import evidence as transformer_evidence
from tangentlens.paper.transformer import measure as transformer
from tangentlens.paper.transformer.claims import CLAIMS
from tangentlens.paper.transformer.config import Config
from tangentlens.paper.transformer.training import train_together

CONFIG = Config.model_validate(
    {
        "seeds": [1],
        "data": {"p": 7},
        "model": {"d_model": 32, "heads": 2, "d_mlp": 32},
        "training": {"epochs": 40, "max_epochs": 40, "measure_every": 10, "hold_accuracy": 1e-9, "hold_epochs": 10},
        "analysis": {"modes": 32, "sum_wave_share": 0.01},
        "evidence": {"random_subspaces": 2, "null_draws": 40, "directions": 2, "doses": [0.1, 1.0]},
    }
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory):
    folder = train_together(CONFIG, tmp_path_factory.mktemp("trained"))
    return transformer.measure(CONFIG, 1, prepared=folder)


def test_every_claim_has_its_numbers(measured):
    assert len(measured.arrays["frequencies.kernel"])
    found = transformer_evidence.evidence(CONFIG, measured)
    keys = measured.figures.keys() | found.figures.keys()
    for claim in CLAIMS:
        assert claim.metric in keys, claim.name
        assert not isinstance(claim.null, str) or claim.null in keys, claim.name
    assert SETTINGS["transformer"].claims == CLAIMS
    accuracy = float(found.arrays["ablation.directions.entk.accuracy"][0])
    assert accuracy == pytest.approx(measured.figures["test.accuracy.final"])


def test_the_modes_are_those_of_the_unembedding_kernel(measured):
    subject = transformer_evidence.trained_network(CONFIG, measured, (1,))
    modes = transformer_evidence.unembedding_modes(subject.model, token_inputs(7))
    kernel = entk(subject.model, token_inputs(7), outputs="mean", groups="parameter")["W_U"].dense()
    values, vectors = torch.linalg.eigh(kernel)
    leading = vectors[:, values > 1e-3 * values[-1]].flip(1)
    ours = modes[:, : leading.shape[1]]
    torch.testing.assert_close(
        (ours * leading).sum(dim=0).abs(), torch.ones(leading.shape[1]).double(), atol=1e-3, rtol=0
    )


def test_sites_run_to_the_logits(measured):
    subject = transformer_evidence.trained_network(CONFIG, measured, (1,))
    expected = subject.model(subject.inputs)[:, :7]
    for site in subject.sites.values():
        torch.testing.assert_close(site.run(site.values), expected)


def test_a_network_that_has_not_learned_has_no_evidence(measured):
    figures = {**measured.figures, "learned.share": 0.0}
    unlearned = type(measured)(1, figures, measured.units, measured.arrays)
    assert not transformer_evidence.evidence(CONFIG, unlearned).figures


def test_random_feature_spaces_are_followed_and_permuted_labels_are_learned_by_heart(measured):
    checkpoints, spaces = len(measured.arrays["epoch"]), CONFIG.evidence.random_curves
    assert measured.arrays["overlap.null"].shape == (checkpoints, spaces)
    modes = 2 * len(measured.arrays["frequencies.kernel"]) + 1
    assert float(measured.arrays["overlap.null"].mean()) == pytest.approx(100 * modes / 48, abs=12)  # p^2 - 1 = 48
    subject = transformer_evidence.trained_network(CONFIG, measured, (1,))
    nulls = transformer_evidence._Nulls(CONFIG, 1, subject.features, 1)
    relabelled, accuracy = nulls.trained_on_permuted_labels()
    again, _ = nulls.trained_on_permuted_labels()
    assert all(torch.equal(a, b) for a, b in zip(relabelled.parameters(), again.parameters(), strict=True))
    assert not torch.equal(relabelled.W_U, subject.model.W_U)
    assert accuracy > 1.5 / 7  # better than guessing on the labels that it was given
