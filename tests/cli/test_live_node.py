"""`mesh up`, `down` and `dev` with real nodes: started, found, stopped, killed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy
import psutil
import pytest

from meshcode import paths
from meshcode.errors import NotAllowed
from tests.cli.conftest import Shell, git


def test_up_is_done_when_it_is_up(fresh):
    fresh("up")
    out, err = fresh("up")
    (status,) = fresh.json("status")

    assert err == f"the node is up already: pid {status['pid']}\n"
    assert f"pid   {status['pid']}\n" in out
    assert "next  mesh add queue -n q1\n" in out


def test_a_node_goes_down_and_nothing_of_it_is_left(fresh):
    fresh("up")
    (status,) = fresh.json("status")
    node = psutil.Process(status["pid"])
    family = [node, *node.children(recursive=True)]

    assert fresh("down") == ("the node is down\n", "")

    assert psutil.wait_procs(family, timeout=10)[1] == []
    fresh("status", status=7)
    assert fresh("down")[1] == f"no node is up in {fresh.home}\n"


def test_a_killed_node_comes_up_again_with_its_calls(fresh, repository):
    """Nothing answers at the link it left, and `up` and `down` do not mistake the number."""
    fresh("up")
    fresh.offer(repository, ["add"])
    id = fresh("run", "shop.add", "2", "3", "--delay", "1h", "--no-wait")[0].strip()
    (status,) = fresh.json("status")
    node = psutil.Process(status["pid"])
    node.kill()
    node.wait(10)

    fresh("status", status=7)
    assert fresh("down")[1] == f"no node is up in {fresh.home}\n"
    fresh("up")

    (again,) = fresh.json("status")
    assert (again["boot"], again["node"]) == (status["boot"] + 1, status["node"])
    fresh("call", "retry", id)
    assert fresh("call", "get", id, "--timeout", "30s") == ("5\n", "")


def test_down_waits_for_running_calls_and_says_so_when_it_gives_up(fresh, repository):
    fresh("up")
    fresh.offer(repository, ["rest"])
    id = fresh("run", "shop.rest", "60", "--no-wait")[0].strip()
    fresh.wait_until(lambda: fresh.json("ls", "call", id)[0]["state"] == "RUNNING")

    _, err = fresh("down", "--timeout", "500ms", status=124)
    assert "waiting for 1 running calls\n" in err
    assert "has not ended within 500ms; it takes no new calls" in err

    assert fresh("down", "--now")[0] == "the node is down\n"


def test_up_waits_for_a_node_that_was_told_to_stop(fresh, repository):
    fresh("up")
    fresh.offer(repository, ["rest"])
    id = fresh("run", "shop.rest", "4", "--no-wait")[0].strip()
    fresh.wait_until(lambda: fresh.json("ls", "call", id)[0]["state"] == "RUNNING")
    (status,) = fresh.json("status")
    fresh("down", "--timeout", "100ms", status=124)

    _, early = fresh("up", "--timeout", "200ms", status=124)
    _, told = fresh("up")

    (again,) = fresh.json("status")
    pid = status["pid"]
    assert f"process {pid} was told to stop and has not ended within 200ms; nothing was" in early
    assert f"process {pid} was told to stop and finishes 1 running calls; the node" in told
    assert (again["boot"], again["state"]) == (status["boot"] + 1, "ready")


def test_a_home_with_a_long_path_can_be_started(tmp_path):
    """Its links are in a folder below /tmp, which `run/ipc.path` names."""
    shell = Shell(tmp_path / ("d" * 120))
    try:
        shell("status", status=7)
        shell("up")
        (status,) = shell.json("status")
        _, again = shell("up")
    finally:
        links = paths.ipc_dir(shell.home)
        shell("down")
        shell.end()

    assert status["home"] == shell.home
    assert again == f"the node is up already: pid {status['pid']}\n"
    assert links.startswith("/tmp/meshcode-")
    assert not os.path.exists(links)


def test_dev_keeps_data_in_a_folder_with_a_long_path(fresh, tmp_path):
    process = fresh.start("dev", "--data", str(tmp_path / ("e" * 120)))
    lines = [process.stdout.readline() for _ in range(4)]
    names = fresh("ls", "queues", "-q")
    process.terminate()
    process.communicate(timeout=20)

    assert not os.path.exists(paths.ipc_dir(str(tmp_path / ("e" * 120))))
    assert lines[0].startswith("node   ipc:///tmp/meshcode-")
    assert names == ("", "")


def test_up_says_that_a_node_drains_and_stays(fresh):
    fresh("up")
    fresh("node", "drain")

    _, err = fresh("up")

    (status,) = fresh.json("status")
    assert err == (
        f"the node is up already: pid {status['pid']}; it drains: `mesh down` and `mesh up` let it"
        " take calls again\n"
    )


def test_a_folder_that_cannot_be_made_is_named(fresh):
    home = Path(fresh.home)
    home.mkdir()
    (home / "data").write_text("not a folder")

    _, err = fresh("up", status=1)

    assert err == (
        f"mesh: {home / 'data'} cannot be made or written: File exists; give a node another folder"
        " with --home or MESH_HOME\n"
    )


def test_a_node_that_cannot_start_says_why(fresh):
    """Something else holds the folder of the log, so the node ends before it answers."""
    import fcntl

    data = Path(fresh.home) / "data"
    data.mkdir(parents=True)
    with open(data / "lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        _, err = fresh("up", status=1)

    assert err.startswith("mesh: the node ended with status 6 before it answered; the end of ")
    assert str(Path(fresh.home) / "log" / "node.log") in err


def test_up_in_the_foreground_is_the_node(fresh):
    process = fresh.start("up", "--foreground")
    assert "is ready" in process.stdout.readline()
    (status,) = fresh.json("status")

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)

    assert status["pid"] == process.pid
    assert process.returncode == 0


def test_dev_is_found_by_other_shells_and_leaves_nothing(fresh):
    process = fresh.start("dev")
    lines = [process.stdout.readline() for _ in range(4)]
    address, log = lines[0].split()[1].rstrip(","), Path(lines[2].split()[1])
    temporary = log.parent.parent

    assert [line.split()[0] for line in lines] == ["node", "first", "log", "note"]
    assert "thrown away" in lines[3]
    fresh("add", "queue", "-n", "q1")
    (status,) = fresh.json("status")
    assert status["home"] == str(temporary)
    assert address == f"ipc://{temporary}/run/clients.ipc"
    _, err = fresh("dev", status=6)
    assert err.startswith(f"mesh: a node is up already at {address}; ")

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (130, "")
    assert not psutil.pid_exists(status["pid"])
    assert not temporary.exists()
    assert not (Path(fresh.home) / "run" / "ipc.path").exists()
    fresh("status", status=7)


def test_dev_keeps_its_data_where_it_is_told(fresh, tmp_path):
    for _ in range(2):
        process = fresh.start("dev", "--data", str(tmp_path / "kept"))
        lines = [process.stdout.readline() for _ in range(4)]
        fresh("add", "queue", "-n", "q1", "--exists-ok")
        names = fresh("ls", "queues", "-q")[0].split()
        process.terminate()
        process.communicate(timeout=20)

        assert lines[3] == f"note   data is kept in {tmp_path / 'kept'}\n"
        assert names == ["q1"]
        assert process.returncode == 143


def test_dev_killed_outright_takes_its_node_along(fresh):
    process = fresh.start("dev")
    lines = [process.stdout.readline() for _ in range(4)]
    node = psutil.Process(int(lines[0].split("pid ")[1].split(";")[0]))

    process.kill()
    process.communicate()

    psutil.wait_procs([node], timeout=20)
    assert not node.is_running()
    fresh("up")  # The name it left behind in the run folder does not matter.
    (status,) = fresh.json("status")
    assert status["home"] == fresh.home


def test_a_node_that_hangs_is_not_called_absent(fresh):
    """Who starts another one is told of it at once, and not by the end of its log."""
    fresh("up")
    node = psutil.Process(int(Path(paths.pid_file(fresh.home)).read_text()))
    node.suspend()
    try:
        for words, status in ((("status",), 7), (("run", "no.such"), 7), (("up",), 6)):
            _, err = fresh(*words, status=status)
            assert f"process {node.pid} of {fresh.home} is up and does not answer" in err
    finally:
        node.resume()
    fresh("status")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be another user")
def test_of_the_home_of_another_user_nothing_is_said(fresh):
    fresh.environment |= {"HOME": "/nowhere", "XDG_CONFIG_HOME": "/nowhere"}
    fresh("up")
    words = (("status",), ("down",), ("up",), ("db", "json"), ("run", "no.such"))
    for each in words[:1] + words[3:]:  # What is imported late must be there before.
        fresh.run(each)
    os.seteuid(65_534)
    try:
        said = [fresh.run(each) for each in words]
    finally:
        os.seteuid(0)
    for each, (status, _, err) in zip(words, said, strict=True):
        assert status == NotAllowed.exit_status, (each, err)
        assert f"{fresh.home} belongs to ".encode() in err, each
        assert b"you are uid 65534" in err
    assert fresh.json("status")[0]["pid"]


def test_a_result_for_which_a_package_is_missing_here_is_kept_and_told(
    fresh, tmp_path, monkeypatch
):
    """Who reads it with numpy has it; the record of the call is shown without."""
    packages = os.path.dirname(os.path.dirname(numpy.__file__))
    repository = tmp_path / "arrays"
    (repository / "shop").mkdir(parents=True)
    lines = ["import sys", "", "def f():", "    sys.path.append({!r})", "    import numpy",
             "    return numpy.arange(3)", ""]  # fmt: skip
    (repository / "shop" / "tasks.py").write_text("\n".join(lines).format(packages))
    git(repository, "init", "-q", "-b", "main")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "tasks")
    fresh("up")
    fresh.offer(repository, ["f"])
    id = fresh("run", "shop.f", "--no-wait")[0].strip()
    assert fresh("call", "get", id, "--timeout", "60s")[0] == "[0, 1, 2]\n"

    monkeypatch.setitem(sys.modules, "numpy", None)
    why = "a numpy array in it, and numpy is not installed here (`pip install numpy`)"
    err = fresh("call", "get", id, status=1)[1]
    assert why in err and "the data is whole, and a result is kept" in err
    out, err = fresh("ls", "call", id, "-r")
    assert "DONE" in out and err.startswith("mesh: its result is not shown: data of ")
    assert why in err

    monkeypatch.undo()
    assert fresh("ls", "call", id, "-r")[0].endswith("Result\n[0, 1, 2]\n")
