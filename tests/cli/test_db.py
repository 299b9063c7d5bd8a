"""`mesh db` by the command, beside a real node that has the database open."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from meshcode.model.kinds import PLURALS
from meshcode.model.tables import SCHEMA_VERSION


def names(shell, plural="queues"):
    return [row["name"] for row in shell.json("ls", plural)]


def person(shell, *words, answers):
    """Run `mesh` at a terminal where somebody types; (exit status, what was said)."""
    mine, theirs = os.openpty()
    command = [sys.executable, "-m", "meshcode.cli", *words]
    try:
        os.write(mine, answers.encode())
        done = subprocess.run(
            command, stdin=theirs, capture_output=True, text=True, env=shell.environment, cwd="/",
            timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(mine)
        os.close(theirs)
    return done.returncode, done.stdout + done.stderr


def test_a_node_follows_what_is_dropped_and_restored_and_keeps_its_calls(fresh, tmp_path):
    fresh("db", "init")
    fresh("up")
    fresh("add", "processor", "-n", "p", "-g", "file:///nowhere", "-m", "m")
    fresh("add", "queue", "-n", "orders")
    fresh("add", "socket", "-n", "p.clean", "-q", "orders", "-pn", "p", "-t", "clean")
    id = fresh("run", "p.clean", "1", "--no-wait")[0].strip()
    said = fresh("db", "backup", str(tmp_path / "copy"))[0]
    document = fresh("db", "json")[0]

    dropped, _ = fresh("db", "drop", "-y")
    after_drop = [names(fresh, plural) for plural in ("queues", "processors", "sockets")]
    fresh("add", "queue", "-n", "other")
    refused = fresh("db", "restore", "-f", str(tmp_path / "copy"), status=6)[1]
    restored, _ = fresh("db", "restore", "-f", str(tmp_path / "copy"), "--replace")

    where = f"sqlite:///{fresh.home}/model/model.db"
    assert said.startswith(f"3 objects of {where} in {tmp_path / 'copy'}, ")
    assert '"name": "p.clean"' in document
    assert dropped == f"3 objects dropped from {where}; calls are as they were\n"
    assert after_drop == [[], [], []]
    assert "the model's database has 1 objects and the file has 3" in refused
    assert restored == (
        f"3 objects of {tmp_path / 'copy'} restored to {where}, in the place of 1\n"
    )
    assert [names(fresh, plural) for plural in ("queues", "sockets")] == [["orders"], ["p.clean"]]
    assert fresh.json("ls", "call", id)[0]["socket"] == "p.clean"


def test_what_was_dropped_beside_a_stopped_node_does_not_come_back_with_it(fresh):
    fresh("up")
    fresh("add", "queue", "-n", "orders")
    fresh("down")

    fresh("db", "rebuild", "-y")
    fresh("up")

    assert names(fresh) == []


def test_drop_asks_a_person_twice(fresh):
    """And without a person only -y drops."""
    fresh("db", "init")
    where = f"sqlite:///{fresh.home}/model/model.db"

    _, nobody = fresh("db", "drop", status=2)
    no, said = person(fresh, "db", "drop", answers="y\nn\n")
    number = fresh.json("db", "rebuild", "-y")[0]["number"]
    yes, _ = person(fresh, "db", "drop", answers="y\ny\n")

    assert "Nobody is here to ask; say -y to go ahead" in nobody
    assert no == 130
    assert f"drop {where} with 0 objects, here and on all nodes of this mesh? [y/N]" in said
    assert "No backup is made of it. Is that really wanted? [y/N]" in said
    assert number == 1
    assert yes == 0
    assert fresh.json("db", "rebuild", "-y")[0]["number"] == 3


def test_another_database_is_named_and_that_of_the_home_is_not_touched(fresh, tmp_path):
    other = tmp_path / "other.db"

    out, _ = fresh("db", "init", "-d", str(other))
    rows = fresh.json("db", "init", "--db", f"sqlite:///{other}")

    assert f"sqlite:///{other}" in out
    own = {"model_state", "model_journal", "alembic_version"}
    assert {row["name"] for row in rows} == {*own, *PLURALS.values()}
    assert fresh("db", "upgrade", "-d", str(other))[0] == (
        f"sqlite:///{other} is at version {SCHEMA_VERSION}, the newest\n"
    )
    assert not os.path.exists(fresh.home)


def test_json_goes_to_a_file_over_an_older_one_and_into_what_is_none(fresh, tmp_path):
    fresh("db", "init")
    text = fresh("db", "json")[0]
    folder = tmp_path / "copies"
    folder.mkdir()
    path, link, fifo = folder / "model.json", folder / "link", folder / "fifo"
    path.write_text("older")
    path.chmod(0o644)
    link.symlink_to("model.json")
    os.mkfifo(fifo)

    said = fresh("db", "json", "-o", str(link))[0]
    with subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE, text=True) as reader:
        fresh("db", "json", "-o", str(fifo))
        piped = reader.communicate()[0]
    refused = fresh("db", "json", "-o", str(folder), status=2)[1]

    assert said == f"0 objects in {link}, {len(text.encode()):,} bytes\n"
    assert path.read_text() == piped == text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert link.is_symlink() and stat.S_ISFIFO(fifo.lstat().st_mode)
    assert f"{folder} cannot be written: Is a directory; nothing was written" in refused
    assert sorted(os.listdir(folder)) == ["fifo", "link", "model.json"]


@pytest.mark.parametrize("verb", ["json", "drop -y"])
def test_a_database_that_is_not_there_is_not_made(fresh, verb):
    _, err = fresh("db", *verb.split(), status=3)

    assert "nothing was made; make one with `mesh db init`" in err
    assert not os.path.exists(fresh.home)
