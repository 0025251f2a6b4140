"""The config of the paper's Transformer on modular addition; every default is the paper's where the paper has one."""

from typing import Literal

from pydantic import Field, model_validator

from tangentlens.analysis.evidence.cliff_rule import CliffConfig
from tangentlens.analysis.options import EvidenceConfig
from tangentlens.analysis.section import Section


class DataConfig(Section):
    """Modular addition over all p^2 pairs."""

    p: int = Field(default=29, ge=5, description="modulus; there are p^2 inputs")
    train_fraction: float = Field(default=0.5, gt=0, lt=1, description="share of the pairs to train on")


class ModelConfig(Section):
    """The one-layer Transformer."""

    d_model: int = Field(default=64, ge=1, description="width of the residual stream, a multiple of heads")
    heads: int = Field(default=4, ge=1, description="attention heads")
    d_mlp: int = Field(default=256, ge=1, description="width of the MLP")


class TrainingConfig(Section):
    """AdamW on the cross-entropy, all seeds stacked; a seed leaves the stack when it has learned the task."""

    epochs: int = Field(default=4000, ge=1, description="passes over the training rows that every seed takes")
    max_epochs: int = Field(default=20000, ge=1, description="where a seed that has not learned the task stops")
    hold_accuracy: float = Field(default=0.99, gt=0, le=1, description="test accuracy that counts as learned ...")
    hold_epochs: int = Field(default=200, ge=1, description="... once it has been kept for so many epochs")
    measure_every: int = Field(default=20, ge=1, description="epochs from one checkpoint to the next")
    learning_rate: float = Field(default=3e-4, gt=0, description="step size, constant over training")
    weight_decay: float = Field(default=1.0, ge=0, description="decoupled")
    batch_size: int = Field(default=64, ge=1, description="rows in a step, reshuffled every epoch")


class AnalysisConfig(CliffConfig):
    """Number of modes, and thresholds of key frequencies, cliffs and onset."""

    modes: int = Field(default=64, ge=1, description="leading modes of each parameter's kernel")
    residual_tolerance: float = Field(default=1e-6, gt=0, description="largest relative residual of a good eigenpair")
    trace_share: float = Field(
        default=0.999, gt=0, le=1, description="the unembedding's modes that hold this share name the key frequencies"
    )
    sum_wave_share: float = Field(
        default=0.5, gt=0, lt=1, description="share of a sum wave inside those modes from which its frequency is key"
    )
    tracked_modes: int = Field(default=16, ge=1, description="modes of the unembedding followed along training")
    onset_accuracy: float = Field(default=0.5, gt=0, lt=1, description="test accuracy whose crossing is the onset")


class Config(Section):
    """The Transformer setting of the paper."""

    setting: Literal["transformer"] = Field(default="transformer", description="which setting this config belongs to")
    seeds: tuple[int, ...] = Field(default=tuple(range(10)), min_length=1, description="one network for each seed")
    data: DataConfig = Field(default=DataConfig(), description="the task")
    model: ModelConfig = Field(default=ModelConfig(), description="the network")
    training: TrainingConfig = Field(default=TrainingConfig(), description="how the networks are trained")
    analysis: AnalysisConfig = Field(default=AnalysisConfig(), description="how the kernels are read")
    evidence: EvidenceConfig = Field(default=EvidenceConfig(), description="how its claims are tested")

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        training, analysis, half = self.training, self.analysis, self.data.p // 2
        if training.max_epochs < training.epochs:
            raise ValueError("training.max_epochs is less than training.epochs")
        if training.epochs % training.measure_every or training.max_epochs % training.measure_every:
            raise ValueError("training.epochs and max_epochs must be multiples of training.measure_every")
        if not 4 * half + 1 <= analysis.modes <= self.data.p**2:
            raise ValueError(f"analysis.modes must lie between 4 floor(p / 2) + 1 = {4 * half + 1} and p^2")
        if self.model.d_model > self.data.p**2 or self.model.d_model % self.model.heads:
            raise ValueError("model.d_model must be a multiple of model.heads and at most p^2")
        return self
