"""Config of a language run: model, text, windows, labels, kernels and scoring."""

from typing import Any, Literal

from pydantic import Field, model_validator

from tangentlens.analysis.section import Section
from tangentlens.language.windows.labelling import DEFAULT_PIPELINE
from tangentlens.language.windows.text import TINY_STORIES

Geometry = Literal["raw", "centred", "fisher"]


class ModelConfig(Section):
    """The language model."""

    name: str = Field(min_length=1, description="a hub id, a folder or a GGUF file")
    revision: str | None = Field(default=None, description="commit, branch or tag of a hub model")


class TextConfig(Section):
    """Where the stories come from."""

    source: Literal["auto", "hub", "file", "written"] = Field(
        default="auto", description="auto: the hub where it can be reached, else stories that the model writes"
    )
    dataset: str = Field(default=TINY_STORIES, description="of the hub")
    file: str | None = Field(default=None, description="text, .jsonl or .parquet, for source = file")
    column: str = Field(default="text", description="of a table or data set")
    written: int = Field(default=4000, ge=1, description="stories that the model writes at most, for source = written")


class WindowsConfig(Section):
    """Which windows, as many for each part of speech."""

    count: int = Field(default=1024, ge=16, description="N, a multiple of the number of parts of speech")
    pos: tuple[str, ...] = Field(min_length=2, description="parts of speech of the next word")
    length: int = Field(default=64, ge=2, description="tokens of a window")
    continuation: int = Field(default=3, ge=1, description="tokens that the model writes to give the next word")
    per_story: int = Field(default=1, ge=1, description="windows cut from one story at most")
    max_stories: int = Field(default=20_000, ge=1, description="stories read at most")
    allow_fewer: bool = Field(default=False, description="go on where a quota cannot be filled")


class LabelsConfig(Section):
    """The tagger, and which labels can be tested."""

    pipeline: str = Field(default=DEFAULT_PIPELINE, description="a spaCy pipeline, or stanza:LANGUAGE")
    support: int = Field(default=30, ge=4, description="windows that a morphological label needs")
    distinct: int = Field(default=12, ge=1, description="different words that it needs")
    largest_share: float = Field(default=0.5, gt=0, le=1, description="most that one word may make up of it")


class KernelConfig(Section):
    """The kernels and their modes."""

    groups: str | tuple[str, ...] = Field(
        default="down_proj", description='"down_proj", "weights", or patterns over parameter names'
    )
    geometries: tuple[Geometry, ...] = Field(
        default=("raw", "centred", "fisher"), min_length=1, description="of the logits"
    )
    modes: int = Field(default=25, ge=2, description="leading modes of each kernel")
    directions: int = Field(default=24, ge=2, description="r, output directions of the sweep")
    probes: int = Field(default=2, ge=1, description="random directions a window, for the error of the compression")
    tolerance: float = Field(default=0.1, gt=0, description="relative residual of the modes on the compressed rows")
    pilot_windows: int = Field(default=16, ge=1, description="windows that the directions are found on")

    @property
    def sweep_options(self) -> dict[str, Any]:
        """Options of `sweep` in every geometry."""
        return self.model_dump(exclude={"geometries"})


class ScoringConfig(Section):
    """How modes are scored, and how many examples and tokens are kept of each."""

    resamples: int = Field(default=2000, ge=1, description="bootstrap samples of stories behind each interval")
    permutations: int = Field(default=1000, ge=1, description="random orders of the labels behind each p")
    examples: int = Field(default=20, ge=2, description="windows shown of each mode, half of them the lowest")
    tokens: int = Field(default=12, ge=1, description="tokens shown that a mode raises, and as many that it lowers")


class Config(Section):
    """Labels of the next word in the kernels of a language model."""

    setting: Literal["language"] = Field(default="language", description="which setting this config belongs to")
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, description="one set of windows for each")
    model: ModelConfig = Field(description="the network")
    text: TextConfig = Field(default=TextConfig(), description="the stories")
    windows: WindowsConfig = Field(description="the inputs")
    labels: LabelsConfig = Field(default=LabelsConfig(), description="the features")
    kernel: KernelConfig = Field(default=KernelConfig(), description="the kernels")
    scoring: ScoringConfig = Field(default=ScoringConfig(), description="how they are compared")

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.windows.count % len(self.windows.pos):
            raise ValueError(f"windows.count must be a multiple of the {len(self.windows.pos)} parts of speech")
        if (self.text.source == "file") != (self.text.file is not None):
            raise ValueError('text.file goes with text.source = "file"')
        if len(set(self.kernel.geometries)) < len(self.kernel.geometries):
            raise ValueError("kernel.geometries names one twice")
        return self
