"""What commands say, and do, where a person mistyped or could not know better; on a real node."""

from __future__ import annotations

import socket

import pytest

from meshcode.cli import names

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


def test_a_node_with_a_host_may_be_one_that_comes(shell, even):
    shell("add", "node", "-n", "later", "-h", "host-x")

    assert shell("scheduler", "add", "-n", "even", "-nd", "later")[1] == ""


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
