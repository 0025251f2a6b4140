"""What the Transformer setting says about the paper's claims, and about the controls a referee asked for.

evidence/claims.py holds the rule by which they are judged; the list follows the MLP's.
"""

from tangentlens.evidence.claims import Claim

_SUM, _AXIS = "overlap.unembed.sum.percent", "overlap.unembed.axis_sum.percent"
_RANDOM, _UNTRAINED = "the 95 % quantile of random subspaces", "the same network untrained"
_RELABELLED = "the same network trained on permuted labels"
_DIRECTIONS = "causal.transformer.directions"

CLAIMS: tuple[Claim, ...] = (
    Claim("unembedding_holds_sum", "The unembedding's first modes hold the sum features at its key frequencies",
          _SUM, "null.random_subspace.overlap.sum.percent.quantile95", _RANDOM),
    Claim("unembedding_sum_is_learned", "They hold them because of training",
          _SUM, "null.untrained.overlap.sum.percent", _UNTRAINED),
    Claim("unembedding_sum_needs_labels", "They hold them because of the task",
          _SUM, "null.permuted_labels.overlap.sum.percent", _RELABELLED),
    Claim("unembedding_holds_axis_sum", "The next modes hold the axis-sum features at its key frequencies",
          _AXIS, "null.random_subspace.overlap.axis_sum.percent.quantile95", _RANDOM),
    Claim("unembedding_axis_sum_is_learned", "The next modes hold them because of training",
          _AXIS, "null.untrained.overlap.axis_sum.percent", _UNTRAINED),
    Claim("unembedding_axis_sum_needs_labels", "The next modes hold them because of the task",
          _AXIS, "null.permuted_labels.overlap.axis_sum.percent", _RELABELLED),
    Claim("frequencies_agree", "Kernel and embedding name the same key frequencies",
          "frequencies.agree", 0.5, "half of the networks"),
    Claim("peak_near_onset", "The overlap with the sum features grows fastest near the onset",
          "dynamics.onset_peak_distance", "null.random_features.onset_peak_distance",
          "overlaps of the same modes with random feature spaces", "below"),
    Claim("peak_before_onset", "The overlap with the sum features grows fastest before the onset",
          "grokking.onset_minus_peak_epochs", 0.0, "no distance"),
    Claim("kernel_leads_accuracy", "The overlap has gone half of its way before test accuracy has",
          "dynamics.lead.half", 0.0, "no lead"),
    Claim("kernel_warns_early", "The overlap has gone a tenth of its way before test accuracy has",
          "dynamics.lead.early", 0.0, "no lead"),
    Claim("kernel_leads_test_loss", "The overlap has gone half of its way before the test loss has",
          "dynamics.lead_over_loss.half", 0.0, "no lead"),
    Claim("sum_block_is_needed",
          "Without the sum block's directions in the residual stream the network fails, unlike without random ones",
          f"{_DIRECTIONS}.sum_block.accuracy", f"{_DIRECTIONS}.random_functions.accuracy",
          "the directions of as many random functions", "below"),
    Claim("sum_block_beats_following", "It fails without them, unlike without the directions of the modes that follow",
          f"{_DIRECTIONS}.sum_block.accuracy", f"{_DIRECTIONS}.following.accuracy", "as many later modes", "below"),
    Claim("sum_block_beats_pca", "It fails more without them than without as many principal directions",
          f"{_DIRECTIONS}.sum_block.accuracy", f"{_DIRECTIONS}.pca.accuracy",
          "principal components of the residual stream", "below"),
    Claim("axis_block_is_needed",
          "Without the axis block's directions in the residual stream the network fails, unlike without random ones",
          f"{_DIRECTIONS}.axis_block.accuracy", f"{_DIRECTIONS}.random_functions.accuracy",
          "the directions of as many random functions", "below"),
    Claim("settle_embeddings_pca",
          "Embeddings moved along leading modes change the outputs more than along principal components",
          "settle.embeddings.sensitivity_ratio.entk_over_pca", 1.0, "equal changes"),
    Claim("settle_embeddings_random",
          "Embeddings moved along leading modes change the outputs more than along random directions",
          "settle.embeddings.sensitivity_ratio.entk_over_random", 1.0, "equal changes"),
    Claim("settle_residual_pca",
          "The residual stream moved along leading modes changes the outputs more than along principal components",
          "settle.residual.sensitivity_ratio.entk_over_pca", 1.0, "equal changes"),
    Claim("kernel_beats_pca_sum",
          "At equal dimension the modes hold more of the sum features than principal components of the best layer",
          "leaderboard.entk.sum.percent", "leaderboard.pca.best_layer.sum.percent", "PCA, layer picked on train rows"),
)  # fmt: skip
