"""The public face is imported lazily, and is the same for a type checker as for an interpreter."""

import ast
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import tangentlens as tl

HEAVY = {"torch", "numpy", "scipy", "sklearn", "pandas", "pydantic", "plotly", "jinja2", "transformers", "spacy"}


def loaded_by(script: str) -> set[str]:
    """Modules that a fresh interpreter holds after a script."""
    ending = "import sys; print(*sorted(sys.modules), file=sys.stderr)"
    command = [sys.executable, "-c", f"import atexit; atexit.register(lambda: exec({ending!r}))\n{script}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(done.stderr.split())


def of_ours(loaded: set[str]) -> set[str]:
    return {name for name in loaded if name.startswith("tangentlens")}


def test_importing_the_package_imports_nothing_else():
    loaded = loaded_by("import tangentlens")
    assert not HEAVY & loaded
    assert of_ours(loaded) == {"tangentlens"}


@pytest.mark.parametrize("option", ["--help", "--version", "reproduce --help"])
def test_the_command_line_says_what_it_can_do_without_torch(option):
    script = f"import sys; sys.argv = 'tangentlens {option}'.split()\nfrom tangentlens.cli import main\nmain()"
    loaded = loaded_by(script)
    assert not (HEAVY - {"pydantic"}) & loaded  # typer asks pydantic about the types of a command's options
    light = ("tangentlens", "tangentlens.errors", "tangentlens.progress", "tangentlens.progress.listeners")
    assert {name for name in of_ours(loaded) if not name.startswith("tangentlens.cli")} <= set(light)


def test_a_kernel_and_its_eigenpairs_need_neither_language_models_nor_reports():
    loaded = loaded_by("import tangentlens as tl\ntl.entk, tl.top_eigenpairs, tl.outputs.trace")
    assert not loaded & {"transformers", "plotly", "sklearn", "pydantic"}
    assert not {name for name in of_ours(loaded) if name.split(".")[1:2] in (["language"], ["report"], ["paper"])}


def test_the_lazy_names_are_those_that_a_type_checker_sees():
    tree = ast.parse(Path(tl.__file__).read_text("utf-8"))
    (seen,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    imported = {
        alias.name: str(node.module) for node in seen.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert sorted(imported) == sorted(tl._MODULES) == tl.__all__
    assert imported == {name: f"tangentlens.{module}" for name, module in tl._MODULES.items()}


@pytest.mark.parametrize("name", tl.__all__)
def test_every_public_name_resolves_once(name):
    value = getattr(tl, name)
    assert value is getattr(tl, name)
    assert value is getattr(import_module(f"tangentlens.{tl._MODULES[name]}"), name)
    assert name in dir(tl)


def test_outputs_is_a_module_and_what_is_public_can_be_pickled():
    assert tl.outputs is import_module("tangentlens.kernels.outputs")
    for name in set(tl.__all__) - {"outputs"}:
        assert pickle.loads(pickle.dumps(getattr(tl, name))) is getattr(tl, name)


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(tl, "entks")
    with pytest.raises(ImportError, match="entks"):
        exec("from tangentlens import entks")
