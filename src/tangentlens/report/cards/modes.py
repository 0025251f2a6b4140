"""From the run of any model to the data of its cards."""

from collections.abc import Sequence

import numpy as np

from tangentlens.report.cards.deck import Deck, Examples, Facts, Found, General, Histogram, Inputs
from tangentlens.report.cards.histograms import BINS, histograms
from tangentlens.report.cards.packed import Packed, pack, pack_counts
from tangentlens.report.mode_run import ModeRun, StoredInputs, links_of, picture_address
from tangentlens.report.numbers import plain
from tangentlens.report.visible_text import visible_token
from tangentlens.store.tables import read_table, table_names

_MOST_BYTES = 3_000_000  # of all pictures on a page
METRICS = {"auroc": "AUROC", "r2": "R²", "overlap": "overlap", "rank correlation": "rank correlation"}
_QUESTIONS = ("aligned", "learned", "used")
_PARTS = ("strength", "merit", "sign", "p_corrected", "end", "quarter", "share", "base")


def build_mode_deck(run: ModeRun) -> Deck:
    """The cards of all modes of all groups."""
    counts = tuple(sum(row["group"] == group for row in run.modes) for group in run.groups)
    examples = _examples(run, counts)
    shown = np.unique(examples[examples >= 0])
    names = tuple(visible_token(group) for group in run.groups)

    def column(name: str) -> np.ndarray:
        return _padded(np.array([float(row[name]) for row in run.modes]), counts)

    return Deck(
        schema=1, geometry="", groups=names, layers=names, modes=max(counts), tokens=(),
        values=pack(column("value")), residuals=pack(column("residual")), residual_errors=None, converged=None,
        energy=None, effect=None, labels=None, raised=None, lowered=None,
        histogram=_histogram(run, counts), windows=None, examples=_packed_examples(run, examples, shown),
        similar_scores=None, similar_directions=None,
        general=General(
            links=links_of(run.groups),
            counts=counts,
            share=pack(column("share")),
            mean=pack(column("mean")),
            skew=pack(column("skew")),
            unresolved=pack_counts(np.nan_to_num(column("unresolved"))),
            similar=_similar(run),
            family=_family(run),
            found=_found(run),
            inputs=_inputs(run, shown),
            facts=_facts(run, counts),
        ),
    )  # fmt: skip


def _padded(values: np.ndarray, counts: Sequence[int], fill: int | float = np.nan) -> np.ndarray:
    """(modes in a row, ...) as (L, k, ...)."""
    whole = np.full((len(counts), max(counts), *values.shape[1:]), fill, dtype=values.dtype)
    start = 0
    for group, count in enumerate(counts):
        whole[group, :count] = values[start : start + count]
        start += count
    return whole


def _examples(run: ModeRun, counts: Sequence[int]) -> np.ndarray:
    """(L, k, E) inputs, -1 beyond a group's modes; so many that their pictures have room on a page."""
    stored = np.concatenate([run.record.array(f"modes.{group}.extremes") for group in run.groups])
    half = stored.shape[1] // 2
    size = {row: len(run.inputs.pictures[place]) for row, place in run.inputs.places.items()} if (
        run.inputs.kind == "image"
    ) else {}  # fmt: skip
    for kept in range(half, 0, -1):
        chosen = stored[:, [*range(kept), *range(half, half + kept)]]
        if kept <= 3 or sum(size.get(int(row), 0) for row in np.unique(chosen)) <= _MOST_BYTES:
            break
    return _padded(chosen, counts, fill=-1)


def _packed_examples(run: ModeRun, examples: np.ndarray, shown: np.ndarray) -> Examples:
    scores = np.zeros(examples.shape)
    for layer, group in enumerate(run.groups):
        vectors = run.record.array(f"kernel.{group}.vectors")  # (N, k)
        for mode in range(vectors.shape[1]):
            scores[layer, mode] = vectors[examples[layer, mode], mode]
    places = np.searchsorted(shown, np.maximum(examples, 0))
    return Examples(pack_counts(places), pack(scores), None, None)


def _inputs(run: ModeRun, shown: np.ndarray) -> Inputs:
    stored, numbers = run.inputs, tuple(int(row) for row in shown)
    classes = tuple(visible_token(run.classes[row]) for row in numbers) if run.classes else None
    at = [stored.places[row] for row in numbers] if stored.places else []
    return Inputs(
        stored.kind,
        numbers,
        visible_token(run.label),
        classes,
        pictures=tuple(picture_address(stored.pictures[place]) for place in at) if stored.pictures else None,
        texts=tuple(stored.texts[place] for place in at) if stored.texts else None,
        columns=stored.columns or None,
        rows=_numbers(stored, "table", at),
        lines=_numbers(stored, "series", at),
    )


def _numbers(stored: StoredInputs, kind: str, at: Sequence[int]) -> Packed | None:
    return pack(stored.numbers[list(at)]) if stored.kind == kind and stored.numbers is not None else None


def _histogram(run: ModeRun, counts: Sequence[int]) -> Histogram:
    vectors = np.stack(
        [_wide(run.record.array(f"kernel.{group}.vectors"), max(counts)) for group in run.groups]
    )  # (L, N, k)
    classes = tuple(map(visible_token, run.classes)) or ("all inputs",) * vectors.shape[1]
    order = sorted(set(classes), key=lambda name: (not name.lstrip("-").isdigit(), _number(name), name))
    found = histograms(vectors, classes, order, BINS)
    return Histogram(found.classes, pack_counts(found.counts), pack(found.edges))


def _number(name: str) -> int:
    return int(name) if name.lstrip("-").isdigit() else 0


def _wide(vectors: np.ndarray, modes: int) -> np.ndarray:
    return np.pad(vectors, ((0, 0), (0, modes - vectors.shape[1])))


def _facts(run: ModeRun, counts: Sequence[int]) -> Facts | None:
    names = run.record.words.get("facts.names", ())
    stored = {name: [run.of(group, name) for group in run.groups] for name in _PARTS}
    if not names or any(part is None for parts in stored.values() for part in parts):
        return None
    whole = {
        name: _padded(np.concatenate([part for part in parts if part is not None]), counts)
        for name, parts in stored.items()
    }
    return Facts(
        tuple(map(visible_token, names)),
        tuple(run.record.words["facts.kinds"]),
        tuple(run.record.words["facts.sources"]),
        int(run.record.array("facts.extremes")),
        strength=pack(whole["strength"]),
        merit=pack(whole["merit"]),
        sign=pack(np.nan_to_num(whole["sign"]), "i1"),
        p=pack(whole["p_corrected"]),
        end=pack(np.nan_to_num(whole["end"]), "i1"),
        quarter=pack_counts(np.nan_to_num(whole["quarter"])),
        share=pack(whole["share"]),
        base=pack(whole["base"]),
    )


def _similar(run: ModeRun) -> tuple[tuple[tuple[int, float], ...], ...]:
    pairs, cosines = run.record.array("modes.similar"), run.record.array("modes.similarity")
    of: list[list[tuple[int, float]]] = [[] for _ in run.modes]
    for (place, other), cosine in zip(pairs.tolist(), cosines.tolist(), strict=True):
        of[place].append((other, round(cosine, 4)))
    return tuple(map(tuple, of))


def _family(run: ModeRun) -> tuple[int, ...]:
    places = {f"{row['group']} {row['mode']}": place for place, row in enumerate(run.modes)}
    return tuple(places[str(row["family"])] for row in run.modes)


def _found(run: ModeRun) -> tuple[tuple[Found, ...], ...]:
    """The rows of the alignment table, each at the mode that was chosen for it."""
    places = {(row["group"], int(row["mode"])): place for place, row in enumerate(run.modes)}
    of: list[list[Found]] = [[] for _ in run.modes]
    rows = read_table(run.record, "alignment").rows() if "alignment" in table_names(run.record) else []
    for row in rows:
        place = places.get((row["group"], int(row["mode"])))
        if place is not None:
            of[place].append(
                Found(
                    visible_token(str(row["feature"])),
                    f"{METRICS.get(str(row['metric']), str(row['metric']))} {plain(float(row['score']), decimals=3)}",
                    f"{plain(float(row['low']), decimals=3)} to {plain(float(row['high']), decimals=3)}",
                    float(row["p_corrected"]) if np.isfinite(float(row["p_corrected"])) else None,
                    tuple(str(row[f"verdict_{question}"]) for question in _QUESTIONS),
                )
            )
    return tuple(map(tuple, of))
