"""Results of a sweep come back from either store as they were kept, and from a folder in a later call too."""

import pytest
import torch

from tangentlens.errors import InvalidInputError
from tangentlens.language.sweep.approximate_modes import ApproximateModes
from tangentlens.language.sweep.results import FolderStore, MemoryStore, Results
from tangentlens.language.sweep.scratch import InFiles, InMemory
from tangentlens.records import Eigenpairs


def modes(check: float | None = 1e-7) -> ApproximateModes:
    vectors = torch.linalg.qr(torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    values, residuals = torch.tensor([3.0, 1.0]).double(), torch.tensor([0.1, 0.2]).double()
    pairs = Eigenpairs(values, vectors, residuals, torch.tensor([True, False]), products=7)
    return ApproximateModes(pairs, residuals, 0.1 * residuals, 0 * residuals, check, {"scores": vectors.float()})


def same(one: ApproximateModes, other: ApproximateModes) -> bool:
    tensors = [
        *((getattr(one.pairs, n), getattr(other.pairs, n)) for n in ("values", "vectors", "residuals", "converged")),
        *((getattr(one, n), getattr(other, n)) for n in ("outside", "outside_error", "left_out")),
        (one.statistics["scores"], other.statistics["scores"]),
    ]
    numbers = (one.check, one.pairs.products) == (other.check, other.pairs.products)
    return numbers and one.statistics.keys() == other.statistics.keys() and all(torch.equal(a, b) for a, b in tensors)


@pytest.mark.parametrize("kind", ["memory", "folder"])
@pytest.mark.parametrize("check", [None, 0.1 + 0.2])
def test_what_is_kept_comes_back(kind, check, tmp_path):
    store = MemoryStore() if kind == "memory" else FolderStore(tmp_path, "this sweep")
    results = Results(store)
    assert results.modes("a") is results.basis is results.resume_point is None
    results.keep_modes("a", modes(check))
    results.keep_basis(torch.eye(3).double(), torch.zeros(2).double())
    results.commit(1, torch.zeros(2, 3, 4))
    for again in (results, *([Results(FolderStore(tmp_path, "this sweep"))] if kind == "folder" else [])):
        assert same(again.modes("a"), modes(check))
        assert again.modes("b") is None
        assert torch.equal(again.basis[0], torch.eye(3).double())
        point = again.resume_point
        assert (point.done, point.shape, point.dtype) == (2, (2, 3, 4), torch.float32)


def test_a_folder_of_another_fingerprint_is_refused(tmp_path):
    FolderStore(tmp_path, "one")
    with pytest.raises(InvalidInputError, match="holds a sweep of another model"):
        FolderStore(tmp_path, "other")


def test_input_gradients_reuse_memory_and_never_the_file_that_a_restart_reads(tmp_path):
    memory, files = InMemory(), InFiles(tmp_path)
    gradient = memory.allocate("gradients-0", (2, 3), torch.empty(0))
    assert memory.input_gradients(1, (2, 3), gradient) is gradient
    assert memory.input_gradients(1, (2, 4), gradient).shape == (2, 4)
    first = files.input_gradients(0, (2, 3), gradient)
    first.fill_(1.0)
    files.input_gradients(1, (2, 3), first).fill_(2.0)
    assert torch.equal(files.allocate("gradients-0", (2, 3), gradient), torch.ones(2, 3))
