"""Every option of the model is read by something that acts on it, or is for people to read.

A snapshot that writes down what is read of it is given to all that acts on a snapshot: the router,
the processors of a node, rights and logins.  What these did not read must be named here, with the
place that does, and is looked for there.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from meshcode.model.fields import check_new
from meshcode.model.kinds import FIELDS, MADE, PLURALS
from meshcode.model.rights import Rights
from meshcode.model.settingnames import values
from meshcode.router import events
from meshcode.router.core import Router
from tests.node import test_processors_mounting

ROOT = Path(__file__).parents[2]
processors = test_processors_mounting.processors  # The fixture.
GIVEN: dict[str, dict[str, Any]] = {
    "secret": {"source": "env:SHOP_TOKEN"},
    "queue": {"network": "the", "dead_letter": "other", "overflow": "dead-letter"},
    "processor": {"git": "/srv/shop", "module": "shop", "env": {"A": "secret:the"}},
    "socket": {"processor": "the", "task": "t", "queue": "the"},
    "override": {"processor": "the", "task": "t", "code": "def t(x): ...\n"},
    "deployment": {"processor": "the", "scheduler": "the"},
    "plug": {"source": "the", "target": "other", "queue": "the"},
    "repo": {"url": "/srv/shop", "credential": "secret:the"},
    "gate": {"plug": "the", "mode": "task", "socket": "other"},
    "schedule": {"socket": "the", "cron": "@daily"},
    "flow": {"document": {"call": "the"}},
    "node": {"network": "the", "scheduler": "the", "host": "here"},
    "scheduler": {"network": "the"},
    "user": {"roles": ["the"]},
    "privilege": {"right": "RUN_TASK", "user": "the", "on": "label:env=prod"},
}
MADE_HERE = {"of": "file:the"}
OTHERS = {
    "socket": {"other": {"queue": "topics", "topic": "a.*"}},
    "queue": {"topics": {"type": "topic", "dead_letter": None, "overflow": "reject"}},
    "processor": {"alone": {}},
    "deployment": {"here": {"scheduler": None, "host": "here"}},
}
NAMED = {"setting": "mounts_max", "override": "the.t"}
GIVEN["setting"] = {"value": 3}

# What is read elsewhere: at the start of a worker, of code, and by the keeper of versions.
ELSEWHERE = {
    "meshcode/node/wear.py": {"processor": "recycle_calls recycle_age_ms recycle_bytes"},
    "meshcode/node/processor.py": {
        "processor": "branch commit tag requirements module_path",
    },
    "meshcode/worker/policy.py": {"repo": "url access signers credential"},
    "meshcode/schedule/fields.py": {
        "schedule": "cron interval_ms at timezone jitter_ms catch_up start end requested_status",
    },
    "meshcode/router/ticking.py": {"schedule": "args kwargs"},
    "meshcode/model/versions.py": {
        "file": "content encoding", "flow": "document", "version": "number content encoding",
    },
    "meshcode/model/changes.py": {"processor": "password_hash"},
    "meshcode/node/who.py": {"user": "password_hash signed_out_ms ended"},
}  # fmt: skip
# What is there for people: the command that shows it.
SHOWN = {
    "meshcode/cli/topology.py": {"network": "description"},
    "meshcode/cli/kept.py": {
        "secret": "description", "file": "folder description", "flow": "description",
        "version": "by made_ms",
    },
    "meshcode/cli/user.py": {"role": "description", "user": "email"},
    "meshcode/cli/task.py": {"override": "by made_ms"},
}  # fmt: skip


class Noted(dict[str, Any]):
    """Options that write down which of them were looked at."""

    def __init__(self, kind: str, options: dict[str, Any], read: set[tuple[str, str]]) -> None:
        super().__init__(options)
        self._kind, self._read = kind, read

    def __getitem__(self, option: str) -> Any:
        self._read.add((self._kind, option))
        return super().__getitem__(option)

    def get(self, option: str, default: Any = None) -> Any:
        self._read.add((self._kind, option))
        return super().get(option, default)


def snapshot(read: set[tuple[str, str]]) -> dict[str, Any]:
    """One object of each kind, and another socket."""
    found: dict[str, Any] = {"number": 1}
    for kind in FIELDS:
        name = NAMED.get(kind, "the")
        made = MADE_HERE if kind in MADE else check_new(kind, name, GIVEN.get(kind, {}))
        rows = found[PLURALS[kind]] = {name: Noted(kind, made, read)}
        for other, options in OTHERS.get(kind, {}).items():
            rows[other] = Noted(kind, {**made, **options}, read)
    return found


def acted_on(node: Any) -> set[tuple[str, str]]:
    """Kind and option of all that is read when a node gets a snapshot."""
    read: set[tuple[str, str]] = set()
    found = snapshot(read)
    node.apply(found)
    node.name = "the"
    node.apply(found)
    values(found)
    Router(bytes(range(16)), 1, Random(1)).step(events.ModelChanged(found), 1_000)
    rights = Rights(found)
    for kind in FIELDS:
        rights.allowed("the", "RUN_TASK", rights.places(kind, NAMED.get(kind, "the")))
    return read


def listed(table: dict[str, dict[str, str]]) -> dict[tuple[str, str], str]:
    return {
        (kind, option): file
        for file, kinds in table.items()
        for kind, options in kinds.items()
        for option in options.split()
    }


@cache
def words_of(file: str) -> set[str]:
    """The texts and attributes in a module."""
    tree = ast.parse((ROOT / file).read_text())
    nodes = list(ast.walk(tree))
    texts = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return texts | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def test_no_option_is_there_that_nothing_reads(processors):
    read = acted_on(processors)
    elsewhere, shown = listed(ELSEWHERE), listed(SHOWN)

    every = {(kind, option) for kind in FIELDS for option in FIELDS[kind]}
    unread = every - read - elsewhere.keys() - shown.keys()
    assert not unread, f"nothing reads {sorted(unread)}: say who does, or take it away"
    assert not (elsewhere.keys() | shown.keys()) - every
    assert not read & shown.keys(), "more than shown"


@pytest.mark.parametrize(("key", "file"), [*listed(ELSEWHERE).items(), *listed(SHOWN).items()])
def test_who_is_said_to_read_it_has_its_name(key, file):
    assert key[1] in words_of(file)
