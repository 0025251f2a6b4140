"""What the kernel's modes are compared with at one budget: activations of the same model on the same windows."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.analysis.comparisons.baseline_methods import KERNEL, Method
from tangentlens.analysis.comparisons.baseline_table import compared
from tangentlens.analysis.comparisons.paired_scores import quality
from tangentlens.analysis.findings import Findings
from tangentlens.analysis.modes.kernel_modes import TOTAL, KernelModes
from tangentlens.controls.baselines.principal import principal_scores
from tangentlens.controls.baselines.sparse import dictionary_codes, independent_components
from tangentlens.features.functions import random_functions
from tangentlens.language.analysis.residual_stream import residual_stream
from tangentlens.language.batches import last_positions
from tangentlens.language.text_analysis.case import TextCase
from tangentlens.progress import Progress, silent

LAST_TOKEN = "last token's embedding"


def baselines(case: TextCase, kernels: KernelModes, progress: Progress = silent) -> Findings:
    """Kernel modes against principal components, ICA, a sparse dictionary, the last token and random functions.

    The tables are those of `tl.analyse`: "baselines", "baselines.means" and "sparse_probes".
    """
    return compared(
        _methods(case, kernels),
        case.features.features,
        case.halves,
        case.generator("blocks of the scoring half"),
        expected=6 + len(case.lm.blocks),
        progress=progress,
    )


def _methods(case: TextCase, kernels: KernelModes) -> Iterator[Method]:
    total = kernels.groups[TOTAL].vectors
    k = total.shape[1]
    yield _constant(KERNEL, TOTAL, total)
    groups = {name: each.vectors for name, each in kernels.groups.items() if name != TOTAL}
    if groups:
        best = max(groups, key=lambda name: quality(groups[name], case.features.features, case.halves))
        yield _constant(f"{KERNEL}, best group", best, groups[best], "features, to pick the group")
    streams = residual_stream(case.lm, case.windows.batch)
    scores = {name: principal_scores(stream, k) for (name, _), stream in zip(case.lm.blocks, streams, strict=True)}
    for name, each in scores.items():
        yield _constant("PCA", name, each)
    yield from _at_the_best_block(case, scores, k)
    yield _constant("PCA", LAST_TOKEN, principal_scores(_embeddings(case), k))
    random = random_functions(case.count, min(k, case.count - 1), case.generator("random functions"))
    yield _constant("random functions", "", random)


def _at_the_best_block(case: TextCase, scores: dict[str, Tensor], k: int) -> Iterator[Method]:
    """What is only done where principal components do best."""
    best = max(scores, key=lambda name: quality(scores[name], case.features.features, case.halves))
    sees, seed = "features, to pick the block", case.options.seed
    yield _constant("ICA", best, independent_components(scores[best], k, seed), sees)
    yield _constant("sparse dictionary", best, dictionary_codes(scores[best], k, seed), sees)


def _constant(name: str, where: str, columns: Tensor, sees: str = "nothing") -> Method:
    """A method whose columns are the same for every label."""
    return Method(name, where, sees, columns.shape[1], float("nan"), lambda _: columns, columns)


def _embeddings(case: TextCase) -> Float[Tensor, "N d"]:
    """The input embedding of each window's last token."""
    batch = case.windows.batch
    last = batch["input_ids"].gather(1, last_positions(batch)[:, None])[:, 0]
    model: Any = case.lm.model
    table = model.get_input_embeddings()
    with torch.no_grad():
        found: Tensor = table(last.to(next(table.parameters()).device))
    return found.detach().to("cpu", torch.float64)
