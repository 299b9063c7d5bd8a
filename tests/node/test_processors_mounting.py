"""Many processors declared at once: their code is fetched by a few processes at a time."""

from __future__ import annotations

import os
import select
import time

import pytest
import zmq

from meshcode.model.settingnames import SETTINGS
from meshcode.node.crew import Crew
from meshcode.node.processors import Processors
from tests.live.harness import until


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


def test_a_few_mounts_at_a_time_and_each_gets_its_turn(processors, tmp_path):
    names = [f"p{i}" for i in range(SETTINGS["mounts_max"].default + 3)]
    code = {"git": (tmp_path / "no-such-repository").as_uri(), "module": "m"}
    most = 0

    def turn():
        nonlocal most
        watched = processors.descriptors()
        for fd in select.select(list(watched), [], [], 0)[0]:
            processors.hear(watched[fd], now_ms())
        processors.reconcile(now_ms())
        most = max(most, len(processors.descriptors()))
        return all(processors.by_name[name].problem for name in names)

    processors.apply({"processors": dict.fromkeys(names, code)})
    until(turn, 60, "every mount has failed")

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
