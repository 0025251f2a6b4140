"""The config of the paper's third setting."""

import pytest
import tomli_w
from pydantic import ValidationError

from tangentlens.config import config_text, parse_config
from tangentlens.errors import InvalidInputError
from tangentlens.language.analysis import config as language
from tangentlens.paper.gemma.config import Config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"windows": {"count": 50}}, "multiple of the 8"),
        ({"text": {"source": "file"}}, "text.file goes with"),
        ({"kernel": {"geometries": ["raw", "raw"]}}, "names one twice"),
    ],
)
def test_configs_that_cannot_be_meant_are_refused(change, message):
    text = tomli_w.dumps({"setting": "gemma", **change})
    with pytest.raises(InvalidInputError, match=message):
        parse_config(text)


def test_the_config_survives_being_written():
    assert parse_config(config_text(Config())) == Config()


def test_the_model_and_the_parts_of_speech_of_a_general_run_are_the_users():
    with pytest.raises(ValidationError, match=r"model\n|windows\n"):
        language.Config()
    assert issubclass(Config, language.Config)
