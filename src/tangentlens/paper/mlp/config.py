"""Config of the paper's MLP on modular addition; every default is the paper's where the paper has one."""

from typing import Literal

from pydantic import Field

from tangentlens.analysis.evidence.cliff_rule import CliffConfig
from tangentlens.analysis.options import EvidenceConfig
from tangentlens.analysis.section import Section
from tangentlens.paper.training import TrainingConfig


class DataConfig(Section):
    """Modular addition over all p^2 pairs."""

    p: int = Field(default=29, ge=5, description="modulus; there are p^2 inputs")
    train_fraction: float = Field(default=0.7, gt=0, lt=1, description="share of the pairs to train on")


class ModelConfig(Section):
    """The quadratic MLP."""

    width: int = Field(default=512, ge=1, description="hidden units")


class AnalysisConfig(CliffConfig):
    """Tolerances of the eigenpairs and the linearised predictor, and thresholds of cliffs and onset."""

    residual_tolerance: float = Field(default=1e-6, gt=0, description="largest relative residual of a good eigenpair")
    onset_accuracy: float = Field(default=0.5, gt=0, lt=1, description="test accuracy whose crossing is the onset")
    ridge: float = Field(default=1e-6, ge=0, description="of the linearised predictor, relative to the mean diagonal")


class Config(Section):
    """The MLP setting of the paper."""

    setting: Literal["mlp"] = Field(default="mlp", description="which setting this config belongs to")
    seeds: tuple[int, ...] = Field(default=tuple(range(10)), min_length=1, description="one network for each seed")
    data: DataConfig = Field(default=DataConfig(), description="the task")
    model: ModelConfig = Field(default=ModelConfig(), description="the network")
    training: TrainingConfig = Field(
        default=TrainingConfig(epochs=500, measure_every=10, learning_rate=0.05, weight_decay=0.01),
        description="how it is trained, on the mean squared error",
    )
    analysis: AnalysisConfig = Field(default=AnalysisConfig(), description="how the kernel is read")
    evidence: EvidenceConfig = Field(default=EvidenceConfig(), description="how its claims are tested")
