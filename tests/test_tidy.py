"""The numbers of the house style, checked.

Limits are ratchets: what is over today is listed with its size and may shrink; nothing grows past.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE_FOLDERS = ("meshcode", "tests", "bench", "docs")

COLUMNS_MAX = 100
FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 600

# path::function -> lines it had when it was let in.  Empty is the goal.
FUNCTIONS_OVER: dict[str, int] = {}
# path -> lines.
FILES_OVER: dict[str, int] = {}

# Where, what, and what to use instead.  A name that ends with a dot stands for all in that module.
BANNED = (
    ("meshcode/router/", "time.", "now_ms comes in with the step"),
    ("meshcode/router/", "datetime.", "now_ms comes in with the step"),
    ("meshcode/router/", "os.", "what the log holds comes in with the event"),
    ("meshcode/router/", "secrets.", "ids come in with the event, children use ids.child_id"),
    ("meshcode/router/", "uuid.", "ids come in with the event, children use ids.child_id"),
    ("meshcode/router/", "random.", "Router.rng, which the shell seeds"),
    ("meshcode/router/", "meshcode.ids.make_id", "ids come in with the event"),
    ("meshcode/router/", "meshcode.ids.make_ids", "ids come in with the event"),
    ("meshcode/router/", "print", "Effects.events"),
    ("meshcode/router/", "open", "Effects.records and Effects.fetches"),
    ("meshcode/router/", "logging.", "Effects.events"),
    ("meshcode/sim/", "time.time", "the world's own clock"),
    ("meshcode/sim/", "os.urandom", "the world's own random source"),
    ("", "pickle.", "meshcode.wire.codec: plain data only"),
    ("", "marshal.", "meshcode.wire.codec: plain data only"),
    ("", "shelve.", "meshcode.store"),
    ("", "eval", "ast.literal_eval or json.loads"),
    ("", "exec", "import the module by its name"),
    ("", "os.system", "subprocess.run with a list of words"),
    ("", "os.popen", "subprocess.run with a list of words"),
    ("", "subprocess.getoutput", "subprocess.run with a list of words"),
    ("", "tempfile.mktemp", "tempfile.mkdtemp or mkstemp: made with the name, not after it"),
    ("meshcode/", "time.sleep", "wait for the thing itself: poll a link, a process, an event"),
    ("tests/", "time.sleep", "wait for the thing itself, with tests.live.until"),
)

# path -> why it may call what is banned there.
MAY_CALL = {
    ("meshcode/worker/override.py", "exec"): "code of the model runs in the module it is for",
    ("meshcode/sim/__main__.py", "time.time"): "reports how long the seeds took",
    ("meshcode/sim/mesh/__main__.py", "time.time"): "reports how long the seeds took",
    ("tests/client/test_exceptions.py", "pickle.dumps"): "programs send our errors to their own",
    ("tests/client/test_exceptions.py", "pickle.loads"): "the bytes are of the line before",
}

PROJECT_MUST_NOT_NAME = ("/wo" + "rk/", "/opt/" + "wheels")
UNFINISHED = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error")


@cache
def python_files() -> tuple[Path, ...]:
    """Every Python file of the project, as git would list it, plus what is not yet added."""
    found: list[Path] = []
    for folder in CODE_FOLDERS:
        found += (ROOT / folder).rglob("*.py")
    kept = [p for p in found if "__pycache__" not in p.parts and p.name != "_staging.py"]
    return tuple(sorted(kept))


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(path.read_text(), str(path))


def relative(path: Path) -> str:
    """The path as people name it."""
    return path.relative_to(ROOT).as_posix()


def functions_of(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every function with its dotted name inside the file."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
            yield from functions_of(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.ClassDef):
            yield from functions_of(node, f"{prefix}{node.name}.")
        else:
            yield from functions_of(node, prefix)


def lines_of(node: ast.AST) -> int:
    """Lines from `def` to the last statement, docstring and all."""
    return node.end_lineno - node.lineno + 1  # type: ignore[attr-defined]


def test_no_line_is_longer_than_a_hundred_columns():
    long = [
        f"{relative(path)}:{number}: {len(line)} columns"
        for path in python_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > COLUMNS_MAX
    ]

    assert not long, f"over {COLUMNS_MAX} columns:\n" + "\n".join(long)


def test_a_function_fits_a_screen():
    over = []
    for path in python_files():
        for name, node in functions_of(tree_of(path)):
            where = f"{relative(path)}::{name}"
            if lines_of(node) > FUNCTIONS_OVER.get(where, FUNCTION_LINES_MAX):
                over.append(f"{where}: {lines_of(node)} lines")

    assert not over, f"over {FUNCTION_LINES_MAX} lines, split them:\n" + "\n".join(over)


def test_a_file_fits_a_head():
    over = []
    for path in python_files():
        count = len(path.read_text().splitlines())
        if count > FILES_OVER.get(relative(path), FILE_LINES_MAX):
            over.append(f"{relative(path)}: {count} lines")

    assert not over, f"over {FILE_LINES_MAX} lines, split them:\n" + "\n".join(over)


def test_what_is_over_a_limit_has_not_shrunk_below_it():
    """A ratchet that is no longer needed must go, or it hides the next growth."""
    sizes = {
        f"{relative(path)}::{name}": lines_of(node)
        for path in python_files()
        for name, node in functions_of(tree_of(path))
    }
    files = {relative(path): len(path.read_text().splitlines()) for path in python_files()}

    loose = [w for w, n in FUNCTIONS_OVER.items() if not FUNCTION_LINES_MAX < sizes.get(w, 0) == n]
    loose += [w for w, n in FILES_OVER.items() if not FILE_LINES_MAX < files.get(w, 0) == n]

    assert not loose, f"tighten these in this file: {loose}"


def is_public(name: str) -> bool:
    """Whether any user of the module may use it."""
    return not any(part.startswith("_") for part in name.split("."))


def undocumented(tree: ast.AST, prefix: str = "") -> Iterator[str]:
    """Public classes, functions and methods without a docstring."""
    for node in getattr(tree, "body", []):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        name = prefix + node.name
        decorators = {ast.unparse(d).split("(")[0].split(".")[-1] for d in node.decorator_list}
        if not is_public(node.name) or decorators & {"setter", "overload", "override"}:
            continue
        if ast.get_docstring(node) is None:
            yield name
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node, f"{name}.")


def test_public_names_have_docstrings():
    missing = []
    for path in python_files():
        if not relative(path).startswith("meshcode/"):
            continue
        if ast.get_docstring(tree_of(path)) is None and path.read_text().strip():
            missing.append(f"{relative(path)}: the module itself")
        missing += [f"{relative(path)}: {name}" for name in undocumented(tree_of(path))]

    assert not missing, "no docstring:\n" + "\n".join(missing)


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Local name -> what it stands for, from every import of the file."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.split(".")[0]
                names[local] = alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def dotted(node: ast.expr, names: dict[str, str]) -> str | None:
    """The full name of what is called, or None when it is not a plain dotted name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([names.get(node.id, node.id), *reversed(parts)])


def banned_calls(path: str, tree: ast.Module) -> Iterator[str]:
    """What `path` calls that it must not, with what to use instead."""
    names = imported_names(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func, names)
        if called is None:
            continue
        for scope, name, instead in BANNED:
            hit = called.startswith(name) if name.endswith(".") else called == name
            if hit and path.startswith(scope) and (path, called) not in MAY_CALL:
                if called == "random.Random" and node.args:  # With a seed it is not random.
                    continue
                yield f"{path}:{node.lineno}: {called}; use {instead}"
        if called.startswith(("subprocess.", "asyncio.")):
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg == "shell" and not (
                    isinstance(value, ast.Constant) and value.value is False
                ):
                    yield f"{path}:{node.lineno}: shell=; use a list of words"


def test_banned_calls_have_their_replacement():
    found = []
    for path in python_files():
        found += banned_calls(relative(path), tree_of(path))

    assert not found, "banned:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source", "named"),
    [
        ("meshcode/router/a.py", "import time\ntime.monotonic()", "time.monotonic"),
        ("meshcode/router/a.py", "from time import time as t\nt()", "time.time"),
        ("meshcode/router/a.py", "import os\nos.urandom(3)", "os.urandom"),
        ("meshcode/router/a.py", "import random\nrandom.random()", "random.random"),
        ("meshcode/node/a.py", "import time\ntime.sleep(1)", "time.sleep"),
        ("tests/a.py", "import time as t\nt.sleep(1)", "time.sleep"),
        ("bench/a.py", "import pickle\npickle.loads(b'')", "pickle.loads"),
        ("meshcode/cli/a.py", "eval('1')", "eval"),
        ("meshcode/cli/a.py", "import subprocess as s\ns.run('ls', shell=True)", "shell="),
    ],
)
def test_the_check_itself_sees_a_banned_call(path: str, source: str, named: str):
    assert named in "\n".join(banned_calls(path, ast.parse(source)))


def test_the_check_itself_lets_a_seeded_random_through():
    seeded = ast.parse("import random\nrandom.Random(3)")

    assert not list(banned_calls("meshcode/router/a.py", seeded))


def text_files() -> Iterator[Path]:
    """Everything that belongs to the project and is text."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:  # Not a checkout: a source archive has the code folders at least.
        yield from python_files()
        return
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix not in {".png", ".bin", ".whl"}:
            yield path


def test_nothing_is_left_unfinished_or_tied_to_one_machine():
    found = []
    for path in text_files():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            for word in (*PROJECT_MUST_NOT_NAME, *UNFINISHED):
                if word in line:
                    found.append(f"{relative(path)}:{number}: {word}")

    assert not found, "\n".join(found)


ASSERTING = ("assert", "check", "expect", "raises", "verify", "fail")


def asserts_something(node: ast.AST) -> bool:
    """Whether a test can fail for a reason of its own: an assert, pytest.raises or a checker."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assert):
            return True
        if isinstance(inner, ast.Call):
            name = ast.unparse(inner.func).split(".")[-1].lstrip("_")
            if name.startswith(ASSERTING):
                return True
    return False


def test_every_test_asserts_something():
    empty = []
    for path in python_files():
        if not path.name.startswith("test_"):
            continue
        for name, node in functions_of(tree_of(path)):
            if name.split(".")[-1].startswith("test_") and not asserts_something(node):
                arguments = [a.arg for a in node.args.args]  # type: ignore[attr-defined]
                if "benchmark" not in arguments:
                    empty.append(f"{relative(path)}::{name}")

    assert not empty, "no assertion:\n" + "\n".join(empty)


def test_every_limit_gives_its_reason():
    """limits.py is read by people who wonder whether a number may be changed."""
    silent = []
    for number, line in enumerate((ROOT / "meshcode/limits.py").read_text().splitlines(), 1):
        if line[:1].isupper() and " = " in line and "#" not in line:
            silent.append(f"meshcode/limits.py:{number}: {line.split(' = ')[0]}")

    assert not silent, "no reason given:\n" + "\n".join(silent)


def test_the_node_refuses_to_start_without_asserts():
    """A broken invariant must stop the node, so it does not run when asserts are off."""
    run = subprocess.run(
        [sys.executable, "-O", "-m", "meshcode.node", "--home", "/nonexistent"],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert run.returncode != 0
    assert "-O" in run.stderr, run.stderr
