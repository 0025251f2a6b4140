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
    assert tl.entk(wide_and_deep(32), torch.randn(40, 4), memory_budget=30_000).method == "matrix_free"
    assert "matrix-free: dense kernels would take" in caplog.text


def test_kernels_that_take_longer_to_form_than_to_solve_are_multiplied():
    """Many examples of a network with few parameters: N^2 entries are dearer than passes over N examples."""
    with torch.random.fork_rng():
        model = nn.Sequential(nn.Linear(600, 2), nn.Tanh(), nn.Linear(2, 3))
        inputs = torch.randn(20_000, 600)
    assert tl.entk(model, inputs, outputs="mean", memory_budget=2**36).method == "matrix_free"
