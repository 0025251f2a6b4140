"""Optional packages: imported where they are used, by the name of the extra that installs them."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from tangentlens.errors import MissingExtraError


def installed(*modules: str) -> bool:
    """Whether all these modules could be imported."""
    return all(find_spec(module.partition(".")[0]) is not None for module in modules)


def optional_module(module: str, extra: str) -> ModuleType:
    """The module, imported.

    Args:
        module: its dotted name.
        extra: the extra of tangentlens that installs it.

    Raises:
        MissingExtraError: it is not installed; names the extra.
    """
    if not installed(module):
        raise MissingExtraError(
            f"the package {module.partition('.')[0]} is not installed",
            remedy=f"Install the extra: pip install 'tangentlens[{extra}]'.",
        )
    return import_module(module)
