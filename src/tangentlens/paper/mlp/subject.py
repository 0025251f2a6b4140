"""The MLP of a seed: data and network as drawn, features, modes of its kernel."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.alignment.cliffs import paper_blocks
from tangentlens.alignment.overlap import centred_basis
from tangentlens.analysis.subject import Split
from tangentlens.eigen import top_eigenpairs
from tangentlens.features.fourier import FAMILIES, fourier_family
from tangentlens.kernels import EmpiricalNTK, entk
from tangentlens.operators import DenseOperator
from tangentlens.paper.mlp.config import Config
from tangentlens.paper.mlp.network import QuadraticMLP
from tangentlens.paper.modular_addition.data import labels, one_hot_inputs, train_test_split
from tangentlens.paper.training import Checkpoint, TrainingConfig, mean_squared_error, train
from tangentlens.records import Eigenpairs


@dataclass(frozen=True)
class Drawn:
    """Draws of a seed before training: the split, then the weights; the generator goes on to the mini-batches."""

    inputs: Float[Tensor, "N inputs"]
    labels: Int[Tensor, " N"]
    split: Split
    model: QuadraticMLP
    generator: torch.Generator

    def train(self, training: TrainingConfig) -> Iterator[Checkpoint]:
        """Train the model in place, on the mean squared error."""
        rows = self.split
        return train(
            self.model, self.inputs, self.labels, rows.train, rows.test, mean_squared_error, training, self.generator
        )


def draw(config: Config, seed: int) -> Drawn:
    """Draw the data and the untrained network of a seed."""
    p, generator = config.data.p, torch.Generator().manual_seed(seed)
    inputs = one_hot_inputs(p)
    split = train_test_split(len(inputs), config.data.train_fraction, generator)
    return Drawn(inputs, labels(p), split, QuadraticMLP(p, config.model.width, generator), generator)


def family_bases(p: int) -> dict[str, Float[Tensor, "N r"]]:
    """Centred orthonormal bases of the Fourier families, and of n and m together as "input"."""
    families = {name: fourier_family(name, p).matrix for name in FAMILIES}
    families["input"] = torch.cat([families["n"], families["m"]], dim=1)
    return {name: centred_basis(matrix) for name, matrix in families.items()}


def paper_modes(vectors: Float[Tensor, "N k"], p: int) -> Mapping[str, Float[Tensor, "N _"]]:
    """Modes that the paper compares with each family: its first block with n and m, its second with the others."""
    first, second = (vectors[:, list(block)] for block in paper_blocks(p))
    return {"input": first, "sum": second, "difference": second}


@dataclass(frozen=True)
class KernelModes:
    """The kernel of the model as it stands, with its leading eigenpairs."""

    ntk: EmpiricalNTK
    kernel: Float[Tensor, "N N"]
    pairs: Eigenpairs
    kernel_seconds: float
    eigen_seconds: float


def read_kernel(model: QuadraticMLP, inputs: Float[Tensor, "N inputs"], config: Config) -> KernelModes:
    """Compute the kernel of the model as it stands, and its leading eigenpairs."""
    start = time.perf_counter()
    ntk = entk(model, inputs, outputs="trace", groups="parameter")
    kernel = ntk.total.dense().to(torch.float64)
    middle = time.perf_counter()
    pairs = eigenpairs(kernel, config)
    return KernelModes(ntk, kernel, pairs, middle - start, time.perf_counter() - middle)


def eigenpairs(kernel: Float[Tensor, "N N"], config: Config) -> Eigenpairs:
    """Both of the paper's blocks and as many modes again, as far as the kernel has them."""
    k = min(len(kernel), 16 * (config.data.p // 2))
    return top_eigenpairs(DenseOperator(kernel), k=k, tol=config.analysis.residual_tolerance)
