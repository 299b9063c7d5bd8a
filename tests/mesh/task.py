"""The code that the mesh runs in a campaign, as text for a git repository made on the spot.

Each execution appends a line to a file of its node outside the mesh, and returns a function of its
argument (`tests.campaign.checker.task` says the same a second time).  A worker finds the name of
its node in the address that it is given for making calls: the folder of that node's home.
"""

from __future__ import annotations

MODULE = "outside.effects"
SOCKET = f"{MODULE}.turn"
FOLD = f"{MODULE}.fold"
CHAIN = [f"{MODULE}.link{n}" for n in range(3)]  # A plug leads from each to the next.
PLUGS = ["chain0", "chain1"]
TASKS = ["turn", "fold", "link0", "link1", "link2"]
PROCESSOR = "effects"

TASK = '''
"""The campaign's task: its effect is a line in a file of its node, outside the mesh."""

import json
import os
import time

from meshcode.worker.context import current_call


class Effects:
    """The file, opened by the first call: an import knows of no node."""

    node = ""
    file = -1


def turn(value):
    """Append a line, then return a function of `value`; some calls take their time."""
    note(value)
    if value % 97 == 0:
        time.sleep(0.05)
    if value % 1999 == 0:
        time.sleep(1.5)
    return (value * 1103515245 + 12345) % 2147483648


link0 = link1 = link2 = turn


def fold(values, extra):
    """All numbers together, of lists in lists too."""
    note(extra)
    return (add(values) + extra) % 2147483648


def add(value):
    return sum(map(add, value)) if isinstance(value, list) else value


def note(value):
    """The line of an execution."""
    if not Effects.node:
        address = os.environ["MESH_NODE"]  # ipc://.../NAME/run/clients.ipc
        Effects.node = os.path.basename(os.path.dirname(os.path.dirname(address)))
        path = os.path.join(os.environ["EFFECTS"], Effects.node + ".jsonl")
        Effects.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    call = current_call()
    line = {
        "id": call.id_text, "attempt": call.attempt, "node": Effects.node, "value": value,
        "unix_ms": int(time.time() * 1000),
    }
    os.write(Effects.file, (json.dumps(line) + "\\n").encode())
'''

FILES = {"outside/__init__.py": "", "outside/effects.py": TASK}
