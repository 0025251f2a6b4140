"""Smaller pieces where memory runs out, and a clear refusal where none is small enough."""

import pytest
import torch

from tangentlens.errors import OutOfMemoryError
from tangentlens.language.model import language_model
from tangentlens.language.sweep import backward as backward_sweep
from tangentlens.language.sweep.memory import in_pieces
from tangentlens.language.sweep.sweep import sweep
from tests.support import language_zoo as zoo

CPU = "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"


def test_every_row_is_worked_on_once_whatever_fits():
    for room in (1, 2, 3, 7):
        done = []

        def work(rows: slice, room: int = room, done: list = done) -> None:
            if rows.stop - rows.start > room:
                raise RuntimeError(CPU)
            done.extend(range(rows.start, rows.stop))

        in_pieces(work, 23, 16, "here")
        assert done == list(range(23))


def test_what_never_fits_is_refused_with_a_remedy():
    def work(_rows: slice) -> None:
        raise MemoryError

    with pytest.raises(OutOfMemoryError, match=r"not even one window.*backward pass.*fewer windows") as caught:
        in_pieces(work, 4, 4, "backward pass")
    assert isinstance(caught.value, MemoryError)


def test_other_errors_are_not_taken_for_it():
    def work(_rows: slice) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        in_pieces(work, 4, 4, "here")


def test_a_sweep_that_meets_full_memory_gives_the_same_kernels(monkeypatch):
    lm, batch = language_model(zoo.tiny("gemma3")), zoo.windows(6)
    expected = sweep(lm, batch, directions=5, geometry="raw")
    whole = backward_sweep._chunk
    widths = []

    def chunk(planned, uses, inputs, gradient, lowest):
        widths.append(gradient.shape[1])
        if gradient.shape[1] > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return whole(planned, uses, inputs, gradient, lowest)

    monkeypatch.setattr(backward_sweep, "_chunk", chunk)
    found = sweep(lm, batch, directions=expected.basis, geometry="raw")
    assert max(widths) > 2
    for group in expected.groups:
        a, b = expected[group].dense(), found[group].dense()
        assert torch.allclose(a, b, rtol=0, atol=1e-6 * float(a.abs().max()))
