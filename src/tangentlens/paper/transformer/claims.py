"""Claims of the paper about the Transformer, and their controls.

statistics/claims.py holds the rule by which they are evaluated; the list follows the MLP's.
"""

from tangentlens.paper.modular_addition.claim_forms import (
    above_null,
    above_random,
    along_training,
    holds_more,
    moves_more,
    needed,
)
from tangentlens.store.about import Claim
from tangentlens.store.figure_keys import BASELINE, BEST_LAYER, FREQUENCIES_AGREE

_UNTRAINED, _RELABELLED = "the same network untrained", "the same network trained on permuted labels"
_DIRECTIONS = ("transformer", "directions")

CLAIMS: tuple[Claim, ...] = (
    above_random("unembedding_holds_sum", "The unembedding's first modes hold the sum features at its key frequencies",
                 "unembed.sum"),
    above_null("unembedding_sum_is_learned", "They hold them because of training",
               "unembed.sum", "untrained", _UNTRAINED),
    above_null("unembedding_sum_needs_labels", "They hold them because of the task",
               "unembed.sum", "permuted_labels", _RELABELLED),
    above_random("unembedding_holds_axis_sum", "The next modes hold the axis-sum features at its key frequencies",
                 "unembed.axis_sum"),
    above_null("unembedding_axis_sum_is_learned", "The next modes hold them because of training",
               "unembed.axis_sum", "untrained", _UNTRAINED),
    above_null("unembedding_axis_sum_needs_labels", "The next modes hold them because of the task",
               "unembed.axis_sum", "permuted_labels", _RELABELLED),
    Claim("frequencies_agree", "Kernel and embedding name the same key frequencies",
          FREQUENCIES_AGREE, 0.5, "half of the networks"),
    *along_training("the sum features", "the onset"),
    needed("sum_block_is_needed",
           "Without the sum block's directions in the residual stream the network fails, unlike without random ones",
           _DIRECTIONS, "sum_block", "random_functions", "the directions of as many random functions"),
    needed("sum_block_beats_following", "It fails without them, unlike without the directions of the modes that follow",
           _DIRECTIONS, "sum_block", "following", "as many later modes"),
    needed("sum_block_beats_pca", "It fails more without them than without as many principal directions",
           _DIRECTIONS, "sum_block", BASELINE, "principal components of the residual stream"),
    needed("axis_block_is_needed",
           "Without the axis block's directions in the residual stream the network fails, unlike without random ones",
           _DIRECTIONS, "axis_block", "random_functions", "the directions of as many random functions"),
    moves_more("settle_embeddings_pca",
               "Embeddings moved along leading modes change the outputs more than along principal components",
               "embeddings", "entk_over_pca"),
    moves_more("settle_embeddings_random",
               "Embeddings moved along leading modes change the outputs more than along random directions",
               "embeddings", "entk_over_random"),
    moves_more("settle_residual_pca",
               "The residual stream moved along leading modes changes the outputs more than along principal components",
               "residual", "entk_over_pca"),
    holds_more("kernel_beats_pca_sum",
               "the sum features than principal components of the best layer",
               "sum", BEST_LAYER, "PCA, layer picked on train rows"),
)  # fmt: skip
