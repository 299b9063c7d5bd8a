"""The join link: real ZeroMQ on 127.0.0.1, a real joiner, and everybody who should not get in."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85 as coding

from meshcode import limits
from meshcode.cli.demo.many.stage import free_port
from meshcode.errors import (
    BadRequest,
    CannotReach,
    InvitationUsed,
    MeshExists,
    NameTaken,
    NotApproved,
    TooManyAttempts,
    WrongFingerprint,
)
from meshcode.trust import admitting, door, folder, handshake, identity
from meshcode.trust.door import join_hosts
from meshcode.trust.invites import Invites
from meshcode.trust.joining import Unanswered, join_mesh
from meshcode.trust.rosterfile import RosterFile
from tests.live.harness import until
from tests.trust.world import Seed, picture, unix_ms, wish


@pytest.fixture
def seed(tmp_path: Path) -> Seed:
    return Seed(tmp_path)


def test_a_node_joins_and_both_sides_know_each_other(seed: Seed, tmp_path: Path):
    home = str(tmp_path / "beta")
    line = seed.invite(now_unix_ms=unix_ms())
    with seed.serving() as open_door:
        mine = join_mesh(home, line, wish(domain="rack2"))

        assert open_door.take_changes() == [("added", mine.node)]
    theirs = RosterFile(home, mine.root_key).load()
    assert identity.load(home) == mine
    assert (mine.mesh, mine.root_key) == (seed.identity.mesh, seed.identity.root_key)
    assert mine.seeds == seed.identity.advertise
    assert seed.roster.members[mine.node] == theirs.members[mine.node] == mine.member()
    assert theirs.digest == seed.roster.digest == seed.file.load().digest
    assert ("joined", mine.node, "beta") in seed.news
    assert sorted(p.name for p in Path(home).iterdir()) == ["mesh"]


def test_what_a_joiner_keeps_is_private_and_holds_no_secret_of_others(seed: Seed, tmp_path: Path):
    home = tmp_path / "beta"
    with seed.serving():
        join_mesh(str(home), seed.invite(now_unix_ms=unix_ms()), wish())

    modes = {name: mode & 0o7777 for name, (mode, _) in picture(home).items()}
    assert modes == {
        "mesh": 0o700, "mesh/invites": 0o700, "mesh/node.key": 0o600, "mesh/roster": 0o600,
        "mesh/self.json": 0o600,
    }  # fmt: skip


def test_nothing_listens_without_an_invitation(seed: Seed):
    """It opens when there is one and shuts when the last is over."""
    open_door = seed.door()
    try:
        assert open_door.handle(1_000_000) == []
        assert open_door.links() == []
        seed.invite(now_unix_ms=1_000_000, ttl_ms=10_000)
        news = open_door.handle(1_001_000)
        assert news == [("open", [f"tcp://127.0.0.1:{seed.port}"], "")]
        assert len(open_door.links()) == 2
        assert open_door.next_due() == 1_002_000
        assert open_door.handle(1_010_000)[0][0] == "shut"
        assert open_door.links() == []
    finally:
        open_door.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", seed.port)) != 0


def test_a_node_has_no_door_before_it_is_given_a_key(seed: Seed):
    path = seed.mesh_folder / folder.ADMIT_KEY
    key = path.read_bytes()
    path.unlink()
    seed.invite(now_unix_ms=1_000_000)

    door = seed.door()
    try:
        assert (door.handle(1_000_000), door.links(), door.take_changes()) == ([], [], [])
        path.touch(0o600)
        assert "is not the JSON" in door.handle(1_001_000)[0][2]
        assert door.handle(1_002_000) == []  # Said once.
        path.write_bytes(key)
        assert door.handle(1_003_000)[0][0] == "open"
    finally:
        door.close()


def test_a_port_that_is_taken_is_said_once_and_tried_again(seed: Seed):
    seed.invite(now_unix_ms=1_000_000)
    other = socket.socket()
    other.bind(("127.0.0.1", seed.port))
    other.listen()
    waiting = seed.door()
    try:
        news = waiting.handle(1_000_000)
        assert news[0][0] == "shut"
        assert "cannot listen" in news[0][2]
        assert waiting.handle(1_001_000) == []
        other.close()
        assert waiting.handle(1_002_000)[0][0] == "open"
    finally:
        other.close()
        waiting.close()


def test_the_second_address_is_tried_when_the_first_is_dead(seed: Seed, tmp_path: Path):
    line = seed.invite(now_unix_ms=unix_ms())
    line = replace(line, hosts=(f"127.0.0.1:{free_port()}", *line.hosts))
    with seed.serving():
        mine = join_mesh(str(tmp_path / "beta"), line, wish(wait_ms=700))

    assert mine.node in seed.roster.members


def test_nobody_there_is_said_with_the_address(seed: Seed, tmp_path: Path):
    line = seed.invite(now_unix_ms=unix_ms())

    with pytest.raises(CannotReach, match=f"127.0.0.1:{seed.port} cannot be reached within 0.3 s"):
        join_mesh(str(tmp_path / "beta"), line, wish(wait_ms=300))
    assert not (tmp_path / "beta").exists()


def test_another_key_at_the_address_is_seen_before_anything_is_said(seed: Seed, tmp_path: Path):
    other = Seed(tmp_path, name="mallory")
    other.invite(now_unix_ms=unix_ms())
    line = replace(seed.invite(now_unix_ms=unix_ms()), hosts=join_hosts(other.identity))
    with other.serving() as wrong, pytest.raises(WrongFingerprint, match="does not prove the key"):
        until(wrong.links, 5, "the door is open")
        join_mesh(str(tmp_path / "beta"), line, wish())

    assert not (tmp_path / "beta").exists()
    assert len(other.roster.members) == 1


def test_two_at_once_with_one_invitation_and_one_gets_in(seed: Seed, tmp_path: Path):
    line = seed.invite(now_unix_ms=unix_ms())
    outcomes: list[object] = []

    def try_it(name: str) -> None:
        try:
            outcomes.append(join_mesh(str(tmp_path / name), line, wish(name)))
        except InvitationUsed as error:
            outcomes.append(error)

    with seed.serving():
        threads = [threading.Thread(target=try_it, args=(name,)) for name in ("b1", "b2", "b3")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sum(isinstance(outcome, InvitationUsed) for outcome in outcomes) == 2
    assert len(seed.roster.members) == 2


def test_another_name_than_the_invitation_is_for_leaves_it_good(seed: Seed, tmp_path: Path):
    invitation = seed.invite(name="sensor7", now_unix_ms=unix_ms())
    with seed.serving():
        with pytest.raises(BadRequest, match="for the name sensor7 and this host is to be beta"):
            join_mesh(str(tmp_path / "h1"), invitation, wish("beta", is_named=True))
        assert not (tmp_path / "h1" / "mesh").exists()

        joined = join_mesh(str(tmp_path / "h1"), invitation, wish("beta"))

    assert joined.name == "sensor7"


def test_a_taken_name_leaves_the_invitation_good(seed: Seed, tmp_path: Path):
    line = seed.invite(now_unix_ms=unix_ms())
    with seed.serving():
        with pytest.raises(NameTaken, match="another --name"):
            join_mesh(str(tmp_path / "beta"), line, wish("alpha"))
        assert not (tmp_path / "beta").exists()
        mine = join_mesh(str(tmp_path / "beta"), line, wish("beta"))

    assert mine.name == "beta"


def test_a_home_in_a_mesh_does_not_join_another(seed: Seed, tmp_path: Path):
    other = Seed(tmp_path, name="gamma")
    line = seed.invite()
    before = picture(Path(other.base))

    with pytest.raises(MeshExists, match=r"belongs to mesh .* as 'gamma' already"):
        join_mesh(other.base, line, wish())
    assert picture(Path(other.base)) == before


def test_a_lost_answer_is_fetched_by_the_same_command(seed: Seed, tmp_path: Path):
    """The seed lets the joiner in and its answer is lost; then it is only asked again."""
    home = str(tmp_path / "beta")
    line = seed.invite(now_unix_ms=unix_ms())
    with seed.serving() as open_door:
        real = open_door._desk

        class Mute:
            changes: list = []

            def __getattr__(self, name):
                return getattr(real, name)

            def answer(self, *arguments):
                reply, news = real.answer(*arguments)
                lost = any(item[0] == "joined" for item in news) or b"answer" in reply[:20]
                return (b"" if lost else reply), news

        open_door._desk = Mute()
        with pytest.raises(Unanswered, match="run the same command again"):
            join_mesh(home, line, wish(wait_ms=400))
        assert not folder.has_mesh(home)
        assert len(seed.roster.members) == 2
        open_door._desk = real
        mine = join_mesh(home, line, wish())

    assert set(seed.roster.members) == {seed.identity.node, mine.node}
    assert sorted(p.name for p in Path(home).iterdir()) == ["mesh"]


def test_an_invitation_of_today_does_not_take_up_what_another_left(seed: Seed, tmp_path: Path):
    """Kept keys belong to one invitation; another line begins with fresh ones."""
    home = tmp_path / "beta"
    staging = home / folder.STAGING
    folder.begin(staging)
    folder.write_json(staging / "joining.json", {"invitation": "00" * 6})
    (staging / folder.NODE_KEY).write_text("rubbish")
    with seed.serving():
        join_mesh(str(home), seed.invite(now_unix_ms=unix_ms()), wish())

    assert sorted(p.name for p in home.iterdir()) == ["mesh"]


@pytest.mark.parametrize("good", [True, False])
def test_a_person_decides_by_the_code(seed: Seed, tmp_path: Path, good: bool):
    line = seed.invite(now_unix_ms=unix_ms(), approve=True)
    told: list[str] = []
    outcome: list[object] = []

    def try_it() -> None:
        try:
            outcome.append(join_mesh(str(tmp_path / "beta"), line, wish(), told.append))
        except NotApproved as error:
            outcome.append(error)

    with seed.serving():
        thread = threading.Thread(target=try_it)
        thread.start()
        book = Invites(seed.base)
        asks = until(lambda: book.pending(line.id), 5, "somebody asks")
        until(lambda: told, 5, "the joiner is told")
        assert len(seed.roster.members) == 1
        book.decide(line.id, asks.key, approved=good)
        thread.join()

    assert asks.name == "beta"
    assert asks.code in told[0]
    assert isinstance(outcome[0], NotApproved) is not good
    assert len(seed.roster.members) == 1 + good
    assert (tmp_path / "beta").exists() == good


# Strangers at the link.


def stranger(context: zmq.Context, seed: Seed, **options) -> zmq.Socket:
    """A link with a fresh key."""
    public, secret = zmq.curve_keypair()
    link = context.socket(zmq.DEALER)
    link.linger = 0
    link.curve_serverkey = seed.identity.public_z85
    link.curve_publickey, link.curve_secretkey = public, secret
    for name, value in options.items():
        setattr(link, name, value)
    link.connect(f"tcp://127.0.0.1:{seed.port}")
    return link


@pytest.fixture
def context():
    found = zmq.Context()
    yield found
    found.destroy(linger=0)


def hello(line) -> bytes:
    return handshake.write("hello", id=line.id, nonce=b"n" * 16)


def test_a_key_of_another_link_is_refused(seed: Seed, context):
    """The proofs are right, and the request came by a link with another key."""
    line = seed.invite(now_unix_ms=unix_ms())
    with seed.serving():
        link = stranger(context, seed)
        request = handshake.write(
            "request", id=line.id, nonce=b"n" * 16, key=b"k" * 32, sign=b"s" * 32, name="x",
            kind="core", domain="", mesh=b"m" * 16, proof=b"p" * 64, mac=b"m" * 32,
        )  # fmt: skip
        link.send(request)
        assert link.poll(5_000)
        reply = handshake.read(link.recv(), "error")[1]

    assert "not that of its link" in reply["text"]


def test_a_message_over_eight_kib_ends_the_connection(seed: Seed, context):
    line = seed.invite(now_unix_ms=unix_ms())
    with seed.serving():
        link = stranger(context, seed, reconnect_ivl=-1)
        link.send(b"x" * (limits.JOIN_MESSAGE_BYTES_MAX + 1))
        assert link.poll(700) == 0
        again = stranger(context, seed)
        again.send(hello(line))
        assert again.poll(5_000)

    assert not any(item[0] == "refused" for item in seed.news)


def test_messages_in_parts_are_dropped_and_counted(seed: Seed, context):
    line = seed.invite(now_unix_ms=unix_ms())
    with seed.serving() as open_door:
        link = stranger(context, seed)
        link.send_multipart([hello(line)] * 3)
        link.send(hello(line))
        assert link.poll(5_000)
        assert open_door.dropped == 1


def test_without_encryption_nobody_is_heard(seed: Seed, context):
    line = seed.invite(now_unix_ms=unix_ms())
    with seed.serving() as open_door:
        until(open_door.links, 5, "the door is open")
        link = context.socket(zmq.DEALER)
        link.linger = 0
        link.connect(f"tcp://127.0.0.1:{seed.port}")
        link.send(hello(line))
        assert link.poll(500) == 0

    assert not any(item[0] == "refused" for item in seed.news)


def test_nobody_gets_in_while_nobody_serves_the_handler(seed: Seed, context):
    """Domain and option 93 make it fail shut: no answer of the handler, no connection."""
    line = seed.invite(now_unix_ms=unix_ms())
    idle = seed.door()
    try:
        assert idle.handle(unix_ms())[0][0] == "open"
        link = stranger(context, seed)
        link.send(hello(line))
        assert idle.link.poll(500) == 0
        until(lambda: idle.handle(unix_ms()) is not None and link.poll(20), 5, "an answer")
    finally:
        idle.close()


def test_the_eleventh_attempt_of_an_address_is_told_to_wait(seed: Seed, tmp_path: Path):
    line = replace(seed.invite(now_unix_ms=unix_ms()), id=b"654321")
    now = unix_ms()
    with seed.serving(clock=lambda: now, attempts_per_minute=2):
        for _ in range(2):
            with pytest.raises(Exception, match="no such invitation"):
                join_mesh(str(tmp_path / "beta"), line, wish())
        with pytest.raises(TooManyAttempts, match="the limit is 2"):
            join_mesh(str(tmp_path / "beta"), line, wish())

    assert not (tmp_path / "beta").exists()


def test_connections_of_an_address_are_counted_too(seed: Seed, tmp_path: Path):
    line = seed.invite(now_unix_ms=unix_ms())
    now = unix_ms()
    with seed.serving(clock=lambda: now) as open_door:
        until(open_door.links, 5, "the door is open")
        for _ in range(limits.JOIN_CONNECTIONS_PER_MINUTE):
            assert open_door._desk.may_knock("127.0.0.1", now)
        with pytest.raises(TooManyAttempts, match="takes no more connections"):
            join_mesh(str(tmp_path / "beta"), line, wish())


@pytest.mark.parametrize(("option", "value"), door.SETTINGS)
def test_every_setting_is_set(seed: Seed, option: int, value):
    """The ones above show what they do; libzmq says of each that it holds."""
    seed.invite(now_unix_ms=unix_ms())
    idle = seed.door()
    write_only = (zmq.ROUTER_MANDATORY,)
    try:
        idle.handle(unix_ms())
        if option in write_only:
            with pytest.raises(zmq.ZMQError):  # An address that nobody has is an error then.
                idle.link.send_multipart([b"nobody", b"x"], zmq.DONTWAIT)
        else:
            assert idle.link.getsockopt(option) == value
    finally:
        idle.close()


def test_hosts_for_a_line_come_from_where_others_reach_the_node(seed: Seed):
    mine = replace(
        seed.identity, join=("tcp://0.0.0.0:9",), advertise=("tcp://10.0.0.5:8", "tcp://m.org:8")
    )

    assert join_hosts(mine) == ("10.0.0.5:9", "m.org:9")
    assert join_hosts(seed.identity) == (f"127.0.0.1:{seed.port}",)


def test_a_node_that_was_evicted_meanwhile_is_not_in_the_next_roster(seed: Seed, tmp_path: Path):
    """What a command wrote into the roster file reaches the door before the next joiner."""
    with seed.serving():
        gone = join_mesh(str(tmp_path / "b"), seed.invite(now_unix_ms=unix_ms()), wish("b"))
        by_command = seed.file.load()
        seed.file.add(
            admitting.evict(by_command, gone.node, seed.admit_key, now_unix_ms=unix_ms())
        )
        mine = join_mesh(str(tmp_path / "c"), seed.invite(now_unix_ms=unix_ms()), wish("c"))

    theirs = RosterFile(str(tmp_path / "c"), mine.root_key).load()
    assert gone.node in theirs.evicted
    assert gone.node not in theirs.members
    assert len(coding.encode(mine.public)) == 40
