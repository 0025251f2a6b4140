import math

import torch

from tangentlens.alignment.cliffs import Cliff
from tangentlens.analysis.checkpoints.dynamics import Transition
from tangentlens.features.fourier import FAMILIES, fourier_family
from tangentlens.paper import SETTINGS
from tangentlens.paper.modular_addition.figures import cliff_figures, heatmap_arrays, notes


def cliffs(*modes: int) -> list[Cliff]:
    return [Cliff(mode, 1.0, 0.001) for mode in modes]


def test_a_heat_map_finds_each_family_in_the_block_that_holds_it() -> None:
    """Modes built from the features themselves: mode 0 constant, block 1 of n and m, block 2 of sum and difference."""
    p = 7
    families = {name: fourier_family(name, p) for name in FAMILIES}
    waves = torch.cat([families[name].matrix for name in ("n", "m", "sum", "difference")], dim=1)
    vectors = torch.linalg.qr(torch.cat([torch.ones(p * p, 1, dtype=torch.float64), waves], dim=1)).Q
    maps = heatmap_arrays(vectors, families, p)
    for name in ("n", "m", "2n", "2m"):
        assert torch.allclose(maps[f"heatmap.{name}"], torch.tensor([[0.0], [100.0], [0.0]]).double().expand(3, 3))
    for name in ("sum", "difference"):
        assert torch.allclose(maps[f"heatmap.{name}"], torch.tensor([[0.0], [0.0], [100.0]]).double().expand(3, 3))


def test_cliff_figures_skip_the_constant_mode_and_admit_what_is_missing() -> None:
    found = cliff_figures(cliffs(0, 56, 112), 29)
    assert [value for value, _ in found.values()] == [56.0, 112.0, 1.0]
    short = cliff_figures(cliffs(0, 40), 29)
    assert short["cliffs.first"][0] == 40.0
    assert math.isnan(short["cliffs.second"][0])
    assert short["cliffs.match_paper"][0] == 0.0


def test_notes_say_what_is_missing_and_nothing_else() -> None:
    assert notes(Transition(onset=80.0, peak=70.0), cliffs(0, 56, 112), [True, True], 29) == ()
    said = notes(Transition(onset=math.nan, peak=math.nan), cliffs(0), [True, False], 29)
    assert len(said) == 4
    assert "no onset" in said[0]
    assert "eigenpairs of 1 kernels" in said[3]


def test_every_setting_is_registered_under_the_name_its_config_carries() -> None:
    for name, setting in SETTINGS.items():
        assert setting.config.model_fields["setting"].default == name
