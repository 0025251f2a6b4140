import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.errors import InvalidInputError
from tangentlens.statistics.corrections import holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(p=P_VALUES)
def test_rejects_what_the_stepwise_rule_rejects(p: list[float]) -> None:
    m, level = len(p), 0.05
    rejected = []
    for rank, i in enumerate(sorted(range(m), key=p.__getitem__)):
        if p[i] * (m - rank) > level:
            break
        rejected.append(i)
    found = holm(torch.tensor(p, dtype=torch.float64))
    assert (found <= level).nonzero()[:, 0].tolist() == sorted(rejected)


@given(p=P_VALUES)
def test_lies_between_the_p_values_and_bonferroni_and_keeps_the_shape(p: list[float]) -> None:
    values = torch.tensor(p, dtype=torch.float64)[None]
    bonferroni = (len(p) * values).clamp_max(1.0)
    for smaller, larger in ((values, holm(values)), (holm(values), bonferroni)):
        assert larger.shape == values.shape
        assert bool((smaller <= larger).all())
        assert bool((larger <= 1).all())


@pytest.mark.parametrize("p", [[], [0.5, -0.1], [1.1], [float("nan")]])
def test_what_is_no_p_value_is_refused(p: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="between 0 and 1"):
        holm(torch.tensor(p))
