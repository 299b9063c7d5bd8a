"""What a deployment says that did not bring what was wanted, with real nodes."""

from __future__ import annotations

import json

import pytest

from meshcode.cli.doctor_mesh import judge_code
from tests.cli.conftest import git
from tests.cli.meshes import items
from tests.live.harness import make_repository, until
from tests.mesh.cluster import Cluster
from tests.mesh.network import LoopbackNetwork


@pytest.fixture
def remote(tmp_path):
    """A repository that a processor has its code from."""
    folder = tmp_path / "remote"
    folder.mkdir()
    commit(folder, "def which():\n    return 1\n\n\ndef late(day, *, room):\n    return day\n")
    return folder


def commit(folder, text):
    """Make `text` its module `dep`."""
    (folder / "dep.py").write_text(text)
    if not (folder / ".git").exists():
        git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "tasks")


def deploy(shell, remote):
    """A node that runs it."""
    shell("up")
    shell("add", "queue", "-n", "q")
    shell("add", "processor", "-n", "p", "-g", remote.as_uri(), "-m", "dep")
    for task in ("which", "late"):
        shell("add", "socket", "-n", f"dep.{task}", "-q", "q", "-pn", "p", "-t", task)
    assert shell("proc", "restart", "p", "--wait") == ("processor p restarts\n", "")


def warning(shell):
    """What the node shows of it."""
    (row,) = shell.json("get", "processor", "p")
    return row["warning"]


def code_checks(shell):
    """What the doctor says of code."""
    _, out, _ = shell.run(("doctor", "-o", "json"))
    return [row for row in json.loads(out)["items"] if row["name"] == "code"]


def test_a_restart_while_the_remote_is_away_says_that_the_old_code_runs(fresh, remote):
    deploy(fresh, remote)
    remote.rename(remote.with_name("away"))

    out, err = fresh("proc", "restart", "p", "--wait")

    assert out == "processor p restarts\n"
    assert err.startswith("mesh: processor p: its code may be an old one: the remote could not be")
    assert "from the mirror on this host; `mesh proc restart -n p` fetches it when" in err
    assert "may be an old one" in warning(fresh)
    assert [row["state"] for row in code_checks(fresh)] == ["WARN"]
    fresh("down")
    fresh("up")
    assert "may be an old one" in warning(fresh)

    remote.with_name("away").rename(remote)
    assert fresh("proc", "restart", "p", "--wait")[1] == ""
    assert warning(fresh) == ""


def test_what_comes_with_a_change_is_told_and_what_is_so_already_brings_nothing(fresh, remote):
    """`update -br` of the same branch is no deployment, however it is waited for."""
    deploy(fresh, remote)
    assert fresh("update", "processor", "p", "-br", "main", "--wait")[0] == "processor p changed\n"
    (old,) = [row["commit"] for row in fresh.json("ls", "workers")]
    commit(remote, "def which():\n    return 2\n\n\ndef late(day, *, room):\n    return day\n")

    assert fresh("update", "processor", "p", "-br", "main", "--wait") == (
        "processor p is so already and is unchanged\n",
        "mesh: a newer commit of its branch comes by `mesh proc restart -n p`\n",
    )
    assert fresh("run", "dep.which")[0] == "1\n"

    out, err = fresh("update", "processor", "p", "--env", "STAGE=prod", "--wait")
    (new,) = [row["commit"] for row in fresh.json("ls", "workers")]
    assert out == "processor p changed\n" and new != old
    assert err == f"mesh: processor p runs commit {new[:12]} now, before {old[:12]}\n"
    assert fresh("run", "dep.which")[0] == "2\n"

    err = fresh("update", "processor", "p", "-c", old, "--wait")[1]
    assert err == f"mesh: processor p runs commit {old[:12]} now, before {new[:12]}\n"
    assert fresh("update", "processor", "p", "-c", old)[1] == "", "it is pinned: none comes"


def test_of_a_commit_that_cannot_run_both_ways_on_are_told_and_lead_on(fresh, remote):
    deploy(fresh, remote)
    (old,) = [row["commit"] for row in fresh.json("ls", "workers")]
    commit(remote, "raise RuntimeError('broken')\n")

    err = fresh.run(("proc", "restart", "p", "--wait"))[2].decode()
    ways = (
        "mend what it names and `mesh proc restart -n p`, or run an earlier commit:"
        " `mesh update processor -n p -c COMMIT`"
    )
    assert "its older code goes on" in err and ways in err
    (row,) = fresh.json("ls", "processors")
    assert (row["ready"], row["old_ready"], row["wanted"]) == (0, 1, 1), "the old one serves"
    (check,) = code_checks(fresh)
    assert (check["state"], check["fix"]) == ("WARN", f"{ways}; the node tries again by itself")

    fresh("update", "processor", "-n", "p", "-c", old, "--wait")
    assert code_checks(fresh) == []
    commit(remote, "def which():\n    return 3\n\n\ndef late(day, *, room):\n    return day\n")
    fresh("update", "processor", "-n", "p", "-c", "none", "--wait")
    assert fresh("run", "dep.which")[0] == "3\n"


def test_a_schedule_whose_arguments_do_not_fit_is_told(fresh, remote, tmp_path):
    deploy(fresh, remote)
    timing = ("-s", "dep.late", "-i", "1h")

    err = fresh("add", "schedule", "-n", "wrong", *timing, "--args", "[1, 2]")[1]
    assert "schedule 'wrong' calls dep.late(day, *, room), which takes 1 positional" in err
    assert "`mesh update schedule` with --args and --kwargs gives others" in err
    err = fresh("update", "schedule", "wrong", "--args", "[1]")[1]
    assert "which misses 'room' as its code is now: its calls fail" in err
    _, out, _ = fresh.run(("doctor", "-o", "json"))
    (row,) = (row for row in json.loads(out)["items"] if row["name"] == "schedule")
    assert row["state"] == "WARN" and "which misses 'room'" in row["detail"]
    assert fresh("update", "schedule", "wrong", "--kwargs", '{"room": 1}')[1] == ""

    file = tmp_path / "net.json"
    schedule = {"socket": "dep.late", "interval": "2h", "kwargs": {"rum": 1}}
    file.write_text(json.dumps({"schedules": {"file": schedule}}))
    assert "schedule 'file' calls dep.late" not in fresh("apply", "-f", str(file), "--dry-run")[1]
    assert "schedule 'file' calls dep.late" in fresh("apply", "-f", str(file), "-y")[1]


def test_a_commit_without_a_function_that_a_socket_calls_is_told(fresh, remote):
    deploy(fresh, remote)
    commit(remote, "from os.path import join as late\n")

    err = fresh("proc", "restart", "p", "--wait")[1]

    assert "has no function 'which', which dep.which calls: such calls fail" in err
    assert "late" not in err, "it is there, though the module did not define it"
    assert "has no function 'which'" in warning(fresh)
    (row,) = code_checks(fresh)
    assert row["state"] == "WARN" and "has no function 'which'" in row["detail"]
    fresh("update", "socket", "dep.which", "-t", "late")
    assert warning(fresh) == ""


# Of a mesh.


def test_nodes_that_run_different_commits_are_named(tmp_path):
    """One that joins later takes what the others run, but not what the branch has no more."""
    with Cluster(tmp_path / "mesh", LoopbackNetwork(["n1", "n2"]), ["n1", "n2"]) as cluster:
        cluster.assemble(["n1"])
        repository = tmp_path / "repository"
        old = make_repository(repository, {"dep.py": "def which():\n    return 1\n"})
        cluster["n1"].offer("p", repository, "dep", ["which"])
        cluster.wait_until_ready(processor="p")
        git(repository, "update-ref", "-d", "HEAD")
        new = make_repository(repository, {"dep.py": "def which():\n    return 2\n"})
        cluster.join("n2", by="n1")
        cluster.wait_until_ready(processor="p")

        for home in (cluster["n1"], cluster["n2"]):
            (check,) = json.loads(home.mesh("doctor", "-o", "json").stdout)["items"][-1:]
            assert check == {
                "name": "code", "state": "WARN",
                "detail": "processor p is not the same code everywhere:"
                f" n1 runs {old[:12]}; n2 runs {new[:12]}",
                "fix": "`mesh proc restart -n p --wait`: all nodes fetch its newest commit",
            }  # fmt: skip
            rows = items(home, "ls", "workers")
            assert {row["node"]: row["commit"] for row in rows} == {"n1": old, "n2": new}
            assert f"| {old[:12]} " in home.command("ls", "workers")
        assert f"| {old[:12]} " in cluster["n1"].command("ls", "processors")
        assert f"| {new[:12]} " in cluster["n2"].command("ls", "processors")

        cluster["n1"].command("proc", "restart", "-n", "p", "--wait")
        until(
            lambda: {row["commit"] for row in items(cluster["n1"], "ls", "workers")} == {new},
            60, "both run the new commit",
        )  # fmt: skip
        last = json.loads(cluster["n2"].mesh("doctor", "-o", "json").stdout)["items"][-1]
        assert last["name"] != "code", last


def test_the_doctor_compares_what_nodes_run():
    same = {"p": "a" * 40, "q": "b" * 40}
    assert list(judge_code({"n1": same, "n2": same, "n3": {}})) == []

    told = {f"n{at}": {"p": "a" * 40} for at in range(1, 9)} | {"n9": {"p": f"{'c' * 12}+override"}}
    (check,) = judge_code(told)

    assert check.detail == (
        "processor p is not the same code everywhere: n1, n2, n3, n4, n5 and 3 more run"
        " aaaaaaaaaaaa; n9 runs cccccccccccc+override"
    )
