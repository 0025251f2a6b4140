"""The base of every config and of its sections."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a config: frozen, without unknown keys, its numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
