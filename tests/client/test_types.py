"""What a type checker and a completion see of the package, in the program of a user."""

from __future__ import annotations

import os
import subprocess
import sys

import meshcode
import meshcode.client
import meshcode.node
from tests.live.harness import ROOT

PROGRAM = """
from typing import assert_type

from meshcode import Call, Node, Socket, connect, connect_async, current_call, pipeline
from meshcode.client import Client, Executor
from meshcode.client.aio import AsyncClient
from meshcode.client.flows import Flow
from meshcode.windows import by_count
from meshcode.worker.context import CallInfo

with connect() as client:
    assert_type(client, Client)
    assert_type(client.socket("x").submit(1), Call)
    assert_type(pipeline(client.socket("x").p(1))(), Flow)
    client.socket("x").submit(1).nonsense()  # line 15
    Socket("x").options(prority=9)  # line 16
for batch in by_count([1, 2], 2):
    assert_type(batch, list[int])


async def main() -> None:
    async with await connect_async() as found:
        assert_type(found, AsyncClient)


assert_type(current_call(), CallInfo)
Node("folder").nonsense()  # line 27
Executor().nonsense()  # line 28
from meshcode import Sokcet  # line 29
from meshcode.client import Sokcet as Other  # line 30
"""


def test_the_public_names_have_types(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)

    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context",
         "--no-color-output", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache"),
         "program.py"],
        cwd=tmp_path, env={**os.environ, "MYPYPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip

    errors = [line for line in run.stdout.splitlines() if ": error: " in line]
    found = [(line.split(":")[1], line.rpartition("[")[2].rstrip("]")) for line in errors]
    assert found == [
        ("15", "attr-defined"), ("16", "call-arg"), ("27", "attr-defined"), ("28", "attr-defined"),
        ("29", "attr-defined"), ("30", "attr-defined"),
    ], run.stdout + run.stderr  # fmt: skip


def test_names_that_are_loaded_later_are_listed():
    for module in (meshcode, meshcode.client, meshcode.node):
        assert set(module.__all__) <= set(dir(module))
