"""Style that a machine can hold: sizes, names, docstrings, mirrors."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(p for top in ("libs", "services") for p in (ROOT / top).rglob("*.py"))

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
ARGUMENTS_MAX = 5
POSITIONAL_MAX = 2
BANNED_NAMES = {"data", "info", "manager", "util", "utils", "helper", "helpers", "process"}
FRAMEWORK_FILES = {"cli.py"}
"""Typer commands take one argument per option, by position; nothing else may."""

CATCH_ALL = {("libs/common/service.py", "guarded")}
"""Functions that may catch everything: where a failing event is given up, by its id."""

INT_SUFFIXES = ("_ns", "_e6", "_e4", "_e2")


def functions(path: Path) -> list[ast.FunctionDef]:
    return [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)]


def without_catch_all(path: Path) -> ast.Module:
    """Parse a file and leave out the functions that are named in CATCH_ALL."""
    tree = ast.parse(path.read_text())
    name = str(path.relative_to(ROOT))
    tree.body = [n for n in tree.body if (name, getattr(n, "name", "")) not in CATCH_ALL]
    return tree


def code_lines(node: ast.FunctionDef) -> int:
    has_docstring = ast.get_docstring(node) is not None
    first = node.body[1] if has_docstring and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or 0) - first.lineno + 1


def public(node: ast.FunctionDef | ast.ClassDef) -> bool:
    return not node.name.startswith("_")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
class TestSource:
    def test_file_is_short_and_says_what_it_owns(self, path: Path) -> None:
        text = path.read_text()
        assert len(text.splitlines()) <= FILE_LINES_MAX
        assert ast.get_docstring(ast.parse(text)), "module docstring"

    def test_functions_are_short(self, path: Path) -> None:
        long = {f.name: code_lines(f) for f in functions(path)}
        assert not {name: n for name, n in long.items() if n > FUNCTION_LINES_MAX}

    def test_functions_take_few_arguments_most_of_them_by_name(self, path: Path) -> None:
        if path.name in FRAMEWORK_FILES:
            return
        for f in functions(path):
            positional = [a.arg for a in f.args.posonlyargs + f.args.args]
            own = [name for name in positional if name not in ("self", "cls")]
            assert len(own) + len(f.args.kwonlyargs) <= ARGUMENTS_MAX + POSITIONAL_MAX, f.name
            assert len(own) <= ARGUMENTS_MAX, f.name

    def test_public_names_have_docstrings(self, path: Path) -> None:
        tree = ast.parse(path.read_text())
        bare = [
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and public(node)
            and not ast.get_docstring(node)
        ]
        for owner in (n for n in tree.body if isinstance(n, ast.ClassDef) and public(n)):
            bare += [
                f"{owner.name}.{m.name}"
                for m in owner.body
                if isinstance(m, ast.FunctionDef) and public(m) and not ast.get_docstring(m)
            ]
        assert not bare

    def test_names_are_words_of_the_field(self, path: Path) -> None:
        named = {f.name for f in functions(path)} | {path.stem}
        assert not named & BANNED_NAMES

    def test_scaled_names_are_integers(self, path: Path) -> None:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                continue
            if node.target.id.endswith(INT_SUFFIXES):
                assert not re.search(r"\bfloat\b", ast.unparse(node.annotation)), node.target.id

    def test_only_named_places_catch_everything(self, path: Path) -> None:
        for node in ast.walk(without_catch_all(path)):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else ""
                assert caught not in ("", "Exception", "BaseException"), f"line {node.lineno}"

    def test_no_assert_and_no_open_todo(self, path: Path) -> None:
        text = path.read_text()
        assert not [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Assert)]
        assert not re.search(r"TODO(?!\(#\d+\))|FIXME|XXX", text)


def test_every_test_file_mirrors_a_source() -> None:
    for path in sorted((ROOT / "tests").glob("*/test_*.py")):
        folder, stem = path.parent.name, path.stem.removeprefix("test_")
        if folder in ("scenarios", "compose", "deploy"):
            continue
        home = ROOT / ("libs/common" if folder == "common" else f"services/{folder}")
        assert (home / f"{stem}.py").exists(), f"{path.name} mirrors nothing in {home.name}"


def test_repository_names_no_machine_path_and_no_package_host() -> None:
    files = [p for p in ROOT.rglob("*") if p.is_file() and is_ours(p)]
    for path in files:
        text = path.read_text(errors="ignore")
        assert not re.search(r"(^|[^\w.])/(work|root|home)/[A-Za-z.]", text), path
        if path.suffix in (".lock", ".toml") or path.name in ("Makefile", "run"):
            assert not re.search(r"https?://(?!github\.com|www\.apache\.org)", text), path


def is_ours(path: Path) -> bool:
    top = path.relative_to(ROOT).parts[0]
    ignored = {".git", ".venv", "data", "LICENSE"} | {".mypy_cache", ".ruff_cache", ".hypothesis"}
    parts = set(path.parts)
    return top not in ignored and not parts & {"__pycache__", ".pytest_cache", "hawk.egg-info"}
