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
        "meshcode.cli.plain", "meshcode.cli.registry", "meshcode.cli.table", "meshcode.errors",
    }  # fmt: skip
