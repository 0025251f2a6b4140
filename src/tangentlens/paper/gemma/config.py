"""Config of the paper's third setting: every default is the paper's where the paper has one."""

from pydantic import Field

from tangentlens.language.analysis import config as language

PARTS_OF_SPEECH = ("PUNCT", "PRON", "PROPN", "DET", "ADV", "CCONJ", "NOUN", "VERB")


class ModelConfig(language.ModelConfig):
    """The language model."""

    name: str = Field(default="google/gemma-3-270m", min_length=1, description="a hub id, a folder or a GGUF file")


class WindowsConfig(language.WindowsConfig):
    """Which windows, as many for each part of speech."""

    pos: tuple[str, ...] = Field(default=PARTS_OF_SPEECH, min_length=2, description="parts of speech of the next word")


class Config(language.Config):
    """Grammar of the next word in the kernels of a language model."""

    model: ModelConfig = Field(default=ModelConfig(), description="the network")
    windows: WindowsConfig = Field(default=WindowsConfig(), description="the inputs")
