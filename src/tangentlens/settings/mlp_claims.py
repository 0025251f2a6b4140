"""What the MLP setting says about the paper's claims, and about the controls a referee asked for.

evidence/claims.py holds the rule by which they are judged. Rule and list were written down after a pilot on the
networks of seeds 0 and 1, before the other eight were looked at.
"""

from tangentlens.evidence.claims import Claim
from tangentlens.figure_keys import Overlap

_UNTRAINED, _RELABELLED = "the same network untrained", "the same network trained on permuted labels"
_RANDOM = "the 95 % quantile of random subspaces"
_FIRST, _SUM, _DIFFERENCE = (str(Overlap(name)) for name in ("first_cliff", "sum", "difference"))

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "cliffs_at_paper_positions",
        "The spectrum has cliffs after modes 2p − 2 and 4p − 4, found by a rule that knows nothing of them",
        "cliffs.match_paper", 0.5, "half of the networks",
    ),
    Claim(
        "first_cliff_holds_inputs",
        "The first cliff holds the Fourier features of n and m",
        _FIRST, "null.random_subspace.overlap.first_cliff.percent.quantile95", _RANDOM,
    ),
    Claim(
        "first_cliff_is_learned",
        "The first cliff holds them because of training",
        _FIRST, "null.untrained.overlap.first_cliff.percent", _UNTRAINED,
    ),
    Claim(
        "first_cliff_needs_labels",
        "The first cliff holds them because of the task",
        _FIRST, "null.permuted_labels.overlap.first_cliff.percent", _RELABELLED,
    ),
    Claim(
        "second_cliff_holds_sum",
        "The second cliff holds the Fourier features of n + m",
        _SUM, "null.random_subspace.overlap.sum.percent.quantile95", _RANDOM,
    ),
    Claim(
        "second_cliff_sum_is_learned",
        "The second cliff holds those of n + m because of training",
        _SUM, "null.untrained.overlap.sum.percent", _UNTRAINED,
    ),
    Claim(
        "second_cliff_sum_needs_labels",
        "The second cliff holds those of n + m because of the task",
        _SUM, "null.permuted_labels.overlap.sum.percent", _RELABELLED,
    ),
    Claim(
        "second_cliff_difference_is_learned",
        "The second cliff holds the Fourier features of n − m because of training",
        _DIFFERENCE, "null.untrained.overlap.difference.percent", _UNTRAINED,
    ),
    Claim(
        "peak_near_onset",
        "The overlap with n + m grows fastest near the onset of grokking",
        "dynamics.onset_peak_distance", "null.random_features.onset_peak_distance",
        "overlaps of the same modes with random feature spaces", "below",
    ),
    Claim(
        "peak_before_onset",
        "The overlap with n + m grows fastest before the onset",
        "grokking.onset_minus_peak_epochs", 0.0, "no distance",
    ),
    Claim(
        "kernel_leads_accuracy",
        "The overlap has gone half of its way before test accuracy has",
        "dynamics.lead.half", 0.0, "no lead",
    ),
    Claim(
        "kernel_warns_early",
        "The overlap has gone a tenth of its way before test accuracy has",
        "dynamics.lead.early", 0.0, "no lead",
    ),
    Claim(
        "kernel_leads_test_loss",
        "The overlap has gone half of its way before the test loss has",
        "dynamics.lead_over_loss.half", 0.0, "no lead",
    ),
    Claim(
        "second_cliff_is_needed",
        "Without the second cliff's directions in the hidden layer the network fails, unlike without random ones",
        "causal.mlp.directions.second_cliff.accuracy", "causal.mlp.directions.random_functions.accuracy",
        "the directions of as many random functions", "below",
    ),
    Claim(
        "second_cliff_beats_following",
        "It fails without the second cliff's directions, unlike without those of the modes that follow",
        "causal.mlp.directions.second_cliff.accuracy", "causal.mlp.directions.following.accuracy",
        "as many modes behind the cliff", "below",
    ),
    Claim(
        "second_cliff_beats_pca",
        "It fails more without the second cliff's directions than without as many principal ones",
        "causal.mlp.directions.second_cliff.accuracy", "causal.mlp.directions.pca.accuracy",
        "principal components of the hidden layer", "below",
    ),
    Claim(
        "first_cliff_is_needed",
        "Without the first cliff's directions in the hidden layer the network fails, unlike without random ones",
        "causal.mlp.directions.first_cliff.accuracy", "causal.mlp.directions.random_functions.accuracy",
        "the directions of as many random functions", "below",
    ),
    Claim(
        "weights_hold_second_cliff",
        "Without the second cliff's directions in the weights the network fails, unlike without random ones",
        "causal.mlp.parameters.second_cliff.accuracy", "causal.mlp.parameters.random_functions.accuracy",
        "the directions of as many random functions", "below",
    ),
    Claim(
        "settle_inputs_pca",
        "Inputs moved along leading modes change the outputs more than along principal components",
        "settle.inputs.sensitivity_ratio.entk_over_pca", 1.0, "equal changes",
    ),
    Claim(
        "settle_inputs_random",
        "Inputs moved along leading modes change the outputs more than along random directions",
        "settle.inputs.sensitivity_ratio.entk_over_random", 1.0, "equal changes",
    ),
    Claim(
        "settle_preactivations_pca",
        "Preactivations moved along leading modes change the outputs more than along principal components",
        "settle.preactivations.sensitivity_ratio.entk_over_pca", 1.0, "equal changes",
    ),
    Claim(
        "settle_activations_pca",
        "Activations moved along leading modes change the outputs more than along principal components",
        "settle.activations.sensitivity_ratio.entk_over_pca", 1.0, "equal changes",
    ),
    Claim(
        "settle_activations_second_cliff_pca",
        "Activations moved along the second cliff's modes change the outputs more than along principal components",
        "settle.activations.sensitivity_ratio.second_cliff_over_pca", 1.0, "equal changes",
    ),
    Claim(
        "kernel_beats_pca_inputs",
        "At equal dimension the modes hold more of the features of n and m than principal components of the best layer",
        "leaderboard.entk.input.percent", "leaderboard.pca.best_layer.input.percent", "PCA, layer picked on train rows",
    ),
    Claim(
        "kernel_beats_pca_of_inputs",
        "The modes hold more of the features of n and m than principal components of the inputs themselves",
        "leaderboard.entk.input.percent",
        "leaderboard.pca.inputs.input.percent",
        "PCA of the inputs, half as many functions",
    ),
    Claim(
        "kernel_beats_pca_sum",
        "At equal dimension the modes hold more of the features of n + m than principal components of the best layer",
        "leaderboard.entk.sum.percent", "leaderboard.pca.best_layer.sum.percent", "PCA, layer picked on train rows",
    ),
    Claim(
        "kernel_beats_conjugate_sum",
        "At equal dimension the modes hold more of the features of n + m than the conjugate kernel's",
        "leaderboard.entk.sum.percent", "leaderboard.conjugate_kernel.sum.percent", "the conjugate kernel",
    ),
)  # fmt: skip
