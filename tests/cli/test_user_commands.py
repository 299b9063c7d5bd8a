"""Users on the command line: declared, logged in, denied with status 4, and written down."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from meshcode.cli.user import privilege_name
from meshcode.model.checks import check_name
from meshcode.model.rightnames import RIGHTS

SECRET = "correct horse battery"
LOCK = "a lock of its own"


@pytest.fixture
def people(fresh, tmp_path):
    """A node with joe, who is a developer, and a processor with a password."""
    for name, text in (("joe", SECRET), ("lock", LOCK), ("wrong", "wrong horse")):
        (tmp_path / name).write_text(text + "\n")
    fresh("up")
    fresh("add", "role", "-n", "developer")
    given = ("-e", "joe@example.org", "--roles", "developer")
    fresh("add", "user", "-n", "joe", *given, "--password-file", str(tmp_path / "joe"))
    fresh("add", "privilege", "-ro", "developer", "-n", "UPDATE_PROCESSOR")
    where = ("-g", "/nowhere", "-m", "a.b", "-rs", "stop")
    fresh("add", "processor", "-n", "p", *where, "--password-file", str(tmp_path / "lock"))
    fresh.files = tmp_path
    return fresh


def test_a_user_from_the_first_command_to_the_audit(people):
    files = people.files
    assert people.json("ls", "users")[0]["roles"] == ["developer"]
    assert people.json("ls", "user", "joe")[0]["privileges"] == [
        "UPDATE_PROCESSOR (role developer)"
    ]
    assert people.json("whoami")[0]["who"] == "owner"
    people("login", "-n", "joe", "--password-file", str(files / "wrong"), status=4)
    said, _ = people("login", "-n", "joe", "--for", "1h", "--password-file", str(files / "joe"))
    assert said.startswith("joe is logged in until ")
    login = Path(people.home) / "login"
    assert stat.S_IMODE(login.stat().st_mode) == 0o600
    assert people.json("whoami")[0]["user"] == "joe"

    _, err = people("add", "queue", "-n", "q", status=4)
    assert "user joe may not ADD_QUEUE on queue 'q': nobody gave it; nothing was done" in err
    assert "`mesh add privilege -u joe -n ADD_QUEUE --on queue:q`" in err
    _, err = people("update", "processor", "p", "-w", "2", status=4)
    assert "processor 'p' has a password and none was given" in err
    people("update", "processor", "p", "-w", "2", "--unlock-file", str(files / "wrong"), status=4)
    people("update", "processor", "p", "-w", "2", "--unlock-file", str(files / "lock"))
    assert "the node is up already" in people("up")[1]
    login.chmod(0o644)
    _, err = people("ls", "queues", status=4)
    assert "the login that was sent is none" in err
    login.chmod(0o600)
    people("logout")
    assert not login.exists()
    assert people.json("whoami")[0]["who"] == "owner"

    people("user", "add", "joe", "-p", "ADD_QUEUE")
    people("user", "remove", "joe", "-r", "developer")
    assert people.json("ls", "user", "joe")[0]["privileges"] == ["ADD_QUEUE"]
    people("user", "remove", "joe", "-p", "ADD_QUEUE")
    assert people.json("ls", "user", "joe")[0]["privileges"] == []
    assert_audit(people)
    people("down")
    held = b"".join(p.read_bytes() for p in Path(people.home).rglob("*") if p.is_file())
    assert [text for text in (SECRET, LOCK, "wrong horse") if text.encode() in held] == []


def assert_audit(people):
    """The lines of the story above, and a hand that is found."""
    rows = people.json("audit", "show", "-n", "100")
    found = [(row["who"], row["what"], row["object"], row["outcome"]) for row in rows]
    for wanted in (
        ("joe", "login", None, "denied"),
        ("joe", "login", None, "allowed"),
        ("joe", "model.add", "queue q", "denied"),
        ("joe", "model.update", "processor p", "denied"),
        ("joe", "model.update", "processor p", "changed"),
        ("owner", "model.delete", "privilege joe/ADD_QUEUE", "changed"),
    ):
        assert wanted in found
    assert "lines are whole" in people("audit", "verify")[0]
    path = Path(people.home) / "audit" / "audit.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"denied"', b'"changed"', 1))
    _, err = people("audit", "verify", status=1)
    number = next(at for at, row in enumerate(rows, 1) if row["outcome"] == "denied")
    assert f"audit.jsonl line {number}, number {number}, was changed" in err
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    _, err = people("audit", "verify", status=1)
    assert f"ends at number {len(rows) - 1}, the node wrote {len(rows)}" in err
    path.write_bytes(whole)


def test_a_password_is_never_an_argument(nowhere_shell):
    _, err = nowhere_shell("add", "user", "-n", "joe", "--password", SECRET, status=2)
    assert "Got unexpected extra argument" in err
    _, err = nowhere_shell("login", "-n", "joe", status=2)
    assert "nobody is here to type a password; give --password-file, or $MESH_PASSWORD" in err


@pytest.fixture
def nowhere_shell(fresh):
    """A shell without a node."""
    return fresh


def test_the_rights_are_listed_without_a_node(nowhere_shell):
    rows = nowhere_shell.json("ls", "rights")
    assert {row["name"]: row["allows"] for row in rows} == RIGHTS
    nowhere_shell("audit", "show")
    assert nowhere_shell("audit", "verify")[0] == "the audit log is empty\n"
    assert json.loads(nowhere_shell("audit", "show", "-o", "json")[0])["items"] == []
    assert "MESH_PASSWORD" not in os.environ


def test_privileges_that_differ_have_names_that_differ():
    names = [
        privilege_name(right, user, role, on)
        for right in ("RUN_TASK", "ALL")
        for user, role in (("a", None), (None, "a"), ("b", None))
        for on in (None, "processor:a", "processor:a*", "processor:a?", "socket:a")
    ]
    assert len(set(names)) == len(names)
    assert [check_name(name) for name in names] == names
