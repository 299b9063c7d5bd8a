"""Users on the command line: declared, logged in, denied with status 4, and written down."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from meshcode.cli.user import add_user, privilege_name
from meshcode.model.checks import check_name
from meshcode.model.passwords import LENGTH_MAX, LENGTH_MIN
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
    row = node_check(people)
    assert "it is up and tells nothing" in row["detail"]
    assert "the login that was sent is none, so LS_WORKERS is not allowed" in row["detail"]
    assert row["fix"].endswith("or forget the login with `mesh logout`")
    login.chmod(0o600)
    row = node_check(people)
    assert "user joe may not LS_WORKERS: nobody gave it" in row["detail"]
    assert "mesh add privilege -u joe -n LS_WORKERS" in row["fix"]
    assert "may not LS_PROCESSORS" in people("ls", "processors", status=4)[1]
    people("logout")
    people("add", "privilege", "-u", "joe", "-n", "LS_PROCESSORS")
    people("login", "-n", "joe", "--password-file", str(files / "joe"))
    (processor,) = people.json("ls", "processors")  # What runs needs LS_WORKERS.
    assert processor["name"] == "p" and not {"ready", "wanted"} & processor.keys()
    people("logout")
    people("user", "remove", "joe", "-p", "LS_PROCESSORS")
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


def node_check(people):
    """What the doctor says of the node."""
    found = json.loads(people.run(["doctor", "-o", "json"])[1])
    return next(row for row in found["items"] if row["name"] == "node")


def test_a_login_is_kept_in_a_file_of_the_working_folder(people, monkeypatch):
    monkeypatch.chdir(people.files)
    people.environment["MESH_LOGIN_FILE"] = "mine"
    people("login", "-n", "joe", "--password-file", str(people.files / "joe"))

    assert stat.S_IMODE((people.files / "mine").stat().st_mode) == 0o600
    assert people.json("whoami")[0]["user"] == "joe"


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


def whole(shell):
    """What the audit log has of the model as a whole and of the end of the node."""
    rows = shell.json("audit", "show", "-n", "100")
    return [
        (row["who"].split()[0], row["what"], row["outcome"]) for row in rows
        if row["what"] in ("model.drop", "model.restore", "model.json", "node.down")
    ]  # fmt: skip


def test_a_user_drops_no_model_and_stops_no_node_without_the_rights(people):
    """The commands need no node for it, and ask it all the same."""
    files = people.files
    copy, other = str(files / "copy"), str(files / "other")
    people("db", "backup", copy)
    people("login", "-n", "joe", "--password-file", str(files / "joe"))

    for words, right in (
        (("down",), "ADMIN_NODE"), (("down", "--now"), "ADMIN_NODE"),
        (("agent", "kill"), "ADMIN_NODE"), (("db", "drop", "-y"), "ALL"),
        (("db", "drop", "-y", "-d", other), "ALL"), (("db", "rebuild", "-y"), "ALL"),
        (("db", "restore", copy, "--replace"), "ALL"), (("db", "backup", other), "ALL"),
        (("db", "json"), "READ"), (("db", "init"), "ADMIN_NODE"),
        (("db", "migrate"), "ADMIN_NODE"), (("audit", "show"), "READ_AUDIT"),
        (("invite",), "ADMIN_NODE"), (("node", "admit"), "ADMIN_NODE"),
        (("node", "rotate-key"), "ADMIN_NODE"), (("init",), "ADMIN_NODE"),
        (("salvage",), "ADMIN_NODE"),
    ):  # fmt: skip
        _, err = people(*words, status=4)
        assert f"user joe may not {right}: nobody gave it; nothing was done" in err
    people("logout")

    assert people.json("ls", "processors")[0]["name"] == "p"
    assert ("joe", "model.drop", "denied") in whole(people)
    assert ("joe", "node.down", "denied") in whole(people)
    people("user", "add", "joe", "-p", "READ")
    people("add", "privilege", "-u", "joe", "-n", "READ_QUEUE", "--revoke", "--on", "queue:bank")
    people("login", "-n", "joe", "--password-file", str(files / "joe"))
    _, err = people("db", "json", status=4)
    assert "may not READ_QUEUE on everything, which this needs: it is revoked on queue:bank" in err
    people("logout")
    people("delete", "privilege", "joe/READ_QUEUE@queue:bank/not", "-y")
    people("login", "-n", "joe", "--password-file", str(files / "joe"))
    assert '"name": "joe"' in people("db", "json")[0]
    people.run(["logout"])
    people("user", "add", "joe", "-p", "ALL")
    people("login", "-n", "joe", "--password-file", str(files / "joe"))
    said, err = people("db", "drop", "-y")
    assert "dropped from" in said
    assert err == ""  # He is nobody now, and that is no problem of the database.
    people("logout")


def test_what_is_done_to_the_whole_model_is_in_the_audit_log_with_and_without_a_node(people):
    copy = str(people.files / "copy")
    people("db", "backup", copy)
    people("db", "drop", "-y")
    people("db", "restore", copy)
    people("down")
    people("db", "drop", "-y")
    people("db", "restore", copy)

    done = [("owner", "model.drop", "allowed"), ("owner", "model.restore", "allowed")]
    assert whole(people) == [*done, ("owner", "node.down", "allowed"), *done]
    people("up")
    people("login", "-n", "joe", "--password-file", str(people.files / "joe"))
    assert "lines are whole" in people("audit", "verify")[0]
    people("logout")
    people("down")
    Path(people.home, "login").touch(0o600)
    Path(people.home, "login").write_text("kept of another day\n")
    for words in (("db", "drop", "-y"), ("init",), ("salvage",)):
        _, err = people(*words, status=4)
        kept = f"a login is kept in {people.home}/login, and no node of {people.home} answers"
        assert kept in err
    assert not Path(people.home, "mesh").exists()
    assert len(whole_file(people)) == 6


def whole_file(shell):
    """The same, of the file: there is a login that nobody can look at."""
    lines = (Path(shell.home) / "audit" / "audit.jsonl").read_text().splitlines()
    found = [json.loads(line)["what"] for line in lines]
    return [what for what in found if what in ("model.drop", "model.restore", "node.down")]


def test_a_password_is_never_an_argument(nowhere_shell):
    _, err = nowhere_shell("add", "user", "-n", "joe", "--password", SECRET, status=2)
    assert "a password is never an argument" in err and SECRET not in err
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


def test_the_help_and_the_docs_say_how_long_a_password_is():
    length = f"{LENGTH_MIN} to {LENGTH_MAX} characters"
    page = Path(__file__).resolve().parents[2] / "docs" / "security.md"

    assert length in (add_user.help or "")
    assert f"**Passwords** have {length}" in page.read_text()


@pytest.mark.parametrize(
    ("line", "refused", "answers"),
    [
        ("add queue", "name one queue, as NAME or with -n NAME", [(b"Name: ", b"orders")]),
        ("login", "name one user, as NAME or with -n NAME",
         [(b"Name: ", b"joe"), (b"Password: ", SECRET.encode())]),
    ],
)  # fmt: skip
def test_a_name_that_is_not_given_is_asked_for_at_a_terminal_only(tmp_path, line, refused, answers):
    child, terminal = pty.fork()
    if child == 0:
        os.environ["MESH_HOME"] = str(tmp_path)
        os.execv(sys.executable, [sys.executable, "-m", "meshcode.cli", *line.split()])
    said = b""
    for question, answer in answers:
        while question not in said:
            said += os.read(terminal, 4096)
        os.write(terminal, answer + b"\n")
    with contextlib.suppress(OSError):  # So a terminal of Linux tells that its program has ended.
        while part := os.read(terminal, 4096):
            said += part
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert (status, b"no node answers" in said) == (7, True), said
    run = subprocess.run(
        [sys.executable, "-m", "meshcode.cli", *line.split()], stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr.splitlines()[0]) == (2, f"mesh: {refused}")
