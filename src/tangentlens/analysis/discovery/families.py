"""Families: modes of several groups that score the inputs alike."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

LEVEL = 0.05


@dataclass(frozen=True)
class Families:
    """M modes, those of all groups in a row.

    Attributes:
        bound: |cosine| above which two modes of different groups belong together.
        representative: for each mode the place of its family's representative.
        similar: for each mode (place, cosine) of those of other groups above the bound, closest first.
    """

    bound: float
    representative: tuple[int, ...]
    similar: tuple[tuple[tuple[int, float], ...], ...]


def similarity_bound(N: int, pairs: int) -> float:
    """A |cosine| that no pair of random directions in N dimensions reaches, at a family-wise level of 5 %.

    cos^2 of a pair follows Beta(1/2, (N - 1)/2); the level is shared among the pairs (Bonferroni). It is never below
    sqrt(1/2): of the orthonormal modes of one group at most one is closer than that to a given direction.
    """
    if pairs == 0 or N < 2:
        return math.sqrt(0.5)
    return max(math.sqrt(0.5), math.sqrt(float(stats.beta.isf(LEVEL / pairs, 0.5, (N - 1) / 2))))


def families(vectors: Mapping[str, Float[Tensor, "N k"]], shares: Sequence[float]) -> Families:
    """Join similar modes of different groups, and what is similar to those.

    Args:
        vectors: group -> orthonormal modes.
        shares: of the trace of its group, for each mode, in the order of the groups; the largest represents a family.
    """
    groups = [place for place, each in enumerate(vectors.values()) for _ in range(each.shape[1])]
    V = torch.cat([each.to(torch.float64) for each in vectors.values()], dim=1)
    owner = torch.tensor(groups)
    apart = owner[:, None] != owner[None, :]
    bound = similarity_bound(len(V), int(apart.sum()) // 2)
    cosines = V.T @ V
    near = (cosines.abs() > bound) & apart
    parent = list(range(len(groups)))
    for a, b in near.nonzero().tolist():
        _join(parent, a, b)
    roots = [_root(parent, place) for place in range(len(groups))]
    best: dict[int, int] = {}
    for place, root in enumerate(roots):
        if root not in best or shares[place] > shares[best[root]]:
            best[root] = place
    similar = []
    for place in range(len(groups)):
        others = sorted(near[place].nonzero().flatten().tolist(), key=lambda other: -abs(float(cosines[place, other])))
        similar.append(tuple((other, float(cosines[place, other])) for other in others))
    return Families(bound, tuple(best[root] for root in roots), tuple(similar))


def _root(parent: list[int], place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


def _join(parent: list[int], a: int, b: int) -> None:
    a, b = _root(parent, a), _root(parent, b)
    parent[max(a, b)] = min(a, b)
