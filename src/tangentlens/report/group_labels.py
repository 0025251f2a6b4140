"""Names of parameter groups as a page shows them: a module that is only a number gets its class."""

from tangentlens.store import StoredRun


def group_label(run: StoredRun, group: str) -> str:
    """The group with the class of its module, "0 (Conv2d)", where its name ends in a number; else its name."""
    words = run.seeds[0].words
    known = dict(zip(words.get("kernel.groups", ()), words.get("kernel.classes", ()), strict=False))
    numbered = group.rpartition(".")[2].isdigit()
    return f"{group} ({known[group]})" if numbered and known.get(group) else group
