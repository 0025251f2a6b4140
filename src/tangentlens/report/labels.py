"""Words for the keys of results.json and for the names of feature families."""

from collections.abc import Mapping

from tangentlens.store.figure_keys import Ablation

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

_FIGURES: Mapping[str, str] = {
    "overlap.first_cliff.percent": "First cliff, overlap with the n and m features",
    "overlap.sum.percent": "Second cliff, overlap with the sum features",
    "overlap.difference.percent": "Second cliff, overlap with the difference features",
    "overlap.sum.smallest_singular_value": "Sum features, smallest singular value",
    "overlap.difference.smallest_singular_value": "Difference features, smallest singular value",
    "overlap.unembed.sum.percent": "Unembedding, first block, overlap with the sum features",
    "overlap.unembed.axis_sum.percent": "Unembedding, next block, overlap with the axis-sum features",
    "overlap.unembed.joint.sum.percent": "Unembedding, both blocks, overlap with the sum features",
    "overlap.unembed.joint.axis_sum.percent": "Unembedding, both blocks, overlap with the axis-sum features",
    "frequencies.agree": "Share of networks whose kernel and embedding name the same frequencies",
    "learned.by_paper_epoch": "Share of networks that learned the task where the paper stops",
    "learned.share": "Share of networks that learned the task in the end",
    "grokking.onset_epoch": "Onset of grokking, epoch",
    "grokking.overlap_peak_epoch": "Fastest growth of the sum overlap, epoch",
    "grokking.onset_minus_peak_epochs": "Onset minus fastest growth, epochs",
    "train.accuracy.final": "Training accuracy at the end",
    "test.accuracy.final": "Test accuracy at the end",
    "cliffs.first": "First cliff found after mode",
    "cliffs.second": "Second cliff found after mode",
    "cliffs.match_paper": "Share of seeds whose cliffs are the paper's",
    "eigenpairs.worst_residual": "Worst relative residual of an eigenpair",
    "settle.sensitivity_ratio.entk_over_pca": "Change by moves along modes over that along principal components",
    "settle.sensitivity_ratio.entk_over_random": "Change by moves along modes over that along random directions",
    "auroc.pos.macro.entk": "Parts of speech, AUROC of the kernel's modes",
    "auroc.pos.macro.pca": "Parts of speech, AUROC of principal components",
    "auroc.pos.macro.lead.entk": "Parts of speech, AUROC: modes less principal components",
    "average_precision.pos.macro.entk": "Parts of speech, average precision of the kernel's modes",
    "average_precision.pos.macro.pca": "Parts of speech, average precision of principal components",
    "average_precision.pos.macro.lead.entk": "Parts of speech, average precision: modes less principal components",
    "auroc.morph.macro.entk": "Morphology, AUROC of the kernel's modes",
    "auroc.morph.macro.pca": "Morphology, AUROC of principal components",
    "auroc.morph.macro.lead.entk": "Morphology, AUROC: modes less principal components",
    "auroc.pos.macro.lead.entk_fisher": "Parts of speech, AUROC: Fisher's modes less principal components",
    "average_precision.pos.macro.lead.entk_fisher": (
        "Parts of speech, average precision: Fisher's modes less principal components"
    ),
    "auroc.morph.macro.lead.entk_fisher": "Morphology, AUROC: Fisher's modes less principal components",
    "training.seconds": "Training",
    "kernel.seconds": "Kernels",
    "eigen.seconds": "Eigenpairs",
    "dynamics.seconds": "Modes along training",
}

# what was taken out of what the last layer reads -> the accuracy that is left, whatever the network is called
_ABLATED: Mapping[str, str] = {
    "entk": "Test accuracy without both blocks of modes",
    "random": "Test accuracy without as many random functions",
    "pca": "Test accuracy without as many principal components",
}


def family(name: str) -> str:
    """A feature family as a reader writes it: "n + m" for "sum"."""
    return _FAMILIES.get(name, name)


def order(name: str) -> tuple[int, str]:
    """Sorting key that puts the families in the order of the paper and unknown ones after them."""
    names = list(_FAMILIES)
    return (names.index(name) if name in names else len(names), name)


def figure(key: str) -> str:
    """What a figure is, in words; the key itself where nobody has given it any."""
    ablation = Ablation.parse(key)
    if ablation and (ablation.space, ablation.statistic) == ("ablate", "accuracy"):
        return _ABLATED.get(ablation.part, key)
    return _FIGURES.get(key, key)
