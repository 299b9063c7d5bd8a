"""What commands say, and do, where a person mistyped or could not know better; on a real node."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket

import pytest

from meshcode import paths
from meshcode.cli import names, output
from meshcode.cli.call import _SPARE as call_spare
from meshcode.cli.call import COLUMNS, MESH_COLUMNS
from meshcode.client import connect
from meshcode.client.api import Deployment

NO_TEXT = "sh\udcffop"  # What the shell gives as `$'sh\xffop'`.


@pytest.mark.parametrize(
    "line",
    [
        ("run", NO_TEXT),
        ("add", "privilege", "-n", "RUN_TASK", "-u", "joe", "--on", NO_TEXT),
        ("add", "queue", "-n", NO_TEXT),
        ("ls", "calls", "--socket", NO_TEXT),
        ("proc", "start", NO_TEXT),
    ],
    ids=" ".join,
)
def test_a_name_that_is_no_unicode_is_a_fault_of_the_command_line(shell, line):
    _, err = shell(*line, status=2)

    assert "is text that is not Unicode" in err
    assert len(err.splitlines()) == 1


def test_a_home_that_is_no_unicode_has_names_to_complete_too():
    assert names.file_of(f"ipc:///{NO_TEXT}") != names.file_of("ipc:///shop")


@pytest.fixture
def idle(shell, repository):
    """Adds a processor without workers; it is removed afterwards."""

    def add(*more):
        words = ("-g", repository.as_uri(), "-m", "shop.tasks", "-rs", "stop", *more)
        shell("add", "processor", "-n", "idle", *words)

    yield add
    shell("proc", "remove", "idle", "-y")


def test_workers_of_a_new_processor_are_the_cpus_of_its_deployment(shell, idle):
    """Five were asked for, and the deployment had one, which is what counts."""
    idle("-h", "elsewhere", "-w", "5")
    assert shell.json("get", "deployment", "idle")[0]["cpus"] == 5

    shell("update", "processor", "idle", "-w", "3")

    assert shell.json("get", "deployment", "idle")[0]["cpus"] == 3
    assert shell.json("get", "processor", "idle")[0]["workers"] == 3


def test_cpus_that_are_given_are_those_of_the_deployment(shell, idle):
    idle("-h", "elsewhere", "-w", "5", "-cs", "2")

    assert shell.json("get", "deployment", "idle")[0]["cpus"] == 2


def test_a_change_of_the_environment_is_all_of_it_and_says_what_it_took_away(shell, idle):
    idle("--env", "A=1", "--env", "B=2", "--env", "C=2")

    _, err = shell("update", "processor", "idle", "--env", "C=3")
    assert err == "mesh: A, B are not in the environment any more; --env gives all of it\n"
    assert shell.json("get", "processor", "idle")[0]["env"] == {"C": "3"}
    _, err = shell("update", "processor", "idle", "--env", "C=4")
    assert err == ""

    shell("update", "processor", "idle", "--env", "none")
    assert shell.json("get", "processor", "idle")[0]["env"] == {}
    told = " ".join(shell("update", "processor", "--help")[0].split())
    assert "Environment variable of its workers; all it is to have, or `none`." in told


@pytest.fixture
def even(shell):
    """A scheduler; what tests declare of nodes is removed with it."""
    shell("add", "scheduler", "-n", "even")
    yield
    for node in shell.json("ls", "nodes", "--declared"):
        shell("delete", "node", node["name"], "-y")
    shell("delete", "scheduler", "even", "-y")


def test_a_node_that_is_not_in_the_mesh_is_marked_when_a_scheduler_gets_it(shell, even):
    """A name mistyped swallowed all CPUs, and nothing was said."""
    out, err = shell("scheduler", "add", "-n", "even", "-nd", "tpyo")
    assert out == "node tpyo belongs to scheduler even\n"
    assert "no node of the name 'tpyo' is in the mesh" in err
    assert "`mesh delete node tpyo`" in err

    _, err = shell("scheduler", "add", "-n", "even", "-nd", socket.gethostname())
    assert err == ""

    notes = {row["name"]: row["note"] for row in shell.json("scheduler", "start", "-n", "even")}
    assert notes == {"tpyo": "no such node in the mesh", socket.gethostname(): ""}
    assert "no such node in the mesh" in shell("scheduler", "start")[0]


def test_a_declared_node_is_in_the_mesh_when_a_node_is_on_its_host(shell, even):
    """CPUs that a scheduler gave to a host without a node ran nowhere, and nothing was said."""
    shell("add", "node", "-n", "later", "-h", "host-x")
    shell("add", "node", "-n", "mine", "-h", socket.gethostname())

    err = shell("scheduler", "add", "-n", "even", "-nd", "later")[1]
    assert "no node of the name 'later', or on host 'host-x', is in the mesh" in err
    assert shell("scheduler", "add", "-n", "even", "-nd", "mine")[1] == ""
    notes = {row["name"]: row["note"] for row in shell.json("scheduler", "start", "-n", "even")}
    assert notes == {"later": "no such node in the mesh", "mine": ""}


def test_cpus_for_which_a_scheduler_has_no_room_are_in_the_doctor(shell, idle, even):
    """Only `mesh scheduler start` told it, until a call waited."""
    shell("add", "node", "-n", "small", "-c", "1")
    shell("scheduler", "add", "-n", "even", "-nd", "small")
    idle()
    shell("add", "deployment", "-n", "idle", "-d", "wide", "-sc", "even", "-c", "3")
    try:
        found = json.loads(shell.run(["doctor", "-o", "json"])[1])["items"]
        (row,) = [row for row in found if "deployment wide" in row["detail"]]
        assert "has 1 of 3 CPUs: the nodes of scheduler even have no more" in row["detail"]
        assert "`mesh scheduler add -n even -nd NODE`" in row["fix"]
        assert row["detail"] in shell("scheduler", "start", "-n", "even")[1]
    finally:
        shell("delete", "deployment", "wide", "-y")


def test_a_worker_is_named_as_its_call_names_it(shell):
    id = shell("run", "shop.add", "1", "2", "--no-wait")[0].strip()
    shell("call", "get", id)
    named = shell.json("ls", "call", id)[0]["worker"]
    processor, _, number = named.partition("/")
    assert processor == "proc1"

    assert [row["id"] for row in shell.json("ls", "worker", named)] == [int(number)]
    assert [row["id"] for row in shell.json("ls", "worker", number)] == [int(number)]
    assert f"this node has no worker other/{number}; it has: proc1/" in (
        shell("worker", "kill", "-n", f"other/{number}", status=3)[1]
    )
    assert "write its number, or PROCESSOR/N" in shell("ls", "worker", "proc1/x", status=2)[1]
    out, _ = shell("worker", "kill", "-n", named)
    assert out == f"worker {number} of proc1 leaves\n"
    shell("worker", "start", "-n", "proc1", "--wait")


def test_a_task_that_the_code_has_not_is_said_when_a_socket_gets_it(shell):
    shell("run", "shop.add", "1", "2")  # The code is mounted.
    try:
        _, err = shell("update", "socket", "shop.add", "-t", "nope")
        assert "the module shop.tasks defines no function 'nope' as its code is now" in err
    finally:
        _, err = shell("update", "socket", "shop.add", "-t", "add")
    assert err == ""


def test_calls_of_a_socket_that_is_not_there_say_which_was_meant(shell):
    _, err = shell("ls", "calls", "--socket", "shop.ad")
    assert err == "mesh: no socket is named 'shop.ad'; did you mean 'shop.add'?\n"
    assert shell("ls", "calls", "--socket", "shop.rest")[1] == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "proc start prok1",
            "no processor is named 'prok1'; did you mean 'proc1'?; `mesh ls processors` shows all",
        ),
        ("ls workers -n prok1", "no processor is named 'prok1'; did you mean 'proc1'?"),
        (
            "queue purge shop.queue -y",
            "no queue is named 'shop.queue'; did you mean 'shop.queue1'?; `mesh ls queues` shows",
        ),
        (f"add user -n {'x' * 300}", "the name of a user is 'xxx"),
    ],
)
def test_a_mistyped_name_says_which_was_meant(shell, line, said):
    words = line.split()
    status = 2 if words[0] == "add" else 3
    shell.environment["MESH_PASSWORD"] = "correct horse battery"
    try:
        assert said in shell(*words, status=status)[1]
    finally:
        del shell.environment["MESH_PASSWORD"]


def test_a_privilege_on_a_kind_alone_is_not_answered_with_that_kind(shell):
    words = ("add", "privilege", "-n", "RUN_TASK", "-u", "joe", "--on")
    said = shell(*words, "processor", status=2)[1]
    assert "it must be KIND:PATTERN" in said and "did you mean" not in said
    assert "did you mean 'processor'" in shell(*words, "procesor:x", status=2)[1]


def test_a_login_that_holds_no_more_is_not_a_user_called_nobody(shell):
    shell.environment["MESH_LOGIN_FILE"] = os.path.join(shell.home, "old-login")
    with open(shell.environment["MESH_LOGIN_FILE"], "w", encoding="utf-8") as file:
        file.write("no.login\n")
    os.chmod(shell.environment["MESH_LOGIN_FILE"], 0o600)
    try:
        assert shell("logout")[0] == "a login that held no more is removed\n"
        assert shell("logout")[0] == "nobody was logged in\n"
    finally:
        del shell.environment["MESH_LOGIN_FILE"]


def test_manual_pages_want_a_folder(shell):
    assert "--into is empty; name a folder" in shell("man", "--into", "", status=2)[1]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        (("add", "queue", "-t", "t"), "topic"),
        (("update", "queue", "q", "-t", "fan"), "fanout"),
        (("add", "privilege", "-n", "RUN_T"), "RUN_TASK"),
        (("user", "add", "joe", "-p", "RUN_T"), "RUN_TASK"),
    ],
)
def test_words_there_are_can_be_completed(shell, line, offered):
    words = " ".join(("mesh", *line))
    tab = f"_MESH_COMPLETE=bash_complete COMP_WORDS='{words}' COMP_CWORD={len(line)}"
    out = shell.bash(f"{tab} mesh")
    assert f"plain,{offered}" in out.splitlines()


def test_the_listing_of_calls_fits_a_narrow_terminal():
    """It was 94 columns wide at least, and broke each line of a terminal of 80."""
    call = {
        "page": 1, "row": 10, "socket": "shop.tasks.charge", "id": "0192f3c1" * 4, "name": "x",
        "updated_ms": 1_764_000_000_000, "started_ms": 1_764_000_000_000,
        "finished_ms": 1_764_000_000_000, "state": "CANCELLED", "node": "node-1", "kept": "3/3",
    }  # fmt: skip
    for columns in (COLUMNS, [*COLUMNS, *MESH_COLUMNS]):
        for room in (80, 90, 100, 200):
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                output._show_table([call], columns, room, call_spare)
            assert max(map(len, out.getvalue().splitlines())) <= room
            assert "State" in out.getvalue() and "Name" in out.getvalue()
        assert out.getvalue().count("shop.tasks.charge") == 2  # With room for all, all are there.


def test_a_deployment_on_a_host_that_no_node_has_is_told_of(shell, idle):
    """A name mistyped took the workers away from all nodes, and nothing was said."""
    idle()
    where = ("-g", "/nowhere", "-m", "m", "-rs", "stop", "-h", "tpyo", "--dry-run")
    _, err = shell("add", "processor", "-n", "other", *where)
    assert "no node has the name or the host 'tpyo'" in err
    _, err = shell("add", "deployment", "-n", "idle", "-d", "there", "-h", "tpyo")
    assert "mesh: no node has the name or the host 'tpyo'; its CPUs wait for one" in err
    assert "`mesh update deployment there -h HOST`" in err
    for host in (socket.gethostname(), "localhost", "*"):
        assert shell("update", "deployment", "there", "-h", host)[1] == ""
    shell("add", "node", "-n", "mine", "-h", socket.gethostname())
    assert shell("update", "deployment", "there", "-h", "mine")[1] == ""

    _, err = shell("update", "deployment", "there", "-h", "mien")
    assert "'mien'; did you mean 'mine'?" in err
    with (
        connect(paths.clients_address(shell.home)) as client,
        pytest.warns(RuntimeWarning, match="no node has the name or the host 'mien'"),
    ):
        Deployment("there", host="mien", client=client)
    rows = [row for row in json.loads(shell.run(["doctor", "-o", "json"])[1])["items"]
            if row["name"] == "deployment"]  # fmt: skip
    assert [(row["state"], row["detail"]) for row in rows] == [(
        "WARN", "deployment there of processor idle: no node has the name or the host 'mien'; did"
        " you mean 'mine'?",
    )]  # fmt: skip
    assert rows[0]["fix"] == "start a node there, or mesh update deployment there -h HOST"
    shell("delete", "node", "mine", "-y")
