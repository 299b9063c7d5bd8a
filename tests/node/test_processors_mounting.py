"""Many processors declared at once: their code is fetched by a few processes at a time."""

from __future__ import annotations

import os
import select
import time

import pytest
import zmq

from meshcode.model.settingnames import SETTINGS
from meshcode.node.crew import Crew
from meshcode.node.processors import BACKOFF_MS, Processors
from tests.live.harness import make_repository, until
from tests.node.scarcity import no_descriptors


def now_ms():
    return time.monotonic_ns() // 1_000_000


@pytest.fixture
def processors(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "log").mkdir()
    context = zmq.Context()
    address = f"ipc:///tmp/mesh-test-{os.getpid()}-mounting"
    crew = Crew(context, address, tmp_path / "run", 1, "ipc:///nowhere")
    found = Processors(
        crew, tmp_path / "code", "here", lambda event: None, lambda name, kept: None
    )
    yield found
    found.stop_all("the test ends", now_ms(), 0)
    crew.close()
    context.destroy(0)


def turn(processors):
    watched = processors.descriptors()
    for fd in select.select(list(watched), [], [], 0)[0]:
        processors.hear(watched[fd], now_ms())
    processors.reconcile(now_ms())


@pytest.fixture
def hanging(tmp_path):
    """Code of a module whose import does not end, and of one that is fine."""
    source = "import time\ntime.sleep(10**6)\n"
    make_repository(tmp_path / "r", {"m.py": "def f(): pass\n", "hang.py": source})
    code = {"git": (tmp_path / "r").as_uri(), "branch": "main"}
    return {**code, "module": "hang"}, {**code, "module": "m"}


def imports(processors, *names):
    def all_do():
        turn(processors)
        reasons = [processors.by_name[name].reason for name in names]
        return all("hang is being imported, which may take 60 s" in r for r in reasons)

    until(all_do, 60, "the modules are being imported")


def mounted(processors, name):
    def is_so():
        turn(processors)
        return processors.by_name[name].mount is not None

    until(is_so, 30, lambda: f"{name} is mounted: {processors.by_name[name].reason}")


def test_an_import_that_hangs_ends_when_other_code_is_wanted_or_none(processors, hanging):
    hangs, fine = hanging
    processors.apply({"processors": {"p": hangs, "q": hangs}})
    imports(processors, "p", "q")

    processors.apply({"processors": {"p": fine, "q": {**hangs, "requested_status": "stop"}}})
    mounted(processors, "p")
    until(lambda: turn(processors) or not processors.descriptors(), 20, "none mounts")
    processors.apply({"processors": {"p": fine, "q": {**hangs, "restarted": 1}}})
    imports(processors, "q")
    processors.apply({"processors": {"p": fine, "q": {**hangs, "restarted": 2}}})
    imports(processors, "q")
    assert processors.status_of("q") == "building"


def test_imports_that_hang_hold_up_the_others_no_longer_than_they_are_wanted(processors, hanging):
    hangs, fine = hanging
    setting = {"settings": {"mounts_max": {"value": 2}}}
    processors.apply({**setting, "processors": {"a": hangs, "b": hangs, "p": fine}})
    imports(processors, "a", "b")
    assert processors.by_name["p"].reason == (
        "its code is fetched when one of the 2 mounts here has ended (the setting mounts_max)"
    )

    processors.apply({**setting, "processors": {"p": fine}})
    mounted(processors, "p")
    until(lambda: turn(processors) or set(processors.by_name) == {"p"}, 20, "they are forgotten")


def test_an_import_that_hangs_is_stopped_in_its_time_and_why_is_told(processors, hanging):
    hangs, fine = hanging
    limits = {"import_ms": {"value": 1_000}, "mounts_max": {"value": 1}}
    processors.apply({"settings": limits, "processors": {"a": hangs, "p": fine}})
    mounted(processors, "p")
    assert "did not end within 1 s and was stopped" in processors.by_name["a"].problem
    assert processors.status_of("a") == "failed"


def test_a_few_mounts_at_a_time_and_each_gets_its_turn(processors, tmp_path):
    names = [f"p{i}" for i in range(SETTINGS["mounts_max"].default + 3)]
    code = {"git": (tmp_path / "no-such-repository").as_uri(), "module": "m"}
    most = 0

    def all_failed():
        nonlocal most
        turn(processors)
        most = max(most, len(processors.descriptors()))
        return all(processors.by_name[name].problem for name in names)

    processors.apply({"processors": dict.fromkeys(names, code)})
    until(all_failed, 60, "every mount has failed")

    assert most == SETTINGS["mounts_max"].default
    assert all("its code could not be mounted" in p.problem for p in processors.by_name.values())


def test_a_deployment_is_here_by_name_host_declared_node_and_scheduler(processors, tmp_path):
    code = {"git": (tmp_path / "no-such-repository").as_uri(), "module": "m"}

    def count(node, **deployment):
        processors.apply({
            "processors": {"p": code}, "schedulers": {"even": {"strategy": "BALANCED"}},
            "nodes": {"n1": node, "n2": {"scheduler": "even", "host": "elsewhere", "cpus": None}},
            "deployments": {"d": {"processor": "p", "cpus": 5, "host": "*", **deployment}},
        })  # fmt: skip
        return processors.by_name["p"].count

    at_home = {"scheduler": None, "host": "here", "cpus": None}
    assert count(at_home) == count(at_home, host="here") == count(at_home, host="localhost") == 5
    assert count(at_home, host="n1") == 5  # The host of the declared node is ours.
    assert count({**at_home, "host": "there"}, host="n1") == 0
    assert count({**at_home, "scheduler": "even"}, scheduler="even") == 3
    assert count({**at_home, "scheduler": "even", "cpus": 1}, scheduler="even") == 1
    assert count(at_home, scheduler="even") == 0
    processors.other_names = {"n1"}  # That one runs, too: what is said of it is its own.
    assert count(at_home, host="n1") == 0
    processors.name = "n1"
    assert count({**at_home, "host": "there"}, host="n1") == 5


def test_a_declared_node_pins_its_workers_to_so_many_cpus(processors):
    mine = list(processors.cpus)
    there = {"cpus": 1, "host": None}

    processors.apply({"nodes": {"here": there, "elsewhere": {"cpus": 2}}})
    assert processors.cpus == mine[:1]
    processors.name = "n1"
    processors.apply({"nodes": {"here": there, "n1": {"cpus": None}}})
    assert processors.cpus == mine
    processors.apply({"nodes": {"n1": {"cpus": 1_000}}})
    assert processors.cpus == mine


def test_a_processor_that_is_deployed_elsewhere_says_where_and_who_is_there(processors, tmp_path):
    code = {"git": (tmp_path / "no-such-repository").as_uri(), "module": "m"}

    def reason(*deployments, **states):
        processors.peer_states = lambda: states
        rows = {f"d{i}": {"processor": "p", "cpus": 1, **d} for i, d in enumerate(deployments)}
        processors.apply({"processors": {"p": code}, "deployments": rows})
        processors.reconcile(now_ms())
        return processors.by_name["p"].reason

    add = "`mesh add deployment -n p -d p-here -h here` gives it workers here"
    on_n2 = {"host": "n2"}
    assert reason(on_n2) == (
        "it is deployed on n2 only, and no node is called n2 (this one is here); start a node"
        f" there, or {add}"
    )
    assert reason(on_n2, n2="dead") == (
        f"it is deployed on n2 only, and n2 is away; start a node there, or {add}"
    )
    assert "no worker of it is ready at n2; `mesh ls" in reason(on_n2, n2="alive")
    two = "it is deployed on n2, n3 only, and n2, n3 are away"
    assert two in reason(on_n2, {"host": "n3"}, n2="left", n3="dead")
    gone = reason(on_n2, n2="evicted")
    assert gone == (
        "it is deployed on n2 only, and n2 was evicted; update or delete the deployment d0, or"
        f" {add}"
    )
    mixed = reason(on_n2, {"host": "n3"}, n2="evicted", n3="dead")
    assert "and n2 was evicted, and n3 is away; update or delete the deployment d0, or start a" in (
        mixed
    )
    nowhere = reason({"scheduler": "even", "host": None})
    assert nowhere == f"no node of its scheduler has room for it; {add}"
    assert processors.status_of("p") == "idle"
    assert reason(on_n2, {"host": "here"}) == "its code is being fetched"
    processors.by_name["p"].mounting.end(now_ms())


def test_a_mount_that_cannot_be_started_is_told_and_tried_again(processors, hanging):
    """The node has no file descriptor left for it."""
    _, fine = hanging
    processors.apply({"processors": {"p": fine}})
    with no_descriptors():
        processors.reconcile(now_ms())
    processor = processors.by_name["p"]
    assert processor.reason == (
        "its code could not be mounted (start): [Errno 24] Too many open files; that is tried "
        "again by itself"
    )
    assert processors.status_of("p") == "failed"
    turn(processors)
    assert processor.mounting is None, "not before its time"

    processors.reconcile(now_ms() + processors.settings["mount_retry_ms"])
    mounted(processors, "p")
    assert processor.problem == ""


def test_a_worker_that_cannot_be_started_is_told_and_tried_again(processors, hanging, tmp_path):
    """That its node has no descriptor left says nothing of its code, which is not mounted anew."""
    _, fine = hanging
    processors.apply({"processors": {"p": fine}})
    mounted(processors, "p")
    processor, crew = processors.by_name["p"], processors.crew
    (worker,) = crew.by_id.values()
    crew.kill(worker)
    select.select([worker.pidfd], [], [])
    crew.bury(worker.pidfd)
    with no_descriptors():
        processors.reconcile(now_ms())
    assert processor.reason.startswith("its workers cannot be started: [Errno 24] Too many open")
    assert processor.reason.endswith("; that is tried again by itself")
    assert (processor.mounting, list((tmp_path / "run" / "workers").iterdir())) == (None, [])
    assert processor.mounted_code == processor.wanted_code

    processors.reconcile(now_ms() + BACKOFF_MS[-1])
    assert len(crew.by_id) == 1


@pytest.mark.parametrize(("handed", "most_ms"), [(0, BACKOFF_MS[-1]), (1, 1_000)])
def test_who_dies_under_a_call_is_followed_soon(processors, hanging, handed, most_ms):
    """Code that dies by itself could do so for ever; a call's attempts end, and others wait."""
    _, fine = hanging
    processors.apply({"processors": {"p": fine}})
    mounted(processors, "p")
    (worker,) = processors.crew.by_id.values()
    worker.handed = handed
    for _ in range(9):
        processors.lost(worker, "signal 9", 5_000)

    assert processors.by_name["p"].crashes == 9
    assert processors.by_name["p"].next_start_ms == 5_000 + most_ms
