"""Which Fourier frequencies a network trained on modular addition uses, read off its embedding and off its kernel."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.features.fourier import fourier_family

PERMUTATIONS_AT_ONCE = 64


@dataclass(frozen=True)
class EmbeddingFrequencies:
    """Frequencies that stand out of an embedding's spectrum.

    Attributes:
        frequencies: the key frequencies, ascending; empty where nothing stands out.
        share: (floor(p/2),) each frequency's share of the power, k = 1 first; the constant is left out.
        log_gap: ln of the power of the weakest key frequency over that of the strongest other one: near 0, the
            number of key frequencies is a close call. It is given also where nothing stands out.
        p_value: share of the permutations of the tokens whose gap is as large, the data's own order counted as one.
    """

    frequencies: tuple[int, ...]
    share: Float[Tensor, " K"]
    log_gap: float
    p_value: float


@dataclass(frozen=True)
class KernelFrequencies:
    """Frequencies whose sum wave lies among the leading modes of a kernel.

    Attributes:
        frequencies: the key frequencies, ascending; empty where no sum wave does.
        captured: (floor(p/2), 2) squared cosines of the principal angles between the span of the modes and the plane
            of cos, sin(2 pi k (n + m) / p), the larger first, k = 1 first. (1, 1): the plane lies in the span; (1, 0):
            one phase of the wave does. For random modes they are about (number of modes) / p^2.
    """

    frequencies: tuple[int, ...]
    captured: Float[Tensor, "K 2"]


def embedding_frequencies(
    embedding: Tensor, *, generator: torch.Generator, permutations: int = 999, level: float = 0.01
) -> EmbeddingFrequencies:
    """Key frequencies from the Fourier spectrum of an embedding over its tokens.

    Rule: the power of frequency k is P_k = sum_d |sum_a W[a, d] exp(-2 pi i k a / p)|^2, k = 1..floor(p/2). Sort the
    powers; the key frequencies are those above the largest gap on the log scale, at most half of all frequencies
    being key. They count only where chance does not explain the gap: the same largest gap is taken for random
    permutations of the tokens, which keep the entries and destroy their order, and must be as large in at most `level`
    of them.

    Args:
        embedding: (p, d) rows of the tokens 0..p-1 alone, without those of special tokens; any real dtype.
        generator: source of the permutations.
        permutations: how many; the smallest p-value is 1 / (permutations + 1).
        level: probability of naming any frequency where the order of the tokens means nothing.

    Raises:
        InvalidInputError: fewer than 4 tokens, no columns, or the p-value cannot reach the level.
        NumericalError: the embedding holds NaN or infinity.
    """
    W = _checked_matrix(embedding, "embedding")
    if len(W) < 4:
        raise InvalidInputError(
            f"{len(W)} tokens have fewer than two frequencies to compare", where="embedding", remedy="Give at least 4."
        )
    if permutations < 1 or not 0 < level < 1 or level * (permutations + 1) < 1:
        raise InvalidInputError(
            f"{permutations} permutations cannot reach the level {level}",
            where="permutations",
            remedy="Give at least 1 / level - 1 permutations, and a level between 0 and 1.",
        )
    power = _power(W)
    if not bool(power.sum() > 0):
        return EmbeddingFrequencies((), torch.zeros_like(power), 0.0, 1.0)
    gap, count = (float(value) for value in _largest_log_gap(power))
    p_value = (1 + _permuted_gaps_reaching(gap, W, permutations, generator)) / (permutations + 1)
    strongest = power.argsort(descending=True)[: int(count)]
    found = tuple(sorted((strongest + 1).tolist())) if p_value <= level else ()
    return EmbeddingFrequencies(found, power / power.sum(), gap, p_value)


def kernel_frequencies(modes: Tensor, p: int, *, threshold: float = 0.5) -> KernelFrequencies:
    """Key frequencies from the leading modes of a kernel over all pairs (n, m), the pair being row n * p + m.

    Rule: frequency k is key where some phase of its sum wave, a cos(2 pi k (n + m) / p) + b sin(2 pi k (n + m) / p),
    lies in the span of the modes by more than `threshold` of its squared length. The span alone counts, so the
    rule does not depend on how modes of near-equal eigenvalues mix, nor on a mode that is part constant. Choose the
    modes with `modes_holding`; for all p^2 of them every frequency would be key.

    Args:
        modes: (p^2, m) linearly independent modes in columns, any real dtype.
        p: modulus.
        threshold: in (0, 1).

    Raises:
        InvalidInputError: the modes do not have p^2 rows, are more than p^2, or the threshold is out of range.
        NumericalError: the modes hold NaN or infinity.
    """
    V = _checked_matrix(modes, "modes")
    if V.shape[0] != p * p or V.shape[1] > p * p or not 0 < threshold < 1:
        raise InvalidInputError(
            f"modes of shape {tuple(V.shape)} for p = {p}, threshold = {threshold}",
            where="kernel_frequencies",
            remedy="Give one row for each of the p^2 pairs, at most p^2 modes, and a threshold between 0 and 1.",
        )
    planes = fourier_family("sum", p).matrix.to(V.device)
    planes = planes / planes.norm(dim=0).clamp_min(1.0)  # cosines have length^2 >= p^2 / 2 > 1; a zero sine stays zero
    inside = torch.linalg.qr(V).Q.T @ planes  # (m, 2 K)
    pairs = inside.reshape(len(inside), -1, 2).transpose(0, 1)  # (K, m, 2)
    captured = torch.linalg.eigvalsh(pairs.mT @ pairs).flip(-1).clamp(0.0, 1.0)
    found = (captured[:, 0] > threshold).nonzero()[:, 0] + 1
    return KernelFrequencies(tuple(found.tolist()), captured)


def modes_holding(values: Float[Tensor, " m"], *, trace: float, share: float = 0.999) -> int:
    """The smallest number of leading modes whose eigenvalues hold `share` of the kernel's trace.

    Args:
        values: (m,) leading eigenvalues, descending.
        trace: of the whole kernel, not of the given modes.
        share: in (0, 1].

    Raises:
        InvalidInputError: the share or the trace is out of range, or the given modes do not hold that share.
    """
    if not 0 < share <= 1 or not trace > 0:
        raise InvalidInputError(
            f"share = {share} of a trace of {trace}", where="share", remedy="Give a share in (0, 1], a positive trace."
        )
    held = values.to(torch.float64).cumsum(dim=0)
    enough = (held >= share * trace * (1 - 1e-12)).nonzero()
    if not len(enough):
        reached = float(held[-1]) / trace if len(held) else 0.0
        raise InvalidInputError(
            f"the {len(values)} modes given hold {reached:.6f} of the trace, not {share}",
            where="values",
            remedy="Compute more eigenpairs, or ask for a smaller share.",
        )
    return int(enough[0, 0]) + 1


def _power(W: Float[Tensor, "*batch p d"]) -> Float[Tensor, "*batch K"]:
    power: Tensor = torch.fft.rfft(W, dim=-2)[..., 1:, :].abs().square().sum(dim=-1)
    return power


def _largest_log_gap(power: Float[Tensor, "*batch K"]) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Size of the largest gap among the upper half of the sorted powers, and how many powers lie above it."""
    sorted_power = power.sort(dim=-1, descending=True).values
    floor = torch.finfo(power.dtype).eps * sorted_power[..., :1]  # below it, rounding of the transform
    gaps = -sorted_power.clamp_min(floor).log().diff(dim=-1)
    largest = gaps[..., : max(1, power.shape[-1] // 2)].max(dim=-1)
    return largest.values, (largest.indices + 1).to(power.dtype)


def _permuted_gaps_reaching(gap: float, W: Float[Tensor, "p d"], permutations: int, generator: torch.Generator) -> int:
    orders = torch.stack([torch.randperm(len(W), generator=generator) for _ in range(permutations)]).to(W.device)
    gaps = torch.cat([_largest_log_gap(_power(W[chunk]))[0] for chunk in orders.split(PERMUTATIONS_AT_ONCE)])
    return int((gaps >= gap).sum())


def _checked_matrix(matrix: Tensor, name: str) -> Float[Tensor, "rows columns"]:
    if matrix.ndim != 2 or matrix.numel() == 0 or matrix.is_complex():
        raise InvalidInputError(
            f"expected a real matrix with rows and columns, not {matrix.dtype} of shape {tuple(matrix.shape)}",
            where=name,
        )
    matrix = matrix.detach().to(torch.float64)
    if not bool(matrix.isfinite().all()):
        raise NumericalError("the matrix holds NaN or infinity", where=name)
    return matrix
