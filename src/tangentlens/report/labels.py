"""Words for the keys of results.json and for the names of feature families."""

from collections.abc import Mapping
from itertools import product

from tangentlens.store import figure_keys
from tangentlens.store.figure_keys import (
    BASELINE,
    MODES,
    RANDOM,
    Ablation,
    FirstMove,
    Key,
    Macro,
    MacroKind,
    Overlap,
    SmallestCosine,
    method_of,
)

# No line may break inside a family.
_FAMILIES: Mapping[str, str] = {
    "n": "n",
    "m": "m",
    "sum": "n\u00a0+\u00a0m",
    "difference": "n\u00a0−\u00a0m",
    "axis_sum": "axis sum",
    "axis_difference": "axis difference",
    "2n": "2n",
    "2m": "2m",
    "input": "n and m together",
}

_FIGURES: Mapping[Key, str] = {
    Overlap("first_cliff"): "First cliff, overlap with the n and m features",
    Overlap("sum"): "Second cliff, overlap with the sum features",
    Overlap("difference"): "Second cliff, overlap with the difference features",
    SmallestCosine("sum"): "Sum features, smallest singular value",
    SmallestCosine("difference"): "Difference features, smallest singular value",
    Overlap("unembed.sum"): "Unembedding, first block, overlap with the sum features",
    Overlap("unembed.axis_sum"): "Unembedding, next block, overlap with the axis-sum features",
    Overlap("unembed.joint.sum"): "Unembedding, both blocks, overlap with the sum features",
    Overlap("unembed.joint.axis_sum"): "Unembedding, both blocks, overlap with the axis-sum features",
    figure_keys.FREQUENCIES_AGREE: "Share of networks whose kernel and embedding name the same frequencies",
    figure_keys.LEARNED_BY_PAPER_EPOCH: "Share of networks that learned the task where the paper stops",
    figure_keys.LEARNED: "Share of networks that learned the task in the end",
    figure_keys.ONSET: "Onset of grokking, epoch",
    figure_keys.PEAK: "Fastest growth of the sum overlap, epoch",
    figure_keys.LAG: "Onset minus fastest growth, epochs",
    figure_keys.TRAIN_ACCURACY: "Training accuracy at the end",
    figure_keys.TEST_ACCURACY: "Test accuracy at the end",
    figure_keys.FIRST_CLIFF: "First cliff found after mode",
    figure_keys.SECOND_CLIFF: "Second cliff found after mode",
    figure_keys.CLIFFS_MATCH_PAPER: "Share of seeds whose cliffs are the paper's",
    figure_keys.WORST_RESIDUAL: "Worst relative residual of an eigenpair",
    FirstMove(f"{MODES}_over_{BASELINE}"): "Change by moves along modes over that along principal components",
    FirstMove(f"{MODES}_over_{RANDOM}"): "Change by moves along modes over that along random directions",
    figure_keys.TRAINING_SECONDS: "Training",
    figure_keys.KERNEL_SECONDS: "Kernels",
    figure_keys.EIGEN_SECONDS: "Eigenpairs",
    figure_keys.DYNAMICS_SECONDS: "Modes along training",
}
_LABELS = {"pos": "Parts of speech", "morph": "Morphology"}
_MEASURES = {"auroc": "AUROC", "average_precision": "average precision"}


def _macro_means() -> dict[Key, str]:
    """Means over the labels of a family, for each measure."""
    words: dict[Key, str] = {}
    for (label, subject), (measure, name) in product(_LABELS.items(), _MEASURES.items()):
        words |= {
            Macro(measure, label, MODES): f"{subject}, {name} of the kernel's modes",
            Macro(measure, label, BASELINE): f"{subject}, {name} of principal components",
            MacroKind(measure, label, "lead", MODES): f"{subject}, {name}: modes less principal components",
            MacroKind(measure, label, "lead", method_of("fisher")): (
                f"{subject}, {name}: Fisher's modes less principal components"
            ),
        }
    return words


_WORDS = {str(key): words for key, words in {**_FIGURES, **_macro_means()}.items()}

# what was taken out of what the last layer reads -> the accuracy that is left, whatever the network is called
_ABLATED: Mapping[str, str] = {
    MODES: "Test accuracy without both blocks of modes",
    RANDOM: "Test accuracy without as many random functions",
    BASELINE: "Test accuracy without as many principal components",
}


def family(name: str) -> str:
    """A feature family as a reader writes it: "n + m" for "sum"."""
    return _FAMILIES.get(name, name)


def order(name: str) -> tuple[int, str]:
    """Sorting key that puts the families in the order of the paper and unknown ones after them."""
    names = list(_FAMILIES)
    return (names.index(name) if name in names else len(names), name)


def figure(key: str) -> str:
    """A figure in words; its key where it has none."""
    ablation = Ablation.parse(key)
    if ablation and (ablation.space, ablation.statistic) == ("ablate", "accuracy"):
        return _ABLATED.get(ablation.part, key)
    return _WORDS.get(key, key)
