"""Selection of mode, sign and layer for each label on one half of the inputs, and scores on the other half."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tangentlens.alignment.ranking import (
    AUROC,
    AVERAGE_PRECISION,
    Criterion,
    Ranking,
    auroc,
    average_precision,
    checked_labels,
    enrichment,
    precision_at_quota,
    rank,
)
from tangentlens.errors import InvalidInputError


@dataclass(frozen=True)
class HeldOutScores:
    """Scores of one mode for each label (and layer) on the inputs that did not choose it.

    Every field has the shape (layers, L), or (L,) once a layer is chosen for each label.

    Attributes:
        layer: index of the layer.
        mode: index of the mode inside the layer.
        sign: +1.0 or -1.0, the sign of the score.
        train_score: the criterion on the train half, with that sign.
        auroc, average_precision, precision_at_quota, enrichment: on the test half. The quota is the label's number of
            positives there; enrichment is precision at the quota over the prevalence.
        prevalence: share of positives in the test half, what average precision gives by chance.
    """

    layer: Int[Tensor, "*layers L"]
    mode: Int[Tensor, "*layers L"]
    sign: Float[Tensor, "*layers L"]
    train_score: Float[Tensor, "*layers L"]
    auroc: Float[Tensor, "*layers L"]
    average_precision: Float[Tensor, "*layers L"]
    precision_at_quota: Float[Tensor, "*layers L"]
    enrichment: Float[Tensor, "*layers L"]
    prevalence: Float[Tensor, "*layers L"]


def select_modes(
    scores: Tensor, labels: Tensor, train: Tensor, *, criterion: Criterion = AVERAGE_PRECISION
) -> HeldOutScores:
    """For each label and layer, the mode and sign best on the train half, scored on the rest; fields (layers, L).

    Modes whose criteria differ by less than 1e-12 count as equal; the first one, and the plus sign, is then taken.

    Args:
        scores: (N, layers, modes) signed scores, any real dtype.
        labels: (N, L), Boolean or 0 and 1.
        train: (N,) Boolean, True for the inputs that choose.
        criterion: AVERAGE_PRECISION (the paper) or AUROC.

    Raises:
        InvalidInputError: shapes that do not fit, fewer than 2 inputs in a half, or a label without a positive or
            without a negative in a half.
        NumericalError: scores hold NaN or infinity.
    """
    values, halves = _checked(scores, train)
    layers, modes = scores.shape[1:]
    whole = checked_labels(labels, len(scores))
    binary = [checked_labels(whole[half], int(half.sum()), where) for half, where in zip(halves, _HALVES, strict=True)]
    best = _best_of_layers(criterion.every_pair(rank(values[halves[0]]), binary[0]), layers)
    test: Tensor = values[halves[1]]
    chosen = [test[:, best.column[layer]] * best.sign[layer] for layer in range(layers)]

    def held_out(measure: Callable[[Tensor, Tensor], Tensor]) -> Float[Tensor, "layers L"]:
        return torch.stack([measure(columns, binary[1]).diagonal() for columns in chosen])

    return HeldOutScores(
        layer=torch.arange(layers)[:, None].expand(best.column.shape),
        mode=best.column % modes,
        sign=best.sign,
        train_score=best.score,
        auroc=held_out(auroc),
        average_precision=held_out(average_precision),
        precision_at_quota=held_out(precision_at_quota),
        enrichment=held_out(enrichment),
        prevalence=binary[1].mean(dim=0).expand(best.column.shape),
    )


def choose_layers(scores: HeldOutScores, by: Float[Tensor, "layers L"]) -> HeldOutScores:
    """For each label the layer where `by` is largest (the first among equals); fields (L,)."""
    layer = _first_best(by, dim=0)
    return replace(
        scores, **{field.name: getattr(scores, field.name).gather(0, layer)[0] for field in fields(HeldOutScores)}
    )


def layers_chosen_on_train(scores: HeldOutScores) -> HeldOutScores:
    """Each label's layer chosen, like its mode, by the criterion on the train half."""
    return choose_layers(scores, scores.train_score)


def best_over_layers(scores: HeldOutScores) -> HeldOutScores:
    """Each label's layer chosen by the test half's AUROC itself, as in arXiv 2510.00468: optimistic, not held out."""
    return choose_layers(scores, scores.auroc)


@dataclass(frozen=True)
class HeldOutStatistic:
    """The whole selection as one function of the labels, for permutation tests and for many label matrices at once.

    Scores are ranked once, at construction (`held_out_statistic`); a call chooses layer, mode and sign on the train
    half by `criterion` and takes `measure` of them on the test half.
    """

    train: Bool[Tensor, " N"]
    layers: int
    rankings: tuple[Ranking, Ranking]
    criterion: Criterion
    measure: Criterion

    def __call__(self, labels: Tensor) -> Tensor:
        """(B, N, L) label matrices -> (B, L).

        Raises:
            InvalidInputError: shapes that do not fit, or a label without a positive or a negative in a half, as happens
                where labels were not permuted within the halves; it is then counted through the B * L labels.
        """
        if labels.ndim != 3 or labels.shape[1] != len(self.train):
            raise InvalidInputError(
                f"expected label matrices (B, {len(self.train)}, L), not {tuple(labels.shape)}", where="labels"
            )
        B, N, L = labels.shape
        side_by_side = labels.transpose(0, 1).reshape(N, B * L)
        chosen, tested = (
            checked_labels(side_by_side[half], int(half.sum()), where)
            for half, where in zip((self.train, ~self.train), _HALVES, strict=True)
        )
        best = _best_of_layers(self.criterion.every_pair(self.rankings[0], chosen), self.layers)
        columns, signs = best.column.reshape(-1), best.sign.reshape(-1)
        of_signs = self.measure.paired(self.rankings[1], columns, tested.repeat(1, self.layers))
        test = torch.where(signs > 0, of_signs[0], of_signs[1])
        layer = _first_best(best.score, dim=0)
        return test.reshape(self.layers, B * L).gather(0, layer).reshape(B, L)


def held_out_statistic(
    scores: Tensor,
    train: Tensor,
    *,
    criterion: Criterion = AVERAGE_PRECISION,
    measure: Criterion = AUROC,
) -> HeldOutStatistic:
    """The selection of `select_modes` as a function of (B, N, L) label matrices alone.

    Args:
        scores: (N, layers, modes) signed scores, any real dtype.
        train: (N,) Boolean, True for the inputs that choose. Permute labels within it, so that each half keeps its
            number of positives.
        criterion: what chooses mode and sign on the train half.
        measure: what is taken on the test half.

    Raises:
        InvalidInputError: shapes that do not fit, or fewer than 2 inputs in a half.
        NumericalError: scores hold NaN or infinity.
    """
    values, halves = _checked(scores, train)
    rankings = (rank(values[halves[0]]), rank(values[halves[1]]))
    return HeldOutStatistic(halves[0], scores.shape[1], rankings, criterion, measure)


@dataclass(frozen=True)
class _Best:
    column: Int[Tensor, "layers K"]
    sign: Float[Tensor, "layers K"]
    score: Float[Tensor, "layers K"]


_HALVES = ("labels of the train half", "labels of the test half")


def _best_of_layers(of_signs: Float[Tensor, "2 M K"], layers: int) -> _Best:
    """The first best of the modes of each layer; columns count through all layers."""
    _, columns, K = of_signs.shape
    modes = columns // layers
    # (layers, 2 * modes, K), the signs of one mode side by side
    candidates = of_signs.reshape(2, layers, modes, K).permute(1, 2, 0, 3).reshape(layers, 2 * modes, K)
    at = _first_best(candidates, dim=1)
    column = at[:, 0] // 2 + modes * torch.arange(layers)[:, None]
    return _Best(column, (1 - 2 * (at[:, 0] % 2)).to(torch.float64), candidates.gather(1, at)[:, 0])


def _first_best(values: Tensor, *, dim: int) -> Tensor:
    """Index (kept as an axis of length 1) of the first value within 1e-12 of the largest: rounding decides nothing."""
    return (values >= values.amax(dim=dim, keepdim=True) - 1e-12).to(torch.uint8).argmax(dim=dim, keepdim=True)


def _checked(scores: Tensor, train: Tensor) -> tuple[Float[Tensor, "N columns"], tuple[Tensor, Tensor]]:
    if scores.ndim != 3 or 0 in scores.shape:
        raise InvalidInputError(
            f"expected scores of shape (N, layers, modes), not {tuple(scores.shape)}",
            where="scores",
            remedy="Give a single layer's scores the shape (N, 1, modes).",
        )
    if train.shape != scores.shape[:1] or train.dtype != torch.bool:
        raise InvalidInputError(
            f"expected {len(scores)} Booleans, not {train.dtype} of shape {tuple(train.shape)}", where="train"
        )
    half = train.detach().cpu()
    if min(int(half.sum()), int((~half).sum())) < 2:
        raise InvalidInputError(
            f"{int(half.sum())} of {len(half)} inputs are in the train half",
            where="train",
            remedy="Each half needs 2 inputs or more.",
        )
    values: Tensor = scores.detach().cpu().reshape(len(scores), -1)
    return values, (half, ~half)
