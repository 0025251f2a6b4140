"""Training as a film: the spectrum and what the leading modes hold at every checkpoint, with a slider."""

import numpy as np

from tangentlens.report import labels
from tangentlens.report.blocks import Block, Lead, Note, Section
from tangentlens.report.film import Panel, film, kept_frames
from tangentlens.report.film_panels import frequency_maps, overlap_bars, spectrum_line
from tangentlens.report.numbers import listing, number, plain, several
from tangentlens.store import SeedRecord, StoredRun

_OVERLAP, _FILM = "overlap.", "film."
# Eigenvalues at every checkpoint, as the settings call them, with a title.
_VALUES = {"spectrum.total": "Spectrum of the whole kernel", "tracks.values": "Eigenvalues of the modes followed"}
_RANKED = {"spectrum.total": "Spectrum of the whole kernel", "tracks.values": "Leading eigenvalues of the unembedding"}
_BEYOND = 1.1  # of the modes that the maps show, in the spectrum above them: a cliff after the last one is seen


def _build(run: StoredRun) -> tuple[Block, ...]:
    record = run.seeds[0]
    epochs, values, overlaps = record.array("epoch"), record.array(_source(record)), _overlaps(record)
    sentence = _sentence(record, values, overlaps)
    kept = kept_frames(len(epochs))
    names = tuple(str(epoch) for epoch in epochs[kept].tolist())
    panels = _panels(record, kept, values, overlaps)
    return Lead(sentence), film(panels, "Epoch", names, sentence), Note(_note(record, len(epochs), len(kept)))


def _panels(
    record: SeedRecord, kept: np.ndarray, values: np.ndarray, overlaps: dict[str, np.ndarray]
) -> tuple[Panel, ...]:
    """The spectrum above what the modes hold: a map for each family, or one bar each where the run has no maps."""
    maps, source = _maps(record), _source(record)
    if not maps:
        line = spectrum_line(_VALUES[source], values[kept])
        return (
            (line, overlap_bars({family: curve[kept] for family, curve in overlaps.items()})) if overlaps else (line,)
        )
    modes = next(iter(maps.values())).shape[1]
    ranked = -np.sort(-values, axis=1)[:, : round(_BEYOND * modes)]
    drawn = frequency_maps({family: frames[kept] for family, frames in maps.items()})
    return (spectrum_line(_RANKED[source], ranked[kept]), *drawn)


def _source(record: SeedRecord) -> str:
    return next(name for name in _VALUES if name in record.names)


def _maps(record: SeedRecord) -> dict[str, np.ndarray]:
    """Family -> (E, m, F) percent of each of m modes at each of F frequencies."""
    families = [name.removeprefix(_FILM) for name in record.names if name.startswith(_FILM)]
    return {family: record.array(_FILM + family) for family in sorted(families, key=_in_order_of_blocks)}


def _in_order_of_blocks(family: str) -> tuple[bool, tuple[int, str]]:
    """The first block of modes holds the input features, which the order of families names last."""
    return family != "input", labels.order(family)


def _overlaps(record: SeedRecord) -> dict[str, np.ndarray]:
    """Family -> (E,) percent at every checkpoint."""
    length = len(record.array("epoch"))
    families = [name.removeprefix(_OVERLAP) for name in record.names if name.startswith(_OVERLAP)]
    curves = {family: record.array(_OVERLAP + family) for family in sorted(families, key=labels.order)}
    return {family: curve for family, curve in curves.items() if curve.shape == (length,) and "." not in family}


def _sentence(record: SeedRecord, values: np.ndarray, overlaps: dict[str, np.ndarray]) -> str:
    first, last = (plain(float(row.max()), decimals=1) for row in (values[0], values[-1]))
    grown = [
        f"{labels.family(family)} from {number(float(curve[0]), 'percent')} to {number(float(curve[-1]), 'percent')}"
        for family, curve in overlaps.items()
    ]
    tail = f"; the overlaps with the features change: {listing(grown)}" if grown else ""
    return (
        f"In the {several(len(values), 'checkpoint')} of seed {record.seed} the largest eigenvalue goes from {first} "
        f"to {last}{tail}."
    )


def _note(record: SeedRecord, checkpoints: int, shown: int) -> str:
    thinned = f" Of {checkpoints} checkpoints the film shows {shown}, evenly spaced." if shown < checkpoints else ""
    below = (
        "below, a column for each mode and a row for each frequency k: how much of the mode, in percent, lies in a "
        "family's features at that frequency, dark for nothing, bright for all of it; colours follow the square root, "
        "since modes that share an eigenvalue mix and hold a little of many frequencies"
        if _maps(record)
        else "below, the percent of each feature family inside the modes that the paper names for it"
    )
    return (
        "Move the slider, with the arrow keys too, or play the film. Above, the eigenvalues at that checkpoint; "
        f"{below}.{thinned}"
    )


def _filmed(run: StoredRun) -> bool:
    return any(run.has("epoch", name) for name in _VALUES)


SECTION = Section("film", "Training as a film", _build, when=_filmed)
