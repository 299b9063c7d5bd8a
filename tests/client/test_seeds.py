"""Addresses, the order in which they are tried, and the clocks of failover: the pure parts."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path

import pytest

from meshcode import errors, paths
from meshcode.client import Socket, connect
from meshcode.client.batch import AGAIN, Batch, level_text
from meshcode.client.call import Call
from meshcode.client.doubts import PAUSE_S, PAUSE_S_MAX, UNKNOWN_PATIENCE_S, Doubts
from meshcode.client.pending import Pending
from meshcode.client.quiet import Quiet
from meshcode.client.route import PAUSE_S as ROUND_S
from meshcode.client.route import PAUSE_S_MAX as ROUND_S_MAX
from meshcode.client.route import Route
from meshcode.client.seeds import Seed, seeds_of
from meshcode.ids import make_id
from meshcode.wire.frame import draft, index, seal_frame
from meshcode.wire.kinds import Flag, Kind
from tests.client.conftest import SOON_S

KEY = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"  # Some node's.
ESCAPED = "".join(c if c.isalnum() else f"%{ord(c):02X}" for c in KEY)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.delenv("MESH_NODE", raising=False)


# Addresses.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ipc:///a", [Seed("ipc:///a")]),
        ("ipc://@abstract", [Seed("ipc://@abstract")]),
        ("ipc:///a,ipc:///b", [Seed("ipc:///a"), Seed("ipc:///b")]),
        (" ipc:///a , ipc:///b ", [Seed("ipc:///a"), Seed("ipc:///b")]),
        ("ipc:///a,b/c", [Seed("ipc:///a,b/c")]),
        ("ipc:///a,ipc:///a", [Seed("ipc:///a")]),
        (f"tcp://10.0.0.7:7000?key={KEY}", [Seed("tcp://10.0.0.7:7000", KEY.encode())]),
        (f"tcp://host:1?key={ESCAPED}", [Seed("tcp://host:1", KEY.encode())]),
        (f"tcp://[fe80::1%25eth0]:1?key={KEY}", [Seed("tcp://[fe80::1%25eth0]:1", KEY.encode())]),
        (
            f"tcp://h:1?key={KEY},ipc:///a,tcp://i:2?key={ESCAPED}",
            [Seed("tcp://h:1", KEY.encode()), Seed("ipc:///a"), Seed("tcp://i:2", KEY.encode())],
        ),
        (["ipc:///a", "ipc:///b,ipc:///c"], [Seed("ipc:///a"), Seed("ipc:///b"), Seed("ipc:///c")]),
    ],
)
def test_an_address_is_read(text, expected):
    assert seeds_of(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it begins neither"),
        ("nonsense", "it begins neither"),
        ("http://x", "it begins neither"),
        ("ipc:///a,udp://b", "it begins neither"),
        ("ipc://", "its path has 0 bytes"),
        ("ipc:///" + "x" * 107, "its path has 108 bytes, it needs 1 to 107"),
        (f"tcp://?key={KEY}", "HOST:PORT"),
        (f"tcp://host?key={KEY}", "HOST:PORT"),
        (f"tcp://:7000?key={KEY}", "HOST:PORT"),
        (f"tcp://host:0?key={KEY}", "1 to 65535"),
        (f"tcp://host:65536?key={KEY}", "1 to 65535"),
        (f"tcp://ho st:7?key={KEY}", "HOST:PORT"),
        (f"tcp://fe80::1:7?key={KEY}", "HOST:PORT"),
        ("tcp://host:7000", "encrypted"),
        ("tcp://host:7000?", "encrypted"),
        (f"tcp://host:7000?kee={KEY}", "encrypted"),
        ("tcp://host:7000?key=", "its key has 0 characters, it needs 40"),
        (f"tcp://host:7000?key={KEY[:-1]}", "39 characters"),
        (f"tcp://host:7000?key={KEY}x", "41 characters"),
        (f"tcp://host:7000?key={'~' * 40}", "not Z85"),
        (f"tcp://host:7000?key={'#' * 40}", "not Z85"),
        (f"tcp://host:7000?key={'%E9' * 40}", "not Z85"),
    ],
)
def test_an_address_that_is_none_says_why(text, why):
    with pytest.raises(errors.BadRequest, match="cannot be connected to") as caught:
        seeds_of([text])
    assert why in str(caught.value)
    assert "an address is for instance" in str(caught.value)


def test_an_empty_list_is_refused():
    with pytest.raises(errors.BadRequest, match="empty"):
        seeds_of([])


# Which addresses there are, when none is named.


def write_peers(tmp_path: Path, content: object) -> None:
    (tmp_path / "mesh").mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "mesh/clients.json").write_text(text)


def test_the_node_of_the_home_comes_first_then_its_peers(tmp_path):
    own = f"ipc://{tmp_path}/run/clients.ipc"
    assert paths.clients_addresses() == [own]
    write_peers(tmp_path, [
        {"node": "00", "address": "tcp://10.0.0.7:7000", "key": KEY},
        {"node": "01", "address": "ipc:///elsewhere", "key": None},
    ])  # fmt: skip

    expected = [own, f"tcp://10.0.0.7:7000?key={KEY}", "ipc:///elsewhere"]
    assert paths.clients_addresses() == paths.clients_addresses(str(tmp_path)) == expected
    found = [Seed(own), Seed("tcp://10.0.0.7:7000", KEY.encode()), Seed("ipc:///elsewhere")]
    assert seeds_of(None) == found


def test_mesh_node_is_the_whole_list(tmp_path, monkeypatch):
    write_peers(tmp_path, [{"node": "00", "address": "ipc:///peer"}])
    monkeypatch.setenv("MESH_NODE", "ipc:///a,ipc:///b")

    assert seeds_of(None) == [Seed("ipc:///a"), Seed("ipc:///b")]
    assert paths.clients_addresses(str(tmp_path))[-1] == "ipc:///peer"


@pytest.mark.parametrize(
    "content",
    ["", "{", "null", "{}", '"x"', [1, None, {}], [{"address": 5, "key": KEY}],
     [{"address": "tcp://h:1", "key": 5}], [{"address": "tcp://h:1"}], [{"address": "nonsense"}]],
)  # fmt: skip
def test_a_list_of_peers_that_is_damaged_names_none(content, tmp_path):
    """The client must reach the node of its home all the same."""
    write_peers(tmp_path, content)

    assert seeds_of(None) == [Seed(f"ipc://{tmp_path}/run/clients.ipc")]


def test_a_program_without_its_own_node_finds_a_peer(peer, tmp_path):
    write_peers(tmp_path, [{"node": "00", "address": peer.address, "key": ""}])

    with connect(timeout=SOON_S) as client:
        assert client.socket("echo")(1) == 1
        assert client.address == peer.address


# Which is next.

A, B, C = (Seed(f"ipc:///{name}") for name in "abc")


def test_a_round_tries_each_then_pauses_longer_each_time():
    route = Route([A, B, C], lambda: 1.0)
    pauses = [route.failed(f"why {n}") for n in range(9 * 3)]

    assert pauses[:8] == [0, 0, ROUND_S, 0, 0, 2 * ROUND_S, 0, 0]
    assert max(pauses) == ROUND_S_MAX
    assert route.seed == A
    assert route.reasons("-") == "ipc:///a: why 24; ipc:///b: why 25; ipc:///c: why 26"


def test_jitter_halves_a_pause_at_most():
    route = Route([A, B], lambda: 0.0)

    assert [route.failed("x"), route.failed("x")] == [0, ROUND_S / 2]


def test_a_good_node_that_fails_is_tried_last_and_the_head_first():
    route = Route([A, B, C], lambda: 1.0)
    route.failed("x")
    assert route.arrived()
    assert route.seed == B

    tried = []
    for _ in range(3):
        assert route.failed("y") == 0
        tried.append(route.seed)
    assert tried == [A, C, B]
    assert route.failed("y") == ROUND_S


def test_arriving_forgets_reasons_and_tells_whether_another_was_given_up():
    route = Route([A, B], lambda: 1.0)
    assert not route.arrived()
    route.failed("x")
    assert route.reasons("now") == "ipc:///a: x; ipc:///b: now"
    assert route.arrived()
    assert not route.arrived()
    assert route.reasons("now") == "ipc:///a: it was not tried yet; ipc:///b: now"


def test_quiet_counts_from_the_first_unanswered_word():
    quiet = Quiet()
    quiet.heard(10)
    quiet.told(12)
    quiet.told(13)
    assert (quiet.since, quiet.next_question(1), quiet.is_asked) == (12, 13, False)

    quiet.asked(13)
    quiet.told(13)
    assert (quiet.since, quiet.next_question(1), quiet.is_asked) == (12, 14, True)

    quiet.heard(14)
    assert (quiet.since, quiet.next_question(1), quiet.is_asked) == (14, 15, False)


# Calls the next node does not know yet.


class Clock:
    """Seconds as a test sets them."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def followed(pending: Pending) -> Call:
    """A call that someone waits for."""
    call = Call(None, make_id(), "x")  # type: ignore[arg-type]
    pending.follow([call])
    return call


def test_doubts_ask_again_less_often_until_patience_ends():
    clock, pending = Clock(), Pending()
    doubts, call = Doubts(pending, clock), followed(pending)
    doubts.begin()
    pauses = []
    while not call._code:
        doubts.add([call._id, call._id])
        if call._code:
            break
        pauses.append(round(doubts.due - clock.now, 3))
        clock.now = doubts.due
        assert doubts.take() == [call._id]
        assert doubts.due == inf

    assert pauses[:3] == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S]
    assert max(pauses) == PAUSE_S_MAX
    assert UNKNOWN_PATIENCE_S <= sum(pauses) <= UNKNOWN_PATIENCE_S + PAUSE_S_MAX
    with pytest.raises(errors.UnknownCall, match="asked for 30 s after"):
        call._outcome()


def test_without_a_move_there_is_no_patience():
    pending = Pending()
    doubts, call = Doubts(pending, Clock()), followed(pending)

    doubts.add([call._id])

    with pytest.raises(errors.UnknownCall, match="it was never accepted there"):
        call._outcome()


def test_nobody_is_asked_about_a_call_whose_handle_is_gone():
    pending = Pending()
    doubts, call = Doubts(pending, Clock()), followed(pending)
    doubts.begin()
    doubts.add([call._id])

    del call

    assert doubts.take() == []


# What travels.


def test_the_mark_again_changes_one_byte_and_stays():
    whole = draft(Kind.SUBMIT, id=make_id(), name=b"x", flags=Flag.FRESH | Flag.KWARGS, body=b"y")
    batch = Batch([], [whole], len(whole))

    flags = []
    for elsewhere in (False, True, False):
        batch.sent_before(elsewhere=elsewhere)
        _, rows = index(seal_frame(list(batch.drafts)))
        flags.append(rows[0].flags)
        assert batch.drafts[0][:12] + batch.drafts[0][13:] == whole[:12] + whole[13:]

    assert flags == [Flag.KWARGS, Flag.KWARGS | AGAIN, Flag.KWARGS | AGAIN]


def test_levels_are_told_as_they_are():
    assert [level_text(1, 0x0101), level_text(2, 0x0203), level_text(3, 0x0303)] == [
        "local 1/1", "quorum 2/3", "all 3/3",
    ]  # fmt: skip
    assert level_text(9, 0x0102) == "level 9 1/2"


@pytest.mark.parametrize("address", [5, [5], [None], b"ipc:///run/x", object()])
def test_an_address_that_is_no_text_is_refused(address):
    with pytest.raises(errors.BadRequest, match="an address is a text, several are a list of them"):
        connect(address)


def test_addresses_may_come_one_by_one():
    assert seeds_of(iter(["ipc:///a", "ipc:///b"])) == [Seed("ipc:///a"), Seed("ipc:///b")]


def test_a_pair_of_keys_that_is_none_is_refused():
    with pytest.raises(errors.BadRequest, match="curve is a pair of keys"):
        connect("ipc:///nowhere", curve=5)


@pytest.mark.parametrize("level", ["local", "quorum", "all", "strict"])
def test_the_wanted_level_is_an_option(client, level):
    asked = client.socket("report").options(ack=level, priority=7)

    assert asked()["options"] == {"ack": level, "priority": 7}


@pytest.mark.parametrize("level", ["", "none", "QUORUM", 2, True, ["all"]])
def test_a_level_that_is_none_is_refused(level):
    with pytest.raises(errors.BadRequest, match="it is one of local, quorum, all, strict"):
        Socket("x").options(ack=level)
