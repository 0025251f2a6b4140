"""Config of the paper's Toy Models of Superposition; every default is the paper's where the paper has one."""

from typing import Literal

from pydantic import Field, model_validator

from tangentlens.analysis.evidence.cliff_rule import CliffConfig
from tangentlens.analysis.section import Section


class Regime(Section):
    """Width of the bottleneck and sparsity of the inputs."""

    name: str = Field(pattern="^[a-z][a-z0-9_]*$", description="what figures and arrays call it")
    hidden: int = Field(ge=1, description="m, width of the bottleneck")
    sparsity: float = Field(ge=0, lt=1, description="probability that a feature is absent from an input")


class DataConfig(Section):
    """The fixed set of inputs."""

    features: int = Field(default=50, ge=2, description="n, width of inputs and outputs")
    examples: int = Field(default=500, ge=1, description="N, number of inputs, all of them trained on")
    importance_ratio: float = Field(default=0.8, gt=0, le=1, description="the loss weighs feature i by ratio^i")


class TrainingConfig(Section):
    """Adam on the full set."""

    steps: int = Field(default=5000, ge=1, description="full-batch steps")
    learning_rate: float = Field(default=1e-3, gt=0, description="of Adam, constant")
    measure_every: int = Field(default=100, ge=1, description="steps from one stored loss to the next")


class KernelConfig(Section):
    """The full kernel over examples and outputs, outputs rescaled by importance^(tau / 2)."""

    taus: tuple[float, ...] = Field(default=(1.0, 0.33), min_length=1, description="exponents of the rescaling")
    modes: int = Field(default=80, ge=2, description="leading modes to compute, at least as many as features")
    residual_tolerance: float = Field(default=1e-6, gt=0, description="largest relative residual of a good eigenpair")


class AnalysisConfig(CliffConfig):
    """Thresholds of represented and recovered features, and the rule for cliffs."""

    represented: float = Field(default=0.75, gt=0, description="(W^T W)_aa from which a feature counts as represented")
    recovered: float = Field(
        default=0.5, gt=0, le=1, description="squared length inside the leading n modes from which it is recovered"
    )


class Config(Section):
    """The superposition setting; every default is the paper's where the paper has one."""

    setting: Literal["superposition"] = Field(
        default="superposition", description="which setting this config belongs to"
    )
    seeds: tuple[int, ...] = Field(default=tuple(range(5)), min_length=1, description="one set of networks for each")
    regimes: tuple[Regime, ...] = Field(
        default=(
            Regime(name="dense", hidden=10, sparsity=0.3),
            Regime(name="sparse", hidden=10, sparsity=0.9),
            Regime(name="wide", hidden=40, sparsity=0.9),
        ),
        min_length=1,
        description="the networks of one seed, in the order of how many features they should represent",
    )
    data: DataConfig = Field(default=DataConfig(), description="the inputs")
    training: TrainingConfig = Field(default=TrainingConfig(), description="how each network is trained")
    kernel: KernelConfig = Field(default=KernelConfig(), description="the kernel and its modes")
    analysis: AnalysisConfig = Field(default=AnalysisConfig(), description="how the modes are read")

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        n, rows = self.data.features, self.data.features * self.data.examples
        if not n <= self.kernel.modes <= rows:
            raise ValueError(f"kernel.modes must lie between the {n} features and the {rows} rows of the kernel")
        if len({regime.name for regime in self.regimes}) < len(self.regimes):
            raise ValueError("two regimes have the same name")
        if len({tau_name(tau) for tau in self.kernel.taus}) < len(self.kernel.taus):
            raise ValueError("two taus agree to two decimals")
        return self


def tau_name(tau: float) -> str:
    """Name of a rescaling in keys: "tau033" for 0.33."""
    return f"tau{round(100 * tau):03d}"
