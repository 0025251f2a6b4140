"""Corrections of p-values for having tested several things; the maximum statistic stands in `permutation`."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import false_discovery_control
from torch import Tensor

from tangentlens.errors import InvalidInputError


def corrected_p_values(p_values: Tensor, method: str) -> Float[Tensor, "..."]:
    """p-values corrected over all entries together; at most the level where the test stands after correction.

    `CORRECTIONS` names the methods:
    "bonferroni"          family-wise error under any dependence: m p.
    "holm"                the same guarantee, never larger than Bonferroni's (Holm 1979).
    "benjamini_hochberg"  false discovery rate, for independent or positively dependent tests (1995).

    Args:
        p_values: any shape, entries between 0 and 1.
        method: a key of `CORRECTIONS`.

    Raises:
        InvalidInputError: an unknown method, no p-values, or one outside 0 to 1 (NaN included).
    """
    if method not in CORRECTIONS:
        raise InvalidInputError(
            f"there is no correction {method!r}", where="method", remedy=f"Take one of {', '.join(CORRECTIONS)}."
        )
    values = p_values.detach().cpu().to(torch.float64)
    if values.numel() == 0 or not bool(((values >= 0) & (values <= 1)).all()):
        raise InvalidInputError("p-values lie between 0 and 1, and there is at least one", where="p_values")
    return torch.from_numpy(CORRECTIONS[method](values.numpy().reshape(-1))).reshape(values.shape)


_Array = np.ndarray[tuple[int], np.dtype[np.float64]]


def _bonferroni(p: _Array) -> _Array:
    return np.minimum(1.0, len(p) * p)


def _holm(p: _Array) -> _Array:
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(np.arange(len(p), 0, -1) * p[order]))
    return corrected


def _benjamini_hochberg(p: _Array) -> _Array:
    return np.asarray(false_discovery_control(p, method="bh"), dtype=np.float64)


CORRECTIONS: Mapping[str, Callable[[_Array], _Array]] = {
    "bonferroni": _bonferroni,
    "holm": _holm,
    "benjamini_hochberg": _benjamini_hochberg,
}
