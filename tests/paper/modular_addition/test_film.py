import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tangentlens.analysis.evidence.film import film_arrays, film_features, film_frame
from tangentlens.features.fourier import FAMILIES, fourier_family


def unit(columns: torch.Tensor) -> torch.Tensor:
    return columns / columns.norm(dim=0).clamp_min(1e-3)  # a sine that is zero but for rounding stays so


@settings(max_examples=20, deadline=None)
@given(p=st.sampled_from((6, 7, 10, 11)), seed=st.integers(0, 2**16))
def test_percent_is_the_squared_length_of_the_projection(p: int, seed: int) -> None:
    """Against a sum over the features themselves, which are orthogonal; at 2 k = p the sine is zero."""
    family = fourier_family("sum", p)
    modes = torch.linalg.qr(
        torch.randn(p * p, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        + 20 * torch.cat([family.at(1), family.at(p // 2), family.at(2)[:, :1]], dim=1)
    ).Q
    (frame,) = film_frame(modes, film_features({"sum": (family,)})).values()
    assert frame.dtype == torch.uint8
    for place, k in enumerate(family.frequencies):
        expected = 100 * (unit(family.at(k)).T @ modes).square().sum(dim=0)
        assert (frame[:, place] - expected).abs().max() <= 0.5 + 1e-9


def test_pictures_count_their_families_together() -> None:
    families = {name: fourier_family(name, 7) for name in FAMILIES}
    features = film_features({"input": (families["n"], families["m"]), "sum": (families["sum"],)})
    modes = unit(
        torch.stack([families["n"].at(2)[:, 0] + families["m"].at(2)[:, 1], families["sum"].at(3)[:, 1]], dim=1)
    )
    frame = film_frame(modes, features)
    assert frame["input"].tolist() == [[0, 100, 0], [0, 0, 0]]
    assert frame["sum"].tolist() == [[0, 0, 0], [0, 0, 100]]
    arrays = film_arrays([frame, frame])
    assert {name: tuple(array.shape) for name, array in arrays.items()} == {
        "film.input": (2, 2, 3),
        "film.sum": (2, 2, 3),
    }


def test_no_mode_holds_more_than_all_of_itself() -> None:
    """More than 255 % must not wrap around to 0."""
    family = fourier_family("sum", 7)
    mode = 2 * unit(family.at(1)[:, :1])
    assert int(film_frame(mode, film_features({"sum": (family,)}))["sum"][0, 0]) == 100
