"""The pilot: that its parameter directions are those of the modes, and that its output directions hold the modes."""

import pytest
import torch
from torch import Tensor

from tangentlens.language.model import LanguageModel, language_model, working_copy
from tangentlens.language.sweep.fisher import logit_geometry
from tangentlens.language.sweep.groups import resolve_language_groups
from tangentlens.language.sweep.output_basis import leading_directions
from tangentlens.language.sweep.pilot import (
    COMBINATIONS,
    Pilot,
    _drawn,
    _moves,
    _responses,
    pilot_directions,
    pilot_passes,
)
from tangentlens.language.sweep.planning import planned_chain, stage_inputs
from tangentlens.language.sweep.scratch import InMemory
from tangentlens.language.sweep.sweep import sweep
from tangentlens.progress import silent
from tests.support import language_zoo as zoo


def orthonormal(d: int, r: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(torch.randn(d, r, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))[0]


def pilot(lm: LanguageModel, batch: dict[str, Tensor], groups: object, geometry: str = "raw") -> Pilot:
    chosen = resolve_language_groups(lm, groups)
    chain, planned = planned_chain(lm, batch, chosen)
    inputs, hidden = stage_inputs(chain, planned, batch, InMemory())
    return Pilot(planned, chosen, inputs, hidden, logit_geometry(lm.head, geometry), 0, silent)


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_the_outputs_of_the_moves_are_unit_modes(family):
    """J u = v for u = J^T v / lambda, whatever axes the factors of a weight have: transposed, fused, tied."""
    lm = working_copy(language_model(zoo.tiny(family)))
    batch, rough, rows = zoo.windows(3), orthonormal(lm.d_model, 4), torch.arange(3)
    mixing = torch.randn(12, COMBINATIONS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    names = [group.parameters[0] for group in resolve_language_groups(lm, "weights")]
    for name in names[:6]:
        one = pilot(lm, batch, [name])
        moves = _moves(one, rows, rough)
        assert moves[name].shape == (COMBINATIONS, *dict(lm.model.named_parameters())[name].shape)
        pushed = one.kernel(rows).push(moves).unflatten(0, (3, -1))
        inside = torch.einsum("dr,nds->nrs", rough, pushed).norm()
        assert float(inside) == pytest.approx(float(mixing.norm()), rel=1e-4), name


def test_a_group_without_any_effect_moves_nothing():
    lm = working_copy(language_model(zoo.tiny("llama")))
    names = ["model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight"]
    with torch.no_grad():
        lm.model.get_submodule("model.layers.1.mlp.up_proj").weight.zero_()
    some = pilot(lm, zoo.windows(8), names)
    moves = _moves(some, torch.arange(8), orthonormal(lm.d_model, 4))
    assert float(moves[names[1]].abs().max()) == 0 < float(moves[names[0]].abs().max())
    assert bool(pilot_directions(some, 4, 8).isfinite().all())


def test_windows_are_drawn_where_the_modes_live():
    lm = working_copy(language_model(zoo.tiny("llama")))
    batch = zoo.windows(24)
    found = _responses(pilot(lm, batch, "down_proj"))
    swept = sweep(lm, batch, groups="down_proj", directions=lm.d_model, geometry="raw", modes=3)
    mass = sum(m.pairs.vectors.unflatten(0, (24, -1)).square().sum((1, 2)) for m in swept.modes.values())
    assert float(torch.corrcoef(torch.stack([found, torch.as_tensor(mass)]))[0, 1]) > 0.5
    assert float(found.sum()) == pytest.approx(len(swept.groups))


def test_draws_are_distinct_and_follow_the_weights():
    weights = torch.tensor([0.0, 1.0, 1.0, 8.0], dtype=torch.float64)
    first = torch.tensor([int(_drawn(weights, 1, seed)) for seed in range(400)])
    assert 0.74 < float((first == 3).double().mean()) < 0.86
    assert sorted(_drawn(weights, 4, 0).tolist()) == [0, 1, 2, 3]
    assert _drawn(torch.zeros(5, dtype=torch.float64), 5, 0).unique().numel() == 5


def test_leading_directions_are_those_planted_and_no_window_is_served_alone():
    planted = orthonormal(20, 3)
    drawn = torch.randn(6, 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    outputs = torch.einsum("dr,nrs->nds", planted, drawn)
    loud = outputs * torch.tensor([1e6, 1, 1, 1, 1, 1], dtype=torch.float64)[:, None, None]
    for some in (outputs, loud):
        found = leading_directions(some, 3)
        assert float(torch.linalg.svdvals(found.T @ planted).min()) > 1 - 1e-9
    one, other = leading_directions(outputs, 1), leading_directions(loud, 1)
    assert float((one.T @ other).abs()) > 1 - 1e-9


@pytest.mark.parametrize("geometry", ["raw", "fisher"])
def test_the_directions_hold_more_of_the_modes_than_random_ones(geometry):
    lm = working_copy(language_model(zoo.tiny("gemma3")))
    batch, r = zoo.windows(24), lm.d_model // 4
    found = pilot_directions(pilot(lm, batch, "down_proj", geometry), r, 8)
    assert torch.allclose(found.T @ found, torch.eye(r, dtype=torch.float64), atol=1e-9)
    swept = sweep(lm, batch, groups="down_proj", directions=lm.d_model, geometry=geometry, modes=25)
    modes = torch.cat([m.pairs.vectors.unflatten(0, (24, -1)) for m in swept.modes.values()], dim=2)

    def held(basis: Tensor) -> float:
        return float(torch.einsum("dr,ndk->nrk", basis, modes).square().sum() / modes.shape[2])

    chance = max(held(orthonormal(lm.d_model, r, seed)) for seed in range(5))
    assert held(found) > 1.5 * chance
    best = torch.linalg.eigh(torch.einsum("ndk,nek->de", modes, modes))[1].flip(1)[:, :r]
    assert held(found) > 0.75 * held(best)


def test_the_cost_is_counted():
    assert pilot_passes(256, 24) == 256 + 24 * (5 * 3 + 16) + 8 * 64 * 2
    assert pilot_passes(10, 4) == 10 + 4 * (5 * 3 + 10) + 8 * 10 * 2
