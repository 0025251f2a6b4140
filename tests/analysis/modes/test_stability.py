"""Modes of two halves of the inputs, compared through their parameter directions."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from torch import nn
from torch.func import functional_call, jacrev, vmap

from tangentlens.alignment.cliffs import find_cliffs
from tangentlens.analysis.case import Options, prepare
from tangentlens.analysis.findings import merged
from tangentlens.analysis.modes.kernel_findings import halves_findings, kernel_findings, stored_modes
from tangentlens.analysis.modes.kernel_modes import TOTAL, GroupModes, extended_modes, kernel_modes
from tangentlens.analysis.modes.stability import (
    blocks_between_gaps,
    random_halves,
    reproduced,
    shared_percent,
    stability,
)
from tangentlens.analysis.subject import Subject
from tangentlens.kernels import EmpiricalNTK, entk
from tangentlens.progress import silent


def jacobian(model: nn.Module, X: torch.Tensor) -> torch.Tensor:
    """(N, P) gradients of the only output, an example at a time."""
    parameters = dict(model.named_parameters())

    def output(values: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return functional_call(model, values, (x[None],))[0, 0]

    rows = vmap(jacrev(output), in_dims=(None, 0))(parameters, X)
    return torch.cat([each.detach().flatten(1) for each in rows.values()], dim=1)


def network(inputs: int, outputs: int, seed: int = 0) -> nn.Module:
    """A small network in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(inputs, 9), nn.Tanh(), nn.Linear(9, outputs)).double().eval()


def test_extended_modes_are_outputs_of_moves_along_parameter_directions() -> None:
    X = torch.randn(24, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    J, rows = jacobian(network(4, 1), X), torch.arange(0, 24, 2)
    found = extended_modes(J @ J.T, rows, 3)
    values, vectors = torch.linalg.eigh(J[rows] @ J[rows].T)
    for m in range(3):
        v, size = vectors[:, -1 - m], values[-1 - m]
        direction = J[rows].T @ v / size.sqrt()
        assert float(direction.norm()) == pytest.approx(1.0)
        expected = J @ direction / size.sqrt()
        torch.testing.assert_close(found[:, m].abs(), expected.abs(), rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(found[rows, m].abs(), v.abs(), rtol=1e-7, atol=1e-9)


def test_every_column_equals_a_plain_computation() -> None:
    X = torch.randn(40, 5, generator=torch.Generator().manual_seed(2))
    case = prepare(Subject(network(5, 2).float(), X), Options(modes=6))
    kernels = kernel_modes(case.model, case.inputs, case.kernel, check=False)
    found = stability(case, kernels, silent)
    column = {name: found.arrays.get(f"table.stability.{name}") for name in found.words["table.stability"]}
    group = found.words["table.stability.group"]
    order = torch.randperm(40, generator=case.generator("halves of the inputs"))
    A, B = order[:20].sort().values, order[20:].sort().values
    model = network(5, 2).float()
    K = torch.zeros(40, 40, dtype=torch.float64)
    for output in range(2):
        only = nn.Sequential(model, _Pick(output))
        J = jacobian(only, X).double()
        K += J @ J.T / 2
    sides = [extended_modes(K, rows, 6) for rows in (A, B)]
    units = [side / side.norm(dim=0) for side in sides]
    rows = [place for place, name in enumerate(group) if name == TOTAL]
    assert len(rows) == 6
    for m, row in enumerate(rows):
        cosines = (units[0].T @ units[1]).abs()
        expected = (float(cosines[m].max()) + float(cosines[:, m].max())) / 2
        assert float(column["cosine"][row]) == pytest.approx(expected, abs=1e-4)
        within = [_cosine_with_span(units[a][:, m], sides[b]) for a, b in ((0, 1), (1, 0))]
        assert float(column["reproducibility"][row]) == pytest.approx(sum(within) / 2, abs=1e-4)
        angles = subspace_angles(sides[0][:, : m + 1].numpy(), sides[1][:, : m + 1].numpy())
        assert float(column["leading_overlap"][row]) == pytest.approx(100 * np.mean(np.cos(angles) ** 2), abs=1e-2)
        assert float(column["leading_random"][row]) == pytest.approx(100 * (m + 1) / 40)
        first, last = int(column["space_first"][row]), int(column["space_last"][row])
        assert first <= m <= last
        assert float(column["random_overlap"][row]) == pytest.approx(100 * (last - first + 1) / 40)


class _Pick(nn.Module):
    """One output."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, self.place : self.place + 1]


def _cosine_with_span(unit: torch.Tensor, columns: torch.Tensor) -> float:
    fitted = columns @ torch.linalg.lstsq(columns, unit).solution
    return float(fitted.norm())


def test_mixed_modes_are_reproducible_as_a_space_alone() -> None:
    """Two directions of equal size and different mixtures in the halves."""
    g = torch.Generator().manual_seed(3)
    J = torch.randn(200, 2, dtype=torch.float64, generator=g)
    A, B = torch.arange(100), torch.arange(100, 200)
    for rows, angle in ((A, 0.0), (B, 0.7)):
        Q = torch.linalg.qr(J[rows]).Q
        turn = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        J[rows] = (Q * torch.tensor([1.01, 1.0])) @ turn
    small = 0.01 * torch.randn(200, 30, dtype=torch.float64, generator=g)
    K = J @ J.T + small @ small.T
    found = reproduced("x", extended_modes(K, A, 2), extended_modes(K, B, 2), ((0, 1), (0, 1)))
    assert float(found.cosines.max()) < 0.9
    assert float(found.reproducibility.min()) > 0.95
    assert float(found.leading[0]) < 80
    assert float(found.blocks.min()) > 90


def test_kernels_of_noise_share_no_more_than_random_subspaces() -> None:
    g = torch.Generator().manual_seed(4)
    first, second = torch.randn(2, 300, 6, dtype=torch.float64, generator=g)
    assert shared_percent(first, second) == pytest.approx(100 * 6 / 300, abs=2.5)


def test_blocks_end_at_the_spectral_gaps_that_the_findings_store() -> None:
    values = torch.cat([torch.linspace(10, 8, 5), torch.linspace(1e-2, 5e-3, 15)]).double()
    modes = GroupModes("g", values, torch.eye(20, dtype=torch.float64), torch.zeros(20).double(), 20, 1.0)
    assert set(blocks_between_gaps(modes)) == {(0, 4), (5, 19)}
    X = torch.randn(30, 4, generator=torch.Generator().manual_seed(5))
    case = prepare(Subject(network(4, 1).float(), X), Options(modes=10))
    kernels = kernel_modes(case.model, case.inputs, case.kernel, check=False)
    stored = kernel_findings(kernels).arrays
    for name, each in kernels.groups.items():
        gaps = stored[f"kernel.{name}.gaps"]
        assert gaps.shape[1] == 3
        assert [int(row[0]) for row in gaps] == [cliff.last_mode for cliff in find_cliffs(each.values)]


def counted(monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[int]:
    """Calls of entk, which gets these options."""
    calls: list[int] = []

    def form(*given: Any, **named: Any) -> EmpiricalNTK:
        calls.append(1)
        return entk(*given, **{**named, **options})

    monkeypatch.setattr("tangentlens.analysis.modes.kernel_modes.entk", form)
    return calls


def test_a_kernel_that_is_not_formed_is_left_out_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    X = torch.randn(30, 4, generator=torch.Generator().manual_seed(6))
    case = prepare(Subject(network(4, 1).float(), X), Options(modes=4))
    calls = counted(monkeypatch, method="matrix_free")
    kernels = kernel_modes(case.model, case.inputs, case.kernel, halves=random_halves(case), check=False)
    found = stability(case, kernels, silent)
    assert found.words["table.stability.group"] == ()
    assert "needs a formed kernel" in found.notes[0]
    assert len(calls) == 1


def test_kernels_are_formed_once_and_an_interrupted_run_keeps_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    X = torch.randn(30, 4, generator=torch.Generator().manual_seed(7))
    case = prepare(Subject(network(4, 3).float(), X), Options(modes=4))
    bare = kernel_modes(case.model, case.inputs, case.kernel, check=False)
    expected = stability(case, bare, silent).arrays
    calls = counted(monkeypatch)
    kernels = kernel_modes(case.model, case.inputs, case.kernel, halves=random_halves(case), check=False)
    kept = merged((kernel_findings(kernels), halves_findings(kernels)))
    for each in (kernels, stored_modes(kept.arrays, kept.words, None)):
        found = stability(case, each, silent).arrays
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert len(calls) == 1
