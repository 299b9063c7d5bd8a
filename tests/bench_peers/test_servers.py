"""Servers as children: their ports, their start, and their end with all that is below them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bench.peers import tree
from bench.peers.peer import Unavailable
from bench.peers.servers import Child, free_port, listens, program, says_version
from tests.live.harness import until


def test_a_port_is_none_of_those_given_to_outgoing_connections():
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = {free_port() for _ in range(20)}

    assert len(ports) > 1
    assert all(1_024 <= port < lowest for port in ports)


def test_who_listens_is_seen():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listens(port)
    assert not listens(port)


def test_kill_takes_what_a_start_script_has_started(tmp_path: Path):
    """RabbitMQ's is such a script: without its children the broker would go on."""
    child = Child(["sh", "-c", "sleep 60 & sleep 60 & wait"], tmp_path, "script")
    pids = until(
        lambda: len(found := tree.tree_of(child.process.pid)) == 3 and found, 10, "both have begun"
    )

    child.kill()

    assert [pid for pid in pids if tree.is_alive(pid)] == []


def test_a_server_that_ends_at_once_is_unavailable_with_its_words(tmp_path: Path):
    child = Child(["sh", "-c", "echo the port is taken >&2; exit 3"], tmp_path, "server")

    with pytest.raises(Unavailable, match="server ended with 3: the port is taken"):
        child.until(lambda: False)


def test_a_server_that_is_not_ready_in_time_is_unavailable(tmp_path: Path):
    child = Child(["sleep", "60"], tmp_path, "server")
    try:
        with pytest.raises(Unavailable, match=r"server was not ready within 0\.05 s"):
            child.until(lambda: False, 0.05)
    finally:
        child.stop()
    assert not tree.is_alive(child.process.pid)


def test_a_program_that_is_not_installed_is_named():
    with pytest.raises(Unavailable, match="apt-get install no-such-server"):
        program("no-such-server")


def test_the_version_is_the_first_line_that_a_program_says():
    assert says_version("printf", "one 1.2\\ntwo\\n") == "one 1.2"
