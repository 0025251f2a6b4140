"""The config, to copy."""

from tangentlens.report.blocks import Block, Code, Note, Section
from tangentlens.store import StoredRun


def _build(run: StoredRun) -> tuple[Block, ...]:
    return (
        Note("Save this as config.toml; `tangentlens run config.toml` makes the same run."),
        Code(run.config_text),
    )


SECTION = Section("config", "Run it again", _build)
