from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from tangentlens.config import changed_config, config_text, dotted_keys, nearest_key, parse_config, read_config
from tangentlens.errors import InvalidInputError
from tangentlens.paper import SETTINGS, Setting


class Training(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    epochs: int = Field(default=3, ge=1, description="passes over the data")
    learning_rate: float = Field(default=0.1, gt=0)
    schedule: tuple[float, ...] = (1.0, 0.5)


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    setting: Literal["tiny"] = "tiny"
    seeds: tuple[int, ...] = (0,)
    training: Training = Training()
    label: str | None = None


class Required(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    setting: Literal["strict"]
    p: int = Field(description="the modulus")


TINY = {"tiny": Setting(Config, lambda: None), "strict": Setting(Required, lambda: None)}


def parse(text: str) -> BaseModel:
    return parse_config(text, where="it.toml", settings=TINY)


def test_an_empty_config_has_the_defaults_and_survives_writing():
    config = parse('setting = "tiny"')
    assert config == Config()
    assert parse(config_text(config)) == config
    assert "learning_rate = 0.1" in config_text(config)


def test_single_keys_are_changed_and_the_whole_is_checked_again():
    config = parse('setting = "tiny"')
    changed = changed_config(config, {"training.learning_rate": 0.25}, settings=TINY)
    assert changed == parse('setting = "tiny"\n[training]\nlearning_rate = 0.25')
    with pytest.raises(InvalidInputError, match=r"unknown key training\.rate"):
        changed_config(config, {"training.rate": 1.0}, settings=TINY)
    with pytest.raises(InvalidInputError, match="training"):
        changed_config(config, {"training.learning_rate": "fast"}, settings=TINY)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_the_defaults_of_every_setting_can_be_written_and_read(name, tmp_path):
    config = SETTINGS[name].config.model_validate({"setting": name})
    (tmp_path / "config.toml").write_text(config_text(config))
    assert read_config(tmp_path / "config.toml") == config


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        (
            'setting = "tiny"\n[training]\nlearning_rte = 1.0',
            "training.learning_rte",
            "Did you mean training.learning_rate?",
        ),
        ('setting = "tiny"\nlearning_rate = 1.0', ": learning_rate", "Did you mean training.learning_rate?"),
        ('setting = "tiny"\n[training]\nzzz = 1', "training.zzz", "training.epochs, training.learning_rate"),
        ('setting = "tiny"\n[training]\nepochs = "5"', "training.epochs", "passes over the data"),
        ('setting = "tiny"\n[training]\nepochs = 5.0', "training.epochs", "integer"),
        ('setting = "tiny"\n[training]\nepochs = true', "training.epochs", "integer"),
        ('setting = "tiny"\n[training]\nepochs = 0', "training.epochs", "greater than or equal to 1"),
        ('setting = "tiny"\n[training]\nepochs = 2020-01-01', "training.epochs", "integer"),
        ('setting = "tiny"\ntraining = 1', ": training", "[training]"),
        ('setting = "tiny"\nseeds = [0, "1"]', "seeds.1", "integer"),
        ('setting = "tinny"', "setting", 'Did you mean setting = "tiny"?'),
        ("setting = 3", "setting", '"tiny", "strict"'),
        ("seeds = [0]", "setting", "is missing"),
        ('setting = "strict"', ": p", "the modulus"),
        ("setting = ", "it.toml", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_key_and_a_remedy(text, where, says):
    with pytest.raises(InvalidInputError) as caught:
        parse(text)
    assert where in caught.value.where
    assert says in str(caught.value)
    assert "it.toml" in caught.value.where


def test_a_rule_over_several_keys_does_not_read_out_the_config():
    with pytest.raises(InvalidInputError) as caught:
        parse_config('setting = "gemma"\n[windows]\ncount = 100', where="it.toml")
    assert caught.value.what == "windows.count must be a multiple of the 8 parts of speech"


def test_further_errors_are_counted():
    with pytest.raises(InvalidInputError, match="1 more after this one"):
        parse('setting = "tiny"\na = 1\nb = 2')


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "absent.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"absent\.toml"):
        read_config(path, TINY)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_config(tmp_path, TINY)


def test_a_value_that_toml_would_lose_is_refused():
    class Lossy(BaseModel):
        setting: str = "lossy"
        value: int | None = 3

    with pytest.raises(InvalidInputError, match="survive"):
        config_text(Lossy(value=None))


def test_keys_are_dotted_and_the_nearest_is_found_by_its_last_part():
    keys = tuple(dotted_keys(Config))
    assert keys[2:5] == ("training", "training.epochs", "training.learning_rate")
    assert nearest_key("trainin.epochs", keys) == "training.epochs"
    assert nearest_key("optimiser.epoch", keys) == "training.epochs"
    assert nearest_key("qqqqqq", keys) is None


@pytest.mark.parametrize("name", list(SETTINGS))
def test_a_section_may_leave_out_what_the_setting_has_a_default_for(name):
    defaults = parse_config(f'setting = "{name}"')
    sections = {key: value for key, value in defaults.model_dump(mode="json").items() if isinstance(value, dict)}
    assert sections
    for section, held in sections.items():
        assert parse_config(f'setting = "{name}"\n[{section}]\n') == defaults
        key = next((key for key, value in held.items() if type(value) is int), None)
        if key is not None and section in ("training", "scoring"):
            short = parse_config(f'setting = "{name}"\n[{section}]\n{key} = {2 * held[key]}\n').model_dump(mode="json")
            assert short[section] == {**held, key: 2 * held[key]}
