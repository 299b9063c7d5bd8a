"""What `mesh` loads before it does anything: pipes of `mesh run` pay it once per stage."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "asyncio", "cffi", "concurrent.futures", "git", "hypothesis", "importlib.metadata", "lmdb",
    "logging", "meshcode.model", "meshcode.node", "meshcode.router", "meshcode.store",
    "meshcode.worker", "multiprocessing", "numpy", "psutil", "psycopg2", "rich", "sqlalchemy",
    "ssl", "unittest", "urllib.request", "yaml", "zeroconf",
}  # fmt: skip
NETWORK = {"msgpack", "zmq", "meshcode.client"}


def loaded_by(*arguments):
    """Run `mesh` with these arguments; the names of all modules that were loaded at its end."""
    code = (
        "import sys, json, io\n"
        "from meshcode.cli import main\n"
        "real, sys.stdout = sys.stdout, io.TextIOWrapper(io.BytesIO())\n"
        "status = main(sys.argv[1:])\n"
        "json.dump([status, sorted(sys.modules)], real)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True, capture_output=True, text=True, env={"MESH_HOME": "/nonexistent", "PATH": ""},
        stdin=subprocess.DEVNULL, cwd=__file__.rsplit("/tests/", 1)[0],
    )  # fmt: skip
    status, modules = json.loads(found.stdout)
    return status, set(modules)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("--help", 0),
        ("--color never --version", 0),
        ("ls", 2),
        ("ls --help", 0),
        ("add socket --help", 0),
        ("task run --help", 0),
        ("run --help", 0),
        ("completion bash", 0),
        ("run a.b 1 -k x=2", 7),
        ("task run -s a.b --data [1]", 7),
        ("ls calls", 7),
        ("add queue -n q", 7),
    ],
)
def test_nothing_heavy_is_loaded_before_the_network(line, status):
    found, modules = loaded_by(*line.split())

    assert found == status
    assert modules & HEAVY == set()
    assert modules & NETWORK == set()


def test_the_version_costs_no_click():
    status, modules = loaded_by("--version")

    assert status == 0
    assert modules & (HEAVY | NETWORK | {"click", "meshcode.errors"}) == set()


def test_help_loads_the_registry_and_no_command():
    _, modules = loaded_by("--help")

    ours = {m for m in modules if m.startswith("meshcode")}
    assert ours == {
        "meshcode", "meshcode.cli", "meshcode.cli.app", "meshcode.cli.lazy", "meshcode.cli.output",
        "meshcode.cli.plain", "meshcode.cli.registry", "meshcode.cli.standard",
        "meshcode.cli.table", "meshcode.errors",
    }  # fmt: skip


BARE = "import sys, json, io; json.dump([0, sorted(sys.modules)], sys.stdout)"
# What click needs.  A new entry here is a new millisecond for everyone: measure it first.
CLICK_NEEDS = {
    "_ast", "_bz2", "_collections", "_compression", "_datetime", "_locale", "_lzma", "_opcode",
    "_typing", "_uuid", "_weakrefset", "array", "ast", "bz2", "click", "collections", "datetime",
    "dis", "gc", "gettext", "inspect", "linecache", "locale", "lzma", "math", "meshcode", "opcode",
    "platform", "pwd", "shutil", "textwrap", "threading", "token", "tokenize", "typing", "uuid",
    "weakref", "zlib",
}  # fmt: skip
# To see whether a node listens.
SOCKET_NEEDS = {"_socket", "select", "selectors", "socket"}


# What those load is another thing in each Python.
AND_THEIRS = """
import sys
for name in sys.argv[1:]:
    try:
        __import__(name)
    except ImportError:
        pass
print(*sys.modules)
"""


def loads(code, *arguments):
    """What a program prints of the modules that it has loaded."""
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    )
    return run.stdout


def added_by(*arguments):
    """The top-level packages that `mesh` with these arguments loads beyond a bare Python."""
    _, modules = loaded_by(*arguments)
    return {m.partition(".")[0] for m in modules - set(json.loads(loads(BARE))[1])}


def all_of(names):
    """These packages, and what they load themselves in this Python."""
    theirs = loads(AND_THEIRS, *sorted(names)).split()
    return names | {name.partition(".")[0] for name in theirs}


def test_the_version_loads_next_to_nothing():
    least = {"_typing", "collections", "contextlib", "gc", "meshcode", "pwd", "typing"}
    assert added_by("--version") <= all_of(least)


@pytest.mark.parametrize("line", ["--help", "ls --help", "cheat", "man --help"])
def test_help_loads_what_click_needs_and_nothing_more(line):
    assert added_by(*line.split()) <= all_of(CLICK_NEEDS)


@pytest.mark.parametrize("line", ["ls queues", "ls calls", "run a.b 1", "ls network n"])
def test_a_command_before_the_network_loads_the_list(line):
    assert added_by(*line.split()) <= all_of(CLICK_NEEDS | SOCKET_NEEDS)


def test_a_listing_loads_these_modules_of_ours():
    _, modules = loaded_by("ls", "queues")

    assert {m.removeprefix("meshcode.") for m in modules if m.startswith("meshcode")} == {
        "meshcode", "cli", "cli.app", "cli.labels", "cli.lazy", "cli.node",
        "cli.objects",
        "cli.options", "cli.output", "cli.plain", "cli.queue", "cli.registry", "cli.session",
        "cli.standard", "cli.table", "cli.tree", "cli.trees", "cli.waiting", "cli.watch", "config",
        "errors", "nearest", "paths", "units",
    }  # fmt: skip


def test_no_file_of_settings_means_no_toml():
    _, modules = loaded_by("ls", "queues")

    assert "tomllib" not in modules
