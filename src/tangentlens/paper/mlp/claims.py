"""Claims of the paper about the MLP, and their controls.

statistics/claims.py holds the rule by which they are evaluated. Rule and list were written down after a pilot on the
networks of seeds 0 and 1, before the other eight were looked at.
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
from tangentlens.store.figure_keys import BASELINE, BEST_LAYER, CLIFFS_MATCH_PAPER

_UNTRAINED, _RELABELLED = "the same network untrained", "the same network trained on permuted labels"
_DIRECTIONS = ("mlp", "directions")
_PARAMETERS = ("mlp", "parameters")

CLAIMS: tuple[Claim, ...] = (
    Claim("cliffs_at_paper_positions",
          "The spectrum has cliffs after modes 2p − 2 and 4p − 4, found by a rule that knows nothing of them",
          CLIFFS_MATCH_PAPER, 0.5, "half of the networks"),
    above_random("first_cliff_holds_inputs", "The first cliff holds the Fourier features of n and m", "first_cliff"),
    above_null("first_cliff_is_learned", "The first cliff holds them because of training",
               "first_cliff", "untrained", _UNTRAINED),
    above_null("first_cliff_needs_labels", "The first cliff holds them because of the task",
               "first_cliff", "permuted_labels", _RELABELLED),
    above_random("second_cliff_holds_sum", "The second cliff holds the Fourier features of n + m", "sum"),
    above_null("second_cliff_sum_is_learned", "The second cliff holds those of n + m because of training",
               "sum", "untrained", _UNTRAINED),
    above_null("second_cliff_sum_needs_labels", "The second cliff holds those of n + m because of the task",
               "sum", "permuted_labels", _RELABELLED),
    above_null("second_cliff_difference_is_learned",
               "The second cliff holds the Fourier features of n − m because of training",
               "difference", "untrained", _UNTRAINED),
    *along_training("n + m", "the onset of grokking"),
    needed("second_cliff_is_needed",
           "Without the second cliff's directions in the hidden layer the network fails, unlike without random ones",
           _DIRECTIONS, "second_cliff", "random_functions", "the directions of as many random functions"),
    needed("second_cliff_beats_following",
           "It fails without the second cliff's directions, unlike without those of the modes that follow",
           _DIRECTIONS, "second_cliff", "following", "as many modes behind the cliff"),
    needed("second_cliff_beats_pca",
           "It fails more without the second cliff's directions than without as many principal ones",
           _DIRECTIONS, "second_cliff", BASELINE, "principal components of the hidden layer"),
    needed("first_cliff_is_needed",
           "Without the first cliff's directions in the hidden layer the network fails, unlike without random ones",
           _DIRECTIONS, "first_cliff", "random_functions", "the directions of as many random functions"),
    needed("weights_hold_second_cliff",
           "Without the second cliff's directions in the weights the network fails, unlike without random ones",
           _PARAMETERS, "second_cliff", "random_functions", "the directions of as many random functions"),
    moves_more("settle_inputs_pca",
               "Inputs moved along leading modes change the outputs more than along principal components",
               "inputs", "entk_over_pca"),
    moves_more("settle_inputs_random",
               "Inputs moved along leading modes change the outputs more than along random directions",
               "inputs", "entk_over_random"),
    moves_more("settle_preactivations_pca",
               "Preactivations moved along leading modes change the outputs more than along principal components",
               "preactivations", "entk_over_pca"),
    moves_more("settle_activations_pca",
               "Activations moved along leading modes change the outputs more than along principal components",
               "activations", "entk_over_pca"),
    moves_more("settle_activations_second_cliff_pca",
               "Activations moved along the second cliff's modes change the outputs more than along principal "
               "components",
               "activations", "second_cliff_over_pca"),
    holds_more("kernel_beats_pca_inputs",
               "the features of n and m than principal components of the best layer",
               "input", BEST_LAYER, "PCA, layer picked on train rows"),
    holds_more("kernel_beats_pca_of_inputs",
               "The modes hold more of the features of n and m than principal components of the inputs themselves",
               "input", "pca.inputs", "PCA of the inputs, half as many functions"),
    holds_more("kernel_beats_pca_sum",
               "the features of n + m than principal components of the best layer",
               "sum", BEST_LAYER, "PCA, layer picked on train rows"),
    holds_more("kernel_beats_conjugate_sum",
               "the features of n + m than the conjugate kernel's",
               "sum", "conjugate_kernel", "the conjugate kernel"),
)  # fmt: skip
