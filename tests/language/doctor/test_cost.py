"""Predicted memory and time of a sweep."""

import pytest

pytest.importorskip("transformers", reason="the extra `language` is not installed")

from hypothesis import given
from hypothesis import strategies as st

from tangentlens.language.doctor import Verdict, cost
from tests.support.doctor_cases import diagnosed, tiny


@given(*[st.integers(1, 2**34)] * 5)
def test_the_windows_that_fit_do_and_one_more_does_not(model, pilot, graph, window, room):
    demand = cost.Demand(model, pilot, graph, window)
    fits = demand.most(room)
    assert not fits or demand.at(fits) <= room
    assert demand.at(fits + 1) > room


def test_memory_is_compared_with_free_and_with_all_memory(monkeypatch):
    found = {}
    for free, total in ((40, 60), (1, 60), (1, 1)):
        monkeypatch.setattr(cost, "free_memory", lambda _device, free=free: free * 2**20)
        monkeypatch.setattr(cost, "total_memory", lambda _device, total=total: total * 2**20)
        found[free, total] = diagnosed(tiny("llama"), windows=100, directions=16)["memory of weights"]
    assert [check.verdict for check in found.values()] == [Verdict.FINE, Verdict.NOTE, Verdict.FAILS]
    assert int(found[1, 60].remedy.split()[0]) < 100


def test_a_sweep_beyond_the_memory_works_in_a_folder(monkeypatch):
    need = int(diagnosed(tiny("llama"), windows=1000)["memory of weights"].number)
    monkeypatch.setattr(cost, "free_memory", lambda _device: need // 4)
    monkeypatch.setattr(cost, "total_memory", lambda _device: int(0.9 * need))
    check = diagnosed(tiny("llama"), windows=1000)["memory of weights"]
    assert check.verdict is Verdict.NOTE
    assert "in a folder (work=" in check.remedy


def test_cost_grows_with_the_windows_and_fewer_weights_cost_less():
    small, large = (diagnosed(tiny("llama"), windows=n) for n in (10, 1000))
    assert large["memory of weights"].number > 10 * small["memory of weights"].number
    assert large["memory of down_proj"].number < large["memory of weights"].number
    assert large["time"].number > 5 * small["time"].number


def test_there_is_no_pilot_where_every_coordinate_is_a_direction():
    some, every = (diagnosed(tiny("llama"), directions=r)["time"].finding for r in (4, 16))
    assert "0 s for the pilot" not in some
    assert "about 0 s for the pilot" in every
