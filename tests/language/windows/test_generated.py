import pytest
import torch

from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.generated import WritingRules, written_stories
from tests.support.language_cases import byte_level_tokenizer, tiny_llama

TOKENIZER = byte_level_tokenizer()
MODEL = tiny_llama(len(TOKENIZER))
RULES = WritingRules(count=40, tokens=12, openings=("Ada saw", "the red"))


def written(rules=RULES, model=MODEL, **options):
    return list(written_stories(model, TOKENIZER, rules, **options))


def test_the_seed_and_the_place_decide_a_story():
    stories = written()
    assert len(stories) == 40
    assert all(story.startswith("Ada saw") for story in stories[:32])
    assert all(story.startswith("the red") for story in stories[32:])
    assert len(set(stories)) > 35
    assert written() == stories
    assert written(WritingRules(count=3, tokens=12, openings=RULES.openings)) == stories[:3]
    assert written(WritingRules(count=3, tokens=12, openings=RULES.openings, seed=1)) != stories[:3]


def test_a_narrow_nucleus_is_greedy():
    (story,) = written(WritingRules(count=1, tokens=12, nucleus=1e-9, openings=("Ada saw",)))
    ids = TOKENIZER("Ada saw").input_ids
    while len(ids) < 12:
        ids.append(int(MODEL(torch.tensor([ids])).logits[0, -1].argmax()))
    assert story == TOKENIZER.decode(ids).strip(" \t\r\n")


def test_the_draw_follows_the_model_s_probabilities():
    """The first token after the opening, against softmax(logits / temperature), by a chi-square statistic."""
    rules = WritingRules(count=1600, tokens=len(TOKENIZER("Ada saw").input_ids) + 1, temperature=1.3, nucleus=1.0)
    rules = WritingRules(**{**vars(rules), "openings": ("Ada saw",)})
    ids = torch.tensor([TOKENIZER("Ada saw").input_ids])
    probabilities = (MODEL(ids).logits[0, -1] / 1.3).softmax(dim=0)
    texts = list(written_stories(MODEL, TOKENIZER, rules).read())
    expected = {TOKENIZER.decode([*ids[0].tolist(), token]): 0.0 for token in range(len(TOKENIZER))}
    for token, probability in enumerate(probabilities.tolist()):
        expected[TOKENIZER.decode([*ids[0].tolist(), token])] += probability * len(texts)
    common = {text: count for text, count in expected.items() if count >= 8}
    statistic = sum((texts.count(text) - count) ** 2 / count for text, count in common.items())
    assert len(common) > 5
    assert statistic < len(common) + 5 * (2 * len(common)) ** 0.5


def test_an_end_of_text_token_ends_the_story():
    greedy = WritingRules(count=1, tokens=12, nucleus=1e-9, openings=("Ada saw",))
    ids = TOKENIZER("Ada saw").input_ids
    end = int(MODEL(torch.tensor([ids])).logits[0, -1].argmax())
    tokenizer = byte_level_tokenizer()
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    assert list(written_stories(MODEL, tokenizer, greedy)) == ["Ada saw"]


def test_finished_stories_are_not_written_again(tmp_path):
    stories = written(work=tmp_path)
    assert written(model=tiny_llama(len(TOKENIZER), seed=9), work=tmp_path) == stories
    with pytest.raises(InvalidInputError, match="same settings"):
        written(WritingRules(count=40, tokens=13, openings=RULES.openings), work=tmp_path)


def test_the_record_and_the_progress_say_what_happens():
    seen = []
    stories = written_stories(MODEL, TOKENIZER, RULES, model_name="mine", progress=lambda *step: seen.append(step))
    assert stories.source["place"] == "mine"
    assert stories.source["seed"] == "0"
    before = torch.random.get_rng_state()
    list(stories)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert seen == [("writing stories", done, 40) for done in (0, 32, 40)]


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"tokens": 0}, {"temperature": 0.0}, {"nucleus": 1.5}, {"openings": ()}]
)
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InvalidInputError, match="cannot be drawn"):
        written_stories(MODEL, TOKENIZER, WritingRules(**{"count": 1, **wrong}))
