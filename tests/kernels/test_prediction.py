"""What `method="auto"` picks, and that it says why."""

import torch
from torch import nn

import tangentlens as tl


def wide_and_deep(width: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3))


def test_small_kernels_are_formed_and_the_log_says_why(caplog):
    caplog.set_level("INFO", logger="tangentlens")
    assert tl.entk(wide_and_deep(32), torch.randn(40, 4)).method == "factored"
    assert "factored: dense kernels would take" in caplog.text


def test_kernels_over_the_budget_are_multiplied_instead(caplog):
    caplog.set_level("INFO", logger="tangentlens")
    assert tl.entk(wide_and_deep(32), torch.randn(40, 4), memory_budget=1000).method == "matrix_free"
    assert "matrix-free: dense kernels would take" in caplog.text


def test_kernels_that_take_longer_to_form_than_to_solve_are_multiplied():
    """Many examples of a tiny network: forming N^2 entries is dearer than passing over N examples."""
    assert (
        tl.entk(wide_and_deep(2), torch.randn(20_000, 4), outputs="mean", memory_budget=2**33).method == "matrix_free"
    )
