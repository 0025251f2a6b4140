"""Decompositions of activations that see no label: independent components, sparse codes, random directions."""

import warnings

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import FastICA, MiniBatchDictionaryLearning, sparse_encode
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

_NONZERO = 5  # atoms in the code of one input, at most
_ICA_STEPS = 200
_EPOCHS = 3  # passes of the dictionary over the inputs


def independent_components(scores: Float[Tensor, "N d"], k: int, seed: int) -> Float[Tensor, "N r"]:
    """Independent components (FastICA; Hyvarinen 1999) of the k leading principal scores, r = min(k, d).

    Args:
        scores: centred principal scores, the largest first: FastICA whitens with them.
        k: how many components.
        seed: of the first rotation.
    """
    X = scores[:, :k].numpy()
    ica = FastICA(n_components=X.shape[1], whiten="unit-variance", max_iter=_ICA_STEPS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # components are as far as the steps brought them
        return torch.from_numpy(np.ascontiguousarray(ica.fit_transform(X)))


def dictionary_codes(scores: Float[Tensor, "N d"], k: int, seed: int) -> Float[Tensor, "N k"]:
    """Codes in a sparse dictionary of k atoms, learned on the values (Mairal et al. 2009), by matching pursuit.

    Args:
        scores: principal scores, which hold the values up to a rotation.
        k: number of atoms.
        seed: of the first atoms and the order of the inputs.
    """
    X = _scaled(scores)
    learner = MiniBatchDictionaryLearning(
        n_components=k, max_iter=_EPOCHS, batch_size=256, random_state=seed, fit_algorithm="cd"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        atoms = learner.fit(X).components_
    return _codes(X, atoms)


def random_atom_codes(scores: Float[Tensor, "N d"], k: int, generator: torch.Generator) -> Float[Tensor, "N k"]:
    """Codes in a dictionary of k random atoms of unit length, by the same matching pursuit: what learning adds."""
    X = _scaled(scores)
    atoms = torch.randn(k, X.shape[1], generator=generator, dtype=torch.float64)
    return _codes(X, torch.nn.functional.normalize(atoms, dim=1).numpy())


def random_projections(values: Float[Tensor, "N w"], k: int, generator: torch.Generator) -> Float[Tensor, "N k"]:
    """Scores of the inputs along k random directions of a site."""
    w = values.shape[1]
    directions = torch.randn(w, k, generator=generator, dtype=torch.float64) / w**0.5
    found: Tensor = values.detach().cpu().to(torch.float64) @ directions
    return found


def _scaled(scores: Float[Tensor, "N d"]) -> np.ndarray:
    """Root mean square 1 over all entries: the scale that the penalty of scikit-learn's default suits."""
    size = scores.square().mean().sqrt().clamp_min(1e-300)
    return np.ascontiguousarray((scores / size).numpy())


def _codes(X: np.ndarray, atoms: np.ndarray) -> Float[Tensor, "N k"]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pursuit stops early where atoms depend on each other
        codes = sparse_encode(X, atoms, algorithm="omp", n_nonzero_coefs=min(_NONZERO, len(atoms)))
    return torch.from_numpy(np.ascontiguousarray(codes, dtype=np.float64))
