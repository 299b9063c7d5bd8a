"""`mesh init`, `mesh invite`, `mesh join`: what they print, write and refuse."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from meshcode.cli import mesh
from meshcode.cli.demo.many.stage import free_port
from meshcode.errors import NotApproved
from meshcode.trust import identity, line
from meshcode.trust.founding import found_mesh
from meshcode.trust.invites import Invites
from meshcode.trust.joining import join_mesh
from tests.cli.conftest import Shell
from tests.trust.world import Seed, picture, unix_ms, wish


@pytest.fixture
def seed(tmp_path: Path) -> Seed:
    return Seed(tmp_path)


def test_init_makes_a_mesh_and_says_what_to_do_with_the_root_key(fresh):
    out, err = fresh("init", "--name", "alpha", "--bind", f"tcp://127.0.0.1:{free_port()}")

    mine = identity.load(fresh.home)
    assert mine.name == "alpha"
    assert "root.key" in out
    assert "off-line" in err
    assert mine.secret.hex() not in out + err


def test_init_twice_is_refused_with_the_mesh_that_is_there(fresh):
    fresh("init", "--name", "alpha")
    before = picture(Path(fresh.home))

    _, err = fresh("init", status=6)

    assert "belongs to mesh" in err and "as 'alpha' already" in err and "nothing was changed" in err
    assert picture(Path(fresh.home)) == before


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--name", "a b"], "is not a name"),
        (["--name", "-a"], "is not a name"),
        (["--domain", "a/b"], "is not a name"),
        (["--bind", "tcp://example.org:1"], "tcp://IP:PORT"),
        (["--bind", "tcp://127.0.0.1:65535"], "tcp://IP:PORT"),
        (["--bind", "tcp://127.0.0.1"], "tcp://IP:PORT"),
        (["--advertise", "a b:1"], "no host name"),
        (["--class", "boss"], "'boss' is not one of"),
    ],
)
def test_init_refuses_wrong_options_and_makes_nothing(fresh, words, match: str):
    _, err = fresh("init", *words, status=2)

    assert match in err
    assert not Path(fresh.home).exists()


def test_a_node_whose_address_is_taken_says_so_and_is_given_another(fresh):
    taken = socket.create_server(("127.0.0.1", free_port()))
    address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    with taken:
        _, err = fresh("init", "--name", "alpha", "--bind", address)
        assert f"in use on this host now: {address};" in err
        assert "mesh up --bind tcp://IP:PORT" in err
        _, err = fresh("up", status=1)
        assert f"the address {address} for peers cannot be bound" in err
        assert "is ready" not in (Path(fresh.home) / "log" / "node.log").read_text()
        assert "which it keeps: mesh up --bind tcp://IP:PORT" in err
        assert "mesh up --bind" in fresh("init", status=6)[1]
        fresh("up", "--bind", "tcp://example.org:1", status=2)
        port = free_port()
        fresh("up", "--bind", f"tcp://127.0.0.1:{port}")

    mine = identity.load(fresh.home)
    assert (mine.name, mine.bind) == ("alpha", (f"tcp://127.0.0.1:{port}",))
    assert mine.advertise == mine.bind and mine.join == (f"tcp://127.0.0.1:{port + 1}",)
    _, err = fresh("up", "--bind", address, status=6)
    assert "the node is up" in err and "its addresses were not changed" in err
    assert identity.load(fresh.home).bind == mine.bind


def test_a_node_that_has_moved_is_found_by_those_who_knew_where_it_was(fresh, short_path):
    other = Shell(short_path / "n2")
    here, there, then = (f"tcp://127.0.0.1:{free_port()}" for _ in range(3))
    for shell in (fresh, other):
        shell.environment["MESH_MDNS"] = "0"
    fresh("init", "--name", "n1", "--bind", here)
    fresh("up")
    line = fresh("invite", "--name", "n2")[0].strip()
    try:
        assert "in use" not in other("join", line, "--name", "n2", "--bind", there)[1]
        other("up")
        fresh.wait_until(lambda: linked(fresh) == ("alive", there.removeprefix("tcp://"), True))
        other("down")
        other("up", "--bind", then, "--advertise", then.removeprefix("tcp://"))
        fresh.wait_until(lambda: linked(fresh) == ("alive", then.removeprefix("tcp://"), True))
    finally:
        other.end()


@pytest.mark.parametrize("said", [(), ("tcp://203.0.113.9:7",)])
def test_a_host_that_got_other_addresses_is_told_where_it_is_unless_somebody_said_it(
    said, monkeypatch, short_path
):
    place = mesh.place_of(("tcp://0.0.0.0:7",), said)
    monkeypatch.setenv("MESH_HOME", str(short_path))
    now_unix_ms = int(time.time() * 1000)
    mine = found_mesh(None, name="n1", kind="core", domain="", place=place, now_unix_ms=now_unix_ms)
    old = replace(mine, advertise=("tcp://203.0.113.9:7",))
    identity.write_self(short_path / "mesh", old)

    mesh.renew()

    own = [f"tcp://{address}:7" for address in mesh.own_addresses() if address != "127.0.0.1"]
    wanted = old.advertise if said or not own else tuple(own)
    assert identity.load(str(short_path)).advertise == wanted
    assert identity.load(str(short_path)).worked_out is not bool(said)


def linked(shell):
    """How the node sees n2: state, address, and whether a link to it is up."""
    out = shell.run(["nodes", "-o", "json"])[1]
    row = next(row for row in json.loads(out)["items"] if row["name"] == "n2")
    return row["state"], row["address"], bool(row["link"])


def test_a_home_without_a_mesh_has_no_address_to_change(fresh):
    assert "belongs to no mesh" in fresh("up", "--bind", "tcp://127.0.0.1:7999", status=3)[1]


def test_invite_prints_one_line_that_holds_everything(fresh):
    port = free_port()
    fresh("init", "--name", "alpha", "--bind", f"tcp://127.0.0.1:{port}")

    out, err = fresh("invite", "--class", "edge", "--ttl", "1h")
    item = fresh.json("invite", "--name", "beta")[0]

    found = line.parse(out)
    assert out.count("\n") == 1
    assert found.hosts == (f"127.0.0.1:{port + 1}",)
    assert found.key == identity.load(fresh.home).public
    assert "1h00m, class edge" in err
    kept = Invites(fresh.home).load(found.id)
    assert (kept.kind, kept.expires_unix_ms - kept.made_unix_ms) == ("edge", 3_600_000)
    assert (item["for"], item["class"]) == ("beta", "core")
    assert found.secret.hex().encode() not in b"".join(
        path.read_bytes() for path in Path(fresh.home).rglob("*") if path.is_file()
    )


def test_who_is_in_the_mesh_and_why_is_in_the_audit_log_with_and_without_a_node(fresh):
    """No line of any node said who had invited or evicted somebody."""
    fresh("init", "--name", "alpha", "--bind", f"tcp://127.0.0.1:{free_port()}")
    first, second = fresh.json("invite", "--name", "beta")[0], None
    fresh("up")
    second = fresh.json("invite")[0]
    fresh("down", "--now")
    fresh("node", "evict", "alpha", "--yes", "--reason", "stolen")

    node = identity.load(fresh.home).node.hex()[:8]
    rows = fresh.json("audit", "show")
    assert all(row["who"].startswith("owner (") for row in rows)
    assert [(row["what"], row["object"]) for row in rows if row["what"] != "node.down"] == [
        ("node.init", "node alpha"),
        ("node.invite", f"invitation {first['name'][:12]} for beta, class core"),
        ("node.invite", f"invitation {second['name'][:12]}, class core"),
        ("node.evict", f"node alpha ({node}): stolen"),
    ]
    assert "lines are whole" in fresh("audit", "verify")[0]


def test_invite_needs_a_mesh_an_admitting_key_and_a_short_time(fresh):
    assert "belongs to no mesh" in fresh("invite", status=3)[1]
    fresh("init", "--name", "alpha")
    assert "is not between 1s and" in fresh("invite", "--ttl", "25h", status=2)[1]
    (Path(fresh.home) / "mesh" / "admit.key").unlink()
    assert "has no admitting key" in fresh("invite", status=4)[1]


def test_join_joins_and_says_who_is_there(fresh, seed: Seed):
    text = line.text_of(seed.invite(now_unix_ms=unix_ms()))
    with seed.serving():
        item = fresh.json("join", text, "--name", "beta", "--bind", "tcp://127.0.0.1:7999")[0]

    mine = identity.load(fresh.home)
    assert item["mesh"] == seed.identity.mesh.hex()
    assert item["members"] == ["alpha", "beta"]
    assert (mine.bind, mine.join) == (("tcp://127.0.0.1:7999",), ("tcp://127.0.0.1:8000",))
    assert mine.secret.hex() not in json.dumps(item)


def test_join_reads_the_line_from_stdin(fresh, seed: Seed):
    """So that the secret is in no list of processes and no history of a shell."""
    text = line.text_of(seed.invite(now_unix_ms=unix_ms()))
    with seed.serving():
        code, out, err = fresh.run(["join", "--name", "beta", "-"], text.encode() + b"\n")

    assert (code, identity.load(fresh.home).name) == (0, "beta"), (out, err)


@pytest.mark.parametrize(
    ("change", "status", "match"),
    [
        (lambda text: "", 2, "the beginning of the invitation"),
        (lambda text: text[:40], 2, "the fingerprint of the invitation is missing"),
        (lambda text: text.replace("mesh1", "mesh2"), 2, "expected 'mesh1:'"),
        (lambda text: "mesh1:A" + text[7:], 2, "the id of the invitation was mistyped"),
        (lambda text: text.replace("@127.0.0.1", "@127.0.0.2"), 2, "does not belong to the rest"),
    ],
)
def test_join_says_which_part_of_the_line_is_wrong(fresh, seed: Seed, change, status, match: str):
    found = seed.invite()
    text = line.text_of(line.Line(b"zzzzzz", found.secret, found.hosts, found.key))

    _, err = fresh("join", change(text), status=status)

    assert match in err
    assert not Path(fresh.home).exists()


def test_join_shows_the_refusals_of_the_node_that_invited(fresh, seed: Seed):
    now = unix_ms()
    over = line.text_of(seed.invite(now_unix_ms=now - 120_000))
    good = seed.invite(now_unix_ms=now)
    unknown = line.text_of(line.Line(b"654321", good.secret, good.hosts, good.key))
    other = line.text_of(line.Line(good.id, b"s" * 21, good.hosts, good.key))
    with seed.serving():
        for text, status, match in (
            (over, 5, "expired 60 s ago by the clock of alpha"),
            (unknown, 3, "no such invitation"),
            (other, 1, "proof of the secret is wrong"),
        ):
            _, err = fresh("join", text, "--name", "beta", status=status)
            assert match in err
            assert not Path(fresh.home).exists()
        _, err = fresh("join", line.text_of(good), "--name", "alpha", status=6)
        assert "another --name" in err

    _, err = fresh("join", line.text_of(good), "--wait", "200ms", status=7)
    assert "cannot be reached within 0.2 s" in err
    assert not Path(fresh.home).exists()


@pytest.mark.parametrize(("typed", "status"), [("y\n", 0), ("n\n", 4)])
def test_invite_with_approve_asks_before_anybody_is_let_in(seed: Seed, tmp_path, typed, status):
    words = [sys.executable, "-m", "meshcode.cli", "--home", seed.base, "invite", "--approve"]
    told: list[str] = []
    with (
        seed.serving(),
        subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as command,
    ):
        invitation = line.parse(command.stdout.readline())
        command.stdin.write(typed)
        command.stdin.flush()
        if status:
            with pytest.raises(NotApproved, match="a person at alpha refused it"):
                join_mesh(str(tmp_path / "beta"), invitation, wish(), told.append)
        else:
            join_mesh(str(tmp_path / "beta"), invitation, wish(), told.append)
        err = command.communicate(timeout=20)[1]

    code = told[0].rpartition(" ")[2]
    assert command.returncode == status
    assert f"beta at 127.0.0.1 wants to join; it must show {code}" in err
    assert len(seed.roster.members) == (1 if status else 2)
