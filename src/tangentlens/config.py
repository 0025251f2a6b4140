"""TOML configs: read with errors that name the key, written so that the run can be replayed."""

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import tomli_w
from pydantic import BaseModel, ValidationError

from tangentlens.errors import InvalidInputError
from tangentlens.paper import SETTINGS, Setting
from tangentlens.store.aliases import current_config


def read_config(path: Path, settings: Mapping[str, Setting] = SETTINGS) -> BaseModel:
    """The validated config of a TOML file; its key `setting` says which setting it belongs to.

    What the file leaves out, whole sections or single keys of them, has the setting's default.

    Args:
        path: the file.
        settings: the settings that may be named.

    Raises:
        InvalidInputError: the file is missing or not TOML, names no known setting, or a key is unknown, missing, of
            the wrong type or out of bounds; the message gives the key's dotted path and the nearest valid key.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise InvalidInputError(
            f"the config cannot be read: {reason}", where=str(path), remedy="Give the path of a TOML file."
        ) from error
    return parse_config(text, where=str(path), settings=settings)


def parse_config(text: str, *, where: str = "config", settings: Mapping[str, Setting] = SETTINGS) -> BaseModel:
    """`read_config` for text that is already in memory; `where` is what messages call it."""
    try:
        tree = current_config(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(
            f"the config is not valid TOML: {error}", where=where, remedy="Mend the line named."
        ) from error
    kind = _config_class(tree, where, settings)
    try:
        # Through JSON, because strict validation then takes a TOML array for a tuple and still refuses "5" for 5.
        return kind.model_validate_json(json.dumps(_completed(tree, kind), default=str), strict=True)
    except ValidationError as error:
        raise _explain(error, kind, where) from error


def config_text(config: BaseModel) -> str:
    """The complete config as TOML, every default written out; reading it gives the same config back.

    Keys whose value is None are left out: TOML has no null.

    Raises:
        InvalidInputError: a value cannot be written as TOML without being lost.
    """
    text = tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
    again = type(config).model_validate_json(json.dumps(tomllib.loads(text)), strict=True)
    if again != config:
        raise InvalidInputError("the config does not survive being written as TOML", where=type(config).__qualname__)
    return text


def changed_config(
    config: BaseModel, changes: Mapping[str, Any], *, where: str = "changes", settings: Mapping[str, Setting] = SETTINGS
) -> BaseModel:
    """A config with other values under some dotted keys, checked as a whole again.

    Raises:
        InvalidInputError: the setting has no such key, or the value does not fit.
    """
    tree = config.model_dump(mode="json", exclude_none=True)
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = tree
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
    return parse_config(tomli_w.dumps(tree), where=where, settings=settings)


def dotted_keys(kind: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key that a config of this class may hold, nested ones as `section.key`."""
    for name, field in kind.model_fields.items():
        yield prefix + name
        for section in _sections(field.annotation):
            yield from dotted_keys(section, f"{prefix}{name}.")


def nearest_key(key: str, known: tuple[str, ...]) -> str | None:
    """The known dotted key whose last part is nearest to a wrong one's: in the same section, else in any other."""
    section, _, wrong = key.rpartition(".")
    siblings = tuple(name for name in known if name.rpartition(".")[0] == section)
    for candidates in (siblings, known):
        last = {name.rpartition(".")[2]: name for name in reversed(candidates)}
        near = difflib.get_close_matches(wrong, last, n=1)
        if near:
            return last[near[0]]
    return None


def _config_class(tree: Mapping[str, Any], where: str, settings: Mapping[str, Setting]) -> type[BaseModel]:
    name = tree.get("setting")
    if isinstance(name, str) and name in settings:
        return settings[name].config
    near = difflib.get_close_matches(str(name), settings, n=1)
    known = ", ".join(f'"{setting}"' for setting in settings)
    raise InvalidInputError(
        f"no setting is called {name!r}" if "setting" in tree else 'the key "setting" is missing',
        where=f"{where}: setting",
        remedy=f'Did you mean setting = "{near[0]}"?' if near else f"Give setting = one of {known}.",
    )


def _completed(tree: Mapping[str, Any], kind: type[BaseModel]) -> dict[str, Any]:
    """The tree with what a section leaves out filled in from that setting's own default of the section."""
    completed = dict(tree)
    for name, field in kind.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel) and isinstance(tree.get(name), dict):
            completed[name] = {**default.model_dump(mode="json", exclude_none=True), **tree[name]}
    return completed


def _explain(error: ValidationError, kind: type[BaseModel], where: str) -> InvalidInputError:
    """One error of ours for the first of pydantic's, which are counted."""
    problems = error.errors(include_url=False)
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"])
    more = f" ({len(problems) - 1} more after this one)" if len(problems) > 1 else ""
    what, remedy = _problem(first["type"], first["msg"], first.get("input"), key, kind)
    return InvalidInputError(what + more, where=f"{where}: {key}" if key else where, remedy=remedy)


def _problem(kind_of_error: str, message: str, given: object, key: str, kind: type[BaseModel]) -> tuple[str, str]:
    known = tuple(dotted_keys(kind))
    if kind_of_error == "extra_forbidden":
        near = nearest_key(key, known)
        section = key.rpartition(".")[0]
        siblings = ", ".join(k for k in known if k.rpartition(".")[0] == section)
        return f"unknown key {key}", f"Did you mean {near}?" if near else f"The keys here are: {siblings}."
    if any(k.startswith(f"{key}.") for k in known) and not isinstance(given, dict):
        return f"{key} is a section, not {json.dumps(given, default=str)[:80]}", f"Write it as a table: [{key}]."
    described = _description(key, kind)
    remedy = f"{key}: {described}" if described else "Correct the value."
    if kind_of_error == "missing":
        return f"the key {key} is missing", remedy
    if isinstance(given, dict):  # a rule over several keys names them itself
        return message.removeprefix("Value error, "), remedy
    return f"{message[:1].lower()}{message[1:]}, not {json.dumps(given, default=str)[:80]}", remedy


def _description(key: str, kind: type[BaseModel]) -> str:
    """What the config class says about a dotted key; empty where it is unknown."""
    head, _, rest = key.partition(".")
    field = kind.model_fields.get(head)
    if field is None:
        return ""
    inner = [text for section in _sections(field.annotation) if rest and (text := _description(rest, section))]
    return inner[0] if inner else field.description or ""


def _sections(annotation: Any) -> tuple[type[BaseModel], ...]:
    """The config classes inside an annotation: Model, Model | None, tuple[Model, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(section for part in get_args(annotation) for section in _sections(part))
