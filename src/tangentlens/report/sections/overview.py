"""What was run, on what data, with which versions."""

from collections.abc import Iterator, Mapping
from typing import Any

from tangentlens.report.blocks import Block, Facts, Lead, Note, Section
from tangentlens.report.numbers import duration, listing, several
from tangentlens.store import StoredRun

_FIELDS = {"interval": "intervals", "n": "numbers of observations", "seeds": "seeds", "unit": "units"}


def _build(run: StoredRun) -> tuple[Block, ...]:
    facts = Facts((*_config_groups(run.config), ("Made with", tuple(_made_with(run)))))
    return (Lead(_sentence(run)), *_older(run), facts)


def _older(run: StoredRun) -> tuple[Note, ...]:
    """What the figures were stored without."""
    words = [f"{_FIELDS[field]} ({several(count, 'figure')})" for field, count in run.lacking.items()]
    if not words:
        return ()
    return (
        Note(
            f"An older version of tangentlens wrote results.json, without {listing(words)}. The page shows the rest; "
            "run the config again for all of it."
        ),
    )


def _sentence(run: StoredRun) -> str:
    total = run.environment.get("seconds")
    took = f" in {duration(total)} of computing" if isinstance(total, int | float) else ""
    seeds = listing([str(record.seed) for record in run.seeds]) if run.seeds else "none"
    return f"{several(len(run.seeds), 'seed').capitalize()} ({seeds}) measured{took}, {_convergence(run)}."


def _convergence(run: StoredRun) -> str:
    count = len(run.notes)
    return f"with {several(count, 'note')} to read beside the residuals" if count else "without a reservation noted"


def _config_groups(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    for name, section in config.items():
        if isinstance(section, Mapping) and section:
            yield name.replace("_", " ").capitalize(), tuple(_facts(section))


def _facts(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _facts(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}".replace("_", " "), _value(value)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(_value, value)) if isinstance(value, list) else str(value)


def _made_with(run: StoredRun) -> Iterator[tuple[str, str]]:
    environment = run.environment
    for key in ("tangentlens", "torch", "numpy", "scipy", "python", "platform"):
        yield key, str(environment.get(key, "unknown"))
    commit = environment.get("commit")
    if commit:
        yield "commit", str(commit)[:12] + (" with changes" if environment.get("modified") else "")
    yield "processors, threads", f"{environment.get('cpu_count')}, {environment.get('threads')}"
    yield "started", str(environment.get("started", "unknown")).replace("T", " ").replace("+00:00", " UTC")


SECTION = Section("overview", "What was run", _build)
