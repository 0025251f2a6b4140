"""The cards of any model say what its run says, on the page and in a notebook."""

import base64
import json
import re

import numpy as np
import pytest

from tangentlens.errors import InvalidInputError
from tangentlens.records import Measurement
from tangentlens.report.cards import modes
from tangentlens.report.cards.deck import deck_json
from tangentlens.report.cards.modes import build_mode_deck
from tangentlens.report.cards.packed import unpack
from tangentlens.report.mode_run import links_of, mode_run
from tangentlens.report.notebook import open_run
from tangentlens.store.tables import read_table
from tests.support import mode_runs
from tests.support.png import read_png
from tests.support.synthetic_run import store_run

KINDS = ("image", "table", "series", "text", "")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {
        kind: open_run(
            mode_runs.mode_run(folder / (kind or "none"), kind, mode_runs.FEATURES if kind == "image" else None)
        )
        for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_shows_the_inputs_with_the_most_extreme_scores(runs, kind):
    record = runs[kind].stored.seeds[0]
    deck = build_mode_deck(mode_run(record))
    inputs, places, scores = deck.general.inputs, unpack(deck.examples.windows), unpack(deck.examples.scores)
    assert inputs.kind == kind
    for layer, group in enumerate(record.words["kernel.groups"]):
        vectors = record.array(f"kernel.{group}.vectors")
        assert deck.general.counts[layer] == vectors.shape[1]
        for mode in range(vectors.shape[1]):
            numbers = np.array(inputs.number)[places[layer, mode]]
            order = np.argsort(-vectors[:, mode], kind="stable")
            lowest = np.argsort(vectors[:, mode], kind="stable")[:10]
            assert numbers.tolist() == [*order[:10], *lowest]
            np.testing.assert_allclose(scores[layer, mode], vectors[numbers, mode], rtol=1e-6)
            assert [inputs.classes[at] for at in places[layer, mode]] == [str(i % 3) for i in numbers]


def test_every_picture_is_its_input(runs):
    deck = build_mode_deck(mode_run(runs["image"].stored.seeds[0]))
    for number, address in zip(deck.general.inputs.number, deck.general.inputs.pictures, strict=True):
        pixels, _ = read_png(base64.b64decode(address.removeprefix("data:image/png;base64,")))
        assert pixels.shape == (8, 8)
        bar = 2 * (number % 3)
        assert pixels[bar : bar + 3].min() > pixels[np.r_[0:bar, bar + 3 : 8]].max()


def test_the_deck_repeats_the_tables(runs):
    record = runs["image"].stored.seeds[0]
    deck = build_mode_deck(mode_run(record))
    rows = read_table(record, "modes").rows()
    general, facts = deck.general, deck.general.facts
    values, shares, p = unpack(deck.values), unpack(general.share), unpack(facts.p)
    place = {f"{row['group']} {row['mode']}": i for i, row in enumerate(rows)}
    for i, row in enumerate(rows):
        at = deck.groups.index(row["group"]), row["mode"]
        assert values[at] == pytest.approx(row["value"], rel=1e-6)
        assert shares[at] == pytest.approx(row["share"], rel=1e-6)
        assert general.family[i] == place[row["family"]]
        best = int(unpack(facts.merit)[at].argmax())
        if row["explained_by"]:
            assert facts.names[best] == row["explained_by"]
            strength = unpack(facts.strength)[at][best]
            shown = (1 + strength) / 2 if facts.kinds[best] == "binary" else strength
            assert shown == pytest.approx(row["score"], abs=1e-6)
            assert p[at][best] <= 0.05
    aligned = [row for row in read_table(record, "alignment").rows() if row["mode"] >= 0]
    assert sum(map(len, general.found)) == len(aligned) > 0
    for row in aligned:
        (found,) = [
            each for each in general.found[place[f"{row['group']} {row['mode']}"]] if each.feature == row["feature"]
        ]
        assert found.verdicts == tuple(row[f"verdict_{question}"] for question in ("aligned", "learned", "used"))
    json.loads(deck_json(deck))


def test_a_page_has_room_for_so_many_pictures(runs, monkeypatch):
    run = mode_run(runs["image"].stored.seeds[0])
    size = sum(map(len, run.inputs.pictures))
    monkeypatch.setattr(modes, "_MOST_BYTES", int(0.8 * size))
    deck = build_mode_deck(run)
    shown = {run.inputs.places[number] for number in deck.general.inputs.number}
    kept = deck.examples.windows.shape[2]
    assert 6 <= kept < 20
    assert kept == 6 or sum(len(run.inputs.pictures[place]) for place in shown) <= 0.8 * size
    whole = unpack(build_mode_deck(mode_run(runs["table"].stored.seeds[0])).examples.windows)
    assert whole.shape[2] == 20  # numbers take no room


def test_links_are_permanent_and_distinct():
    assert links_of(("total", "0.weight", "a b/c", "a b:c", "…")) == (
        "card-total", "card-0.weight", "card-a-b-c", "card-a-b-c-3", "card-group",
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_notebook_shows_a_mode(runs, kind):
    run = runs[kind]
    group = run.stored.seeds[0].words["kernel.groups"][-2 if kind == "image" else -1]
    card = run.card(1, group=group)
    (row,) = [r for r in read_table(run.stored.seeds[0], "modes").rows() if (r["group"], r["mode"]) == (group, 1)]
    assert (card.mode, card.group, card.value, card.residual) == (1, group, row["value"], row["residual"])
    assert [each.score for each in card.highest] == sorted(card.scores, reverse=True)[:10]
    assert [each.score for each in card.lowest] == sorted(card.scores)[:10]
    assert all(card.scores[each.number] == each.score for each in (*card.highest, *card.lowest))
    assert card.explanation[0]["fact"]
    assert isinstance(card.explanation[0]["score"], float)
    html = card._repr_html_()
    assert html.count("<svg") == (21 if kind == "series" else 1)
    assert html.count("<img") == (20 if kind == "image" else 0)
    assert "<script" not in html
    assert "onerror='" not in html
    assert re.search(rf"{re.escape(group)} · mode 1", html)
    assert len(repr(card)) < 1000


def test_the_card_holds_the_features_that_the_mode_was_chosen_for(runs):
    run = runs["image"]
    rows = [row for row in read_table(run.stored.seeds[0], "alignment").rows() if row["mode"] >= 0]
    card = run.card(int(rows[0]["mode"]), group=rows[0]["group"])
    assert rows[0]["feature"] in [each["feature"] for each in card.alignment]
    assert rows[0]["feature"] in card._repr_html_()


@pytest.mark.parametrize(("arguments", "where"), [
    ({"mode": 0, "group": "hed"}, "group"), ({"mode": 99}, "mode"), ({"mode": -1}, "mode"),
])  # fmt: skip
def test_a_card_that_is_not_there(runs, arguments, where):
    with pytest.raises(InvalidInputError) as caught:
        runs["image"].card(**arguments)
    assert caught.value.where == where
    assert caught.value.remedy


def test_other_runs_have_no_cards_of_modes(tmp_path):
    empty = open_run(store_run(tmp_path / "run", [Measurement(0, {}, {}, {}, ())]))
    with pytest.raises(InvalidInputError, match="describes no modes"):
        empty.card(0)
