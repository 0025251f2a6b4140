import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.errors import InvalidInputError
from tangentlens.evidence.corrections import CORRECTIONS, corrected_p_values

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(p=P_VALUES)
def test_bonferroni_and_holm_reject_what_their_stepwise_rules_reject(p: list[float]) -> None:
    m, level = len(p), 0.05
    holm = []
    for rank, i in enumerate(sorted(range(m), key=p.__getitem__)):
        if p[i] * (m - rank) > level:
            break
        holm.append(i)
    values = torch.tensor(p, dtype=torch.float64)
    assert (corrected_p_values(values, "holm") <= level).nonzero()[:, 0].tolist() == sorted(holm)
    assert (corrected_p_values(values, "bonferroni") <= level).tolist() == [x * m <= level for x in p]


@given(p=P_VALUES)
def test_benjamini_hochberg_rejects_up_to_the_last_below_its_line(p: list[float]) -> None:
    m, q = len(p), 0.1
    below = [rank for rank, x in enumerate(sorted(p), start=1) if x <= rank / m * q * (1 - 1e-12)]
    corrected = corrected_p_values(torch.tensor(p, dtype=torch.float64), "benjamini_hochberg")
    expected = [bool(below) and x <= sorted(p)[max(below) - 1] for x in p]
    clear = [abs(c - q) > 1e-9 for c in corrected.tolist()]
    assert [(c <= q) for c, ok in zip(corrected.tolist(), clear, strict=True) if ok] == [
        e for e, ok in zip(expected, clear, strict=True) if ok
    ]


@given(p=P_VALUES)
def test_corrections_are_ordered_and_keep_shape_and_range(p: list[float]) -> None:
    values = torch.tensor(p, dtype=torch.float64)[None]
    false_discovery, holm, bonferroni = (
        corrected_p_values(values, name) for name in ("benjamini_hochberg", "holm", "bonferroni")
    )
    for smaller, larger in ((values, false_discovery), (false_discovery, holm), (holm, bonferroni)):
        assert larger.shape == values.shape
        assert bool((smaller <= larger + 1e-12).all())
        assert bool((larger <= 1).all())


@pytest.mark.parametrize("p", [[], [0.5, -0.1], [1.1], [float("nan")]])
def test_what_is_no_p_value_is_refused(p: list[float]) -> None:
    for method in CORRECTIONS:
        with pytest.raises(InvalidInputError, match="between 0 and 1"):
            corrected_p_values(torch.tensor(p), method)
    with pytest.raises(InvalidInputError, match="bonferroni, holm"):
        corrected_p_values(torch.tensor([0.5]), "sidak")
