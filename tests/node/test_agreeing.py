"""Nodes that mount a branch at different moments run one commit, and no mount waits for a peer."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshcode import limits
from meshcode.model.settingnames import SETTINGS
from tests.live.harness import until
from tests.node.code_hosts import MOUNT_S, Host, model, run
from tests.worker.conftest import Repo

ASKING = "the other nodes are asked which commit of its code they run"
RETRY_MS = SETTINGS["mount_retry_ms"].least
Hosts = Callable[[str], Host]


def commits(*hosts: Host) -> list[str]:
    """What each runs of the processor, "" for none."""
    return [host.processors.commits.get("p", "") for host in hosts]


def want(host: Host, repo: Repo, **fields: Any) -> None:
    """The model of this node asks for the newest of the branch, or what `fields` say."""
    host.processors.apply(model(f"file://{repo.folder}", **fields))


def mount(others: list[Host], host: Host, repo: Repo, **fields: Any) -> str:
    """Let a node mount while the others take their turns; the commit."""
    want(host, repo, **fields)
    one = host.processors.by_name["p"]
    run([*others, host], lambda: one.mounted_code and one.mounted_code == one.wanted_code)
    return commits(host)[0]


def test_who_mounts_later_runs_what_the_others_do_until_the_newest_is_asked_for(
    hosts: Hosts, repo: Repo
):
    first = repo.commit({"m.py": "def f(x): return x\n"})
    a, b, c = (hosts(name) for name in "abc")
    assert mount([b, c], a, repo) == first
    second = repo.commit({"m.py": "def f(x): return 2 * x\n"})

    assert mount([a, c], b, repo) == first
    assert ASKING in b.said
    assert mount([a, b], c, repo) == first, "who follows others is followed"

    for host in (a, b):
        want(host, repo, restarted=1)
    run([a, b, c], lambda: commits(a, b) == [second, second])
    third = repo.commit({"m.py": "def f(x): return 3 * x\n"})
    assert mount([a, b], c, repo, restarted=1) == second
    assert mount([b, c], a, repo, restarted=2) == third, "nobody has mounted that"


def test_what_others_run_that_cannot_be_mounted_here_is_not_insisted_on(
    hosts: Hosts, repo: Repo, tmp_path: Path
):
    """The next try is of the newest; were that no better, what the others run had its turn."""
    needed = tmp_path / "needed"
    needed.touch()
    repo.commit({"m.py": f"open({str(needed)!r})\ndef f(x): return x\n"})
    a, b = hosts("a"), hosts("b")
    mount([b], a, repo)
    needed.unlink()
    newest = repo.commit({"m.py": "def f(x): return x\n"})
    retry = {"settings": {"mount_retry_ms": {"value": RETRY_MS}}}
    b.processors.apply({**retry, **model(f"file://{repo.folder}")})

    run([a, b], lambda: commits(b) == [newest])

    assert sum("could not be mounted (import)" in text for text in b.said) == 1
    assert str(needed) in next(text for text in b.said if "could not be mounted" in text)


def test_of_what_was_taken_back_nobody_takes_anything(hosts: Hosts, repo: Repo):
    first = repo.commit({"m.py": "def f(x): return x\n"})
    gone = repo.commit({"m.py": "def f(x): return 2 * x\n"})
    a, b = hosts("a"), hosts("b")
    assert mount([b], a, repo) == gone
    repo.git("reset", "-q", "--hard", first)

    assert mount([a], b, repo) == first


@pytest.mark.parametrize("answers", [False, True])
def test_a_peer_that_does_not_answer_costs_two_seconds_once(
    hosts: Hosts, repo: Repo, answers: bool
):
    """Whatever it runs, the mount goes on with what the others said."""
    first = repo.commit({"m.py": "def f(x): return x\n"})
    a, b = hosts("a"), hosts("b")
    mount([b], a, repo)
    second = repo.commit({"m.py": "def f(x): return 2 * x\n"})
    hosts("mute")

    begun = time.monotonic()
    others = [a] if answers else []
    want(b, repo)
    until(lambda: [host.turn() for host in (*others, b)] and b.processors.descriptors(), MOUNT_S,
          "it is mounted")  # fmt: skip
    assert time.monotonic() - begun >= limits.CODE_ASK_MS / 1000
    assert mount(others, b, repo) == (first if answers else second)
    assert b.said.count(ASKING) == 1


def test_who_asks_has_a_turn_as_who_mounts(hosts: Hosts, repo: Repo):
    """Else thousands that are declared at once would all be asked about at once."""
    repo.commit({"m.py": "def f(x): return x\n"})
    a, mute = hosts("a"), hosts("mute")
    one = model(f"file://{repo.folder}")["processors"]["p"]
    wanted = dict.fromkeys("pqr", one)
    limit = {"settings": {"mounts_max": {"value": 2}}}

    a.processors.apply({**limit, "processors": wanted})
    a.turn()

    def asked() -> set[str]:
        return {message["processor"] for message in mute.messages() if message["op"] == "runs"}

    assert asked() == {"p", "q"}
    assert [a.processors.status_of(name) for name in "pqr"] == ["building"] * 2 + ["starting"]
    waits = "its code is fetched when one of the 2 mounts here has ended (the setting mounts_max)"
    assert a.processors.by_name["r"].reason == waits

    stopped = {**one, "requested_status": "stop"}
    a.processors.apply({**limit, "processors": {**wanted, "p": stopped}})
    a.turn()
    a.turn()
    assert asked() == {"p", "q", "r"}, "what is not wanted any more gives up its turn"


def test_a_pinned_commit_and_one_that_only_gets_an_override_ask_nobody(hosts: Hosts, repo: Repo):
    first = repo.commit({"m.py": "def f(x): return x\n"})
    a = hosts("a")
    assert mount([], a, repo) == first, "it is alone"
    second = repo.commit({"m.py": "def f(x): return 2 * x\n"})
    mute, b = hosts("mute"), hosts("b")

    assert mount([a], b, repo, commit=second) == second
    snapshot = model(f"file://{repo.folder}")
    snapshot["overrides"] = {"p.f": {"processor": "p", "task": "f", "code": "def f(x): pass"}}
    a.processors.apply(snapshot)
    run([a], lambda: commits(a) == [f"{first[:12]}+override"])

    assert not mute.messages()
