"""Size and shape of the code: lines, functions, files, arguments, branches, and how modules import each other.

    python benchmarks/code_size.py                    # this checkout
    python benchmarks/code_size.py --root OTHER       # another one, with src/tangentlens and tests in it
    python benchmarks/code_size.py --longest 15       # also the longest functions and files

A code line holds a token that is no comment and belongs to no docstring. The branches of a function are counted as
McCabe (1976) does: one, and one for each if, loop, except, case, conditional expression, comprehension's condition and
operand of and / or after the first. A late import is one of our own modules inside a function.
"""

import argparse
import ast
import io
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

PACKAGE = "tangentlens"
_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.match_case, ast.Assert)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Measured:
    """One function or file."""

    place: str
    lines: int
    arguments: int = 0
    branches: int = 0


@dataclass(frozen=True)
class Code:
    """A checkout's package.

    Attributes:
        files: every file.
        functions: every function, those inside others included.
        cycles: modules that import each other.
        late: module -> modules of the package that it imports inside a function.
    """

    files: list[Measured]
    functions: list[Measured]
    cycles: list[tuple[str, ...]]
    late: dict[str, set[str]]


def code_lines(text: str, tree: ast.AST) -> set[int]:
    """Numbers of the lines that hold code."""
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            found |= set(range(token.start[0], token.end[0] + 1))
    return found - {line for each in _docstrings(tree) for line in range(each.lineno, (each.end_lineno or 0) + 1)}


def _docstrings(tree: ast.AST) -> Iterator[ast.Expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield first


def functions(path: Path, tree: ast.AST, lines: set[int]) -> Iterator[Measured]:
    """Every function of a file, those inside others included."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            own = sum(line in lines for line in range(node.lineno, (node.end_lineno or 0) + 1))
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = len([each for each in given if each.arg not in ("self", "cls")])
            yield Measured(f"{path}:{node.lineno} {node.name}", own, count, branches(node))


def branches(function: Function) -> int:
    """Cyclomatic complexity, without that of functions inside."""
    total, waiting = 1, list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, Function):
            continue
        total += isinstance(node, _BRANCHES)
        total += len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0
        total += len(node.ifs) + 1 if isinstance(node, ast.comprehension) else 0
        waiting += ast.iter_child_nodes(node)
    return total


def imports(tree: ast.AST, known: set[str]) -> tuple[set[str], set[str]]:
    """Modules of the package that a file imports when it is loaded, and those that it imports late."""
    late = {id(inner) for node in ast.walk(tree) if isinstance(node, Function) for inner in ast.walk(node)}
    found: tuple[set[str], set[str]] = (set(), set())
    for node in ast.walk(tree):
        found[id(node) in late].update(_imported(node, known))
    return found


def _imported(node: ast.AST, known: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in known)
    if isinstance(node, ast.ImportFrom) and node.module in known:
        inside = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name if name in known else str(node.module) for name in inside)


def cycles(graph: Mapping[str, set[str]]) -> list[tuple[str, ...]]:
    """Groups of modules that reach each other."""
    reach = {name: _reachable(graph, name) for name in graph}
    groups = {tuple(sorted(other for other in reach[name] if name in reach[other])) for name in graph}
    return sorted(group for group in groups if group)


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def _module(path: Path, source: Path) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _spread(name: str, values: list[int]) -> str:
    return f"{name}: median {median(values):g}, p90 {quantiles(values, n=10)[-1]:g}, most {max(values)}"


def _counted(name: str, found: list[str]) -> str:
    return "; ".join([f"{name}: {len(found)}", *found])


def _read(folder: Path) -> dict[Path, tuple[ast.AST, set[int]]]:
    texts = {path: path.read_text("utf-8") for path in sorted(folder.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    return {path: (trees[path], code_lines(text, trees[path])) for path, text in texts.items()}


def measure(root: Path) -> Code:
    """Size and imports of the package of a checkout."""
    package, source = root / "src", _read(root / "src" / PACKAGE)
    known = {_module(path, package) for path in source}
    links = {_module(path, package): imports(tree, known) for path, (tree, _) in source.items()}
    return Code(
        [Measured(str(path.relative_to(root)), len(lines)) for path, (_, lines) in source.items()],
        [each for path, (tree, lines) in source.items() for each in functions(path.relative_to(root), tree, lines)],
        cycles({name: now - {name} for name, (now, _) in links.items()}),
        {name: late for name, (_, late) in links.items() if late},
    )


def report(root: Path, longest: int) -> Iterator[str]:
    """The lines to print."""
    code = measure(root)
    total, tested = (
        sum(each.lines for each in code.files),
        sum(len(lines) for _, lines in _read(root / "tests").values()),
    )
    yield f"src: {total} code lines in {len(code.files)} files; tests: {tested}, {tested / total:.2f} of src"
    yield _spread("code lines of a function", [each.lines for each in code.functions])
    yield _spread("code lines of a file", [each.lines for each in code.files])
    yield _spread("arguments", [each.arguments for each in code.functions])
    yield _spread("cyclomatic complexity", [each.branches for each in code.functions])
    yield _counted("import cycles", [" and ".join(group) for group in code.cycles])
    yield _counted("late imports", [f"{name} in {place}" for place, late in code.late.items() for name in sorted(late)])
    for each in sorted(code.files, key=lambda each: -each.lines)[:longest]:
        yield f"  {each.lines:4} lines  {each.place}"
    for key in ("lines", "arguments", "branches"):
        for each in sorted(code.functions, key=lambda each: -getattr(each, key))[:longest]:
            yield f"  {getattr(each, key):4} {key}  {each.place}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--longest", type=int, default=0)
    options = parser.parse_args()
    print(*report(options.root, options.longest), sep="\n")


if __name__ == "__main__":
    main()
