"""Everything that can be wrong with a join: each refused exactly, and nothing changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from meshcode import errors, limits
from meshcode.trust import admitting, handshake, signing
from meshcode.trust import line as lines
from meshcode.trust.founding import new_identity
from meshcode.trust.handshake import Transcript
from meshcode.trust.identity import z85
from meshcode.trust.invites import verifier_of
from meshcode.trust.joining import join_mesh
from meshcode.trust.roster import Roster, pack_statements
from meshcode.trust.statements import Entry, Statement, member_body
from meshcode.wire.codec import pack, unpack_map
from tests.trust.world import NOW, NOWHERE, Seed, picture, unix_ms, wish

ADDRESS = "10.1.2.3"


class Joiner:
    """The joiner's side by hand, so that any part of it can be wrong."""

    def __init__(self, seed: Seed, line: lines.Line, desk=None) -> None:
        self.seed, self.line = seed, line
        self.desk = desk or seed.desk()
        self.me = new_identity("beta", "core", "", seed.identity.root_key, NOWHERE)
        self.nonce = b"n" * 16

    def send(self, data: bytes, *, now_unix_ms: int = NOW, key: bytes = b"") -> dict:
        """What the desk answers to a message, as a map."""
        reply, _ = self.desk.answer(data, key or self.me.public, ADDRESS, now_unix_ms)
        return unpack_map(reply)

    def hello(self, **changes) -> bytes:
        """The first message, with other fields."""
        good = handshake.write("hello", id=self.line.id, nonce=self.nonce)
        return pack({**unpack_map(good), **changes})

    def transcript(self, **changes) -> Transcript:
        """What a good joiner has seen after the challenge, with other facts."""
        challenge = self.send(self.hello())
        assert challenge["t"] == "challenge", challenge
        facts = {
            "id": self.line.id, "seed_key": self.line.key, "key": self.me.public,
            "sign_key": self.me.sign.public, "name": "beta", "kind": challenge["kind"],
            "domain": "", "mesh": challenge["mesh"], "nonce": self.nonce,
            "seed_nonce": challenge["nonce"],
        }  # fmt: skip
        return Transcript(**{**facts, **changes})

    def request(self, fields=None, secret: bytes = b"", **changes) -> bytes:
        """The second message: proofs over changed facts, then changed fields."""
        transcript = self.transcript(**changes)
        verifier = verifier_of(secret or self.line.secret)
        good = handshake.write_request(transcript, self.me.sign, verifier)
        return pack({**unpack_map(good), **(fields or {})})


@pytest.fixture
def seed(tmp_path: Path) -> Seed:
    return Seed(tmp_path)


# What arrives at the node that invited.


def message(**changes):
    """A request with other fields, its proofs as they were."""
    return lambda j: j.request(changes)


def proved(**changes):
    """A request for other facts, well proved."""
    return lambda j: j.request(**changes)


def hello(**changes):
    """A hello with other fields."""
    return lambda j: j.hello(**changes)


def flipped(field: str, bit: int = 0):
    """A request in which one bit of a field is turned."""

    def make(j: Joiner) -> bytes:
        fields = unpack_map(j.request())
        data = bytearray(fields[field])
        data[bit // 8] ^= 1 << bit % 8
        return pack({**fields, field: bytes(data)})

    return make


def without(field: str, make):
    """A message that lacks a field."""
    return lambda j: pack({k: v for k, v in unpack_map(make(j)).items() if k != field})


def of_another_seed(j: Joiner) -> bytes:
    """A request that was made for a node with another key."""
    return j.request(seed_key=b"k" * 32)


def replayed_after_restart(j: Joiner) -> bytes:
    """A good request, sent to the desk of the same node after its restart."""
    data = j.request()
    j.desk = j.seed.desk()
    return data


REQUESTS = [
    ("nothing", lambda j: b"", "bad_join", "'v'"),
    ("rubbish", lambda j: b"\xc1\xff", "bad_join", "cannot be read"),
    ("a list", lambda j: pack([1, 2]), "bad_join", "cannot be read"),
    ("a tail", lambda j: j.hello() + b"x", "bad_join", "cannot be read"),
    ("a cut hello", lambda j: j.hello()[:-3], "bad_join", "cannot be read"),
    ("a cut request", lambda j: j.request()[:-1], "bad_join", "cannot be read"),
    ("no version", without("v", hello()), "bad_join", "'v' of a join message is no version"),
    ("a version of text", hello(v="1"), "bad_join", "'v'"),
    ("a later version", hello(v=2), "join_version", "by version 2, this one by 1"),
    ("an absurd version", hello(v=2**64 - 1), "join_version", "by version 18446744073709551615"),
    ("a version below", hello(v=0), "join_version", "by version 0, this one by 1"),
    ("no kind", without("t", hello()), "bad_join", "'t' of a join message is None"),
    ("an unknown kind", hello(t="open"), "bad_join", "expected hello or request"),
    ("a kind of bytes", hello(t=b"hello"), "bad_join", "'t'"),
    ("an answer", hello(t="answer"), "bad_join", "expected hello or request"),
    ("hello without id", without("id", hello()), "bad_join", "'id'.*found NoneType"),
    ("hello with a short id", hello(id=b"1"), "bad_join", "'id'.*6 bytes, found 1 bytes"),
    ("hello with an id of text", hello(id="123456"), "bad_join", "'id'.*found str"),
    ("hello with another id", hello(id=b"654321"), "unknown_invitation", "no such invitation"),
    ("hello without nonce", without("nonce", hello()), "bad_join", "'nonce'"),
    ("hello with a long nonce", hello(nonce=b"n" * 17), "bad_join", "'nonce'.*found 17 bytes"),
    *[
        (f"request without {field}", without(field, message()), "bad_join", f"'{field}'.*NoneType")
        for field in handshake.SHAPES["request"]
    ],
    *[
        (f"request with a number as {field}", message(**{field: 7}), "bad_join", f"'{field}'.*int")
        for field in handshake.SHAPES["request"]
    ],
    *[
        (f"request with a turned bit of {field}", flipped(field), code, match)
        for field, code, match in (
            ("id", "unknown_invitation", "no such"), ("nonce", "bad_join", "proof of the secret"),
            ("key", "bad_join", "not that of its link"),
            ("sign", "bad_join", "proof of the secret"),
            ("mesh", "bad_join", "proof of the secret"), ("mac", "bad_join", "proof of the secret"),
            ("proof", "bad_join", "not signed by its signing key"),
        )
    ],
    ("another name than proved", message(name="gamma"), "bad_join", "proof of the secret"),
    ("another class than proved", message(kind="edge"), "bad_join", "proof of the secret"),
    ("another domain than proved", message(domain="x"), "bad_join", "proof of the secret"),
    ("another secret", lambda j: j.request(secret=b"s" * 21), "bad_join", "proof of the secret"),
    ("proved for another seed", of_another_seed, "bad_join", "proof of the secret"),
    ("replayed after a restart", replayed_after_restart, "bad_join", "proof of the secret"),
    ("an old nonce of the seed", proved(seed_nonce=b"o" * 16), "bad_join", "proof of the secret"),
    ("another mesh", proved(mesh=b"m" * 16), "bad_join", "is for mesh 6d6d6d6d, this is mesh"),
    ("another class", proved(kind="witness"), "bad_join", "class witness, the invitation for core"),
    ("an unknown class", proved(kind="boss"), "bad_join", "'kind'.*'boss', expected one of core"),
    ("a name with a space", proved(name="a b"), "bad_join", "'name'.*is not a name"),
    ("an empty name", proved(name=""), "bad_join", "'name'.*is not a name"),
    ("a name with an escape", proved(name="a\x1b[2J"), "bad_join", "'name'.*is not a name"),
    ("a name of 65", proved(name="n" * 65), "bad_join", "'name'.*is not a name"),
    ("a name of 2000", proved(name="n" * 2000), "bad_join", "'name'.*has 2000 characters"),
    ("a domain with a slash", proved(domain="a/b"), "bad_join", "'domain'.*is not a name"),
    ("a name that is taken", proved(name="alpha"), "name_taken",
     "called alpha is in the mesh already.*still good.*another --name"),
    ("a signing key of another", proved(sign_key=b"s" * 32), "bad_join", "not signed by"),
    ("a zero signing key", proved(sign_key=bytes(32)), "bad_join", "not signed by"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "code", "match"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS]
)
def test_a_wrong_message_is_refused_exactly_and_changes_nothing(seed: Seed, make, code, match):
    joiner = Joiner(seed, seed.invite())
    data = make(joiner)
    before, roster = picture(seed.mesh_folder), seed.roster.pack()

    reply = joiner.send(data)

    assert (reply["t"], reply["code"]) == ("error", code), reply
    with pytest.raises(errors.MeshError, match=f"(?s){match}"):
        raise handshake.error_of(reply)
    assert picture(seed.mesh_folder) == before
    assert seed.roster.pack() == roster
    assert joiner.send(joiner.request())["t"] == "answer"  # The invitation is still good.


def test_an_invitation_expires_by_the_clock_of_who_made_it(seed: Seed):
    """One millisecond decides; the joiner's clock is in no message at all."""
    line = seed.invite(ttl_ms=60_000)
    joiner = Joiner(seed, line)
    data = joiner.request()
    before = picture(seed.mesh_folder)

    late = joiner.send(data, now_unix_ms=NOW + 60_000)
    later = joiner.send(joiner.hello(), now_unix_ms=NOW + 75_000)

    assert late["code"] == later["code"] == "invitation_expired"
    assert "expired 0 s ago by the clock of alpha" in late["text"]
    assert "expired 15 s ago" in later["text"]
    assert picture(seed.mesh_folder) == before
    assert joiner.send(data, now_unix_ms=NOW + 59_999)["t"] == "answer"


def test_an_invitation_is_good_for_one_key(seed: Seed):
    line = seed.invite()
    first, second = Joiner(seed, line), Joiner(seed, line)
    kept = second.request()
    assert first.send(first.request())["t"] == "answer"
    before = picture(seed.mesh_folder)

    for data in (kept, second.hello()):
        reply = second.send(data, now_unix_ms=NOW + 3_000)
        assert reply["code"] == "invitation_used"
        assert "used 3 s ago, and is good once" in reply["text"]
    assert picture(seed.mesh_folder) == before
    assert len(seed.roster.members) == 2


def test_a_lost_answer_is_given_again_to_the_same_key(seed: Seed):
    """Also when the invitation is over by then; the roster and all files stay as they are."""
    joiner = Joiner(seed, seed.invite())
    data = joiner.request()
    first = joiner.send(data)
    before = picture(seed.mesh_folder)

    again = joiner.send(data, now_unix_ms=NOW + 3_600_000)

    assert again == first
    assert picture(seed.mesh_folder) == before


def test_a_crash_between_the_two_writes_is_mended_by_the_same_key(seed: Seed):
    """The invitation was recorded as used and the member was not yet added."""
    line = seed.invite()
    joiner = Joiner(seed, line)
    data = joiner.request()
    seed.invites.use(seed.invites.load(line.id), joiner.me.public, NOW)

    assert joiner.send(data)["t"] == "answer"
    assert joiner.me.node in seed.file.load().members


def test_a_used_invitation_does_not_change_a_member(seed: Seed):
    """The same key and secret, other facts."""
    joiner = Joiner(seed, seed.invite())
    joiner.send(joiner.request())
    before = picture(seed.mesh_folder)

    reply = joiner.send(joiner.request(name="gamma"))

    assert reply["code"] == "bad_join"
    assert "is in the mesh as beta, with other facts" in reply["text"]
    assert picture(seed.mesh_folder) == before


def test_an_evicted_key_does_not_come_back(seed: Seed):
    joiner = Joiner(seed, seed.invite())
    data = joiner.request()
    joiner.send(data)
    seed.roster.merge(
        admitting.evict(seed.roster, joiner.me.node, seed.admit_key, now_unix_ms=NOW)
    )
    joiner.line = seed.invite()

    for request in (data, joiner.request()):
        reply = joiner.send(request)
        assert reply["code"] == "not_allowed"
        assert "was evicted as beta, for good" in reply["text"]


def test_an_invitation_for_a_name_is_good_for_no_other(seed: Seed):
    joiner = Joiner(seed, seed.invite(name="sensor7", kind="edge"))
    before = picture(seed.mesh_folder)

    reply = joiner.send(joiner.request())

    assert reply["code"] == "bad_join"
    assert "the name beta, the invitation for sensor7" in reply["text"]
    assert picture(seed.mesh_folder) == before
    assert joiner.send(joiner.request(name="sensor7"))["t"] == "answer"
    assert seed.roster.by_name("sensor7").kind == "edge"


def test_a_node_whose_admitting_key_ended_admits_nobody(seed: Seed):
    joiner = Joiner(seed, seed.invite())
    data = joiner.request()
    seed.roster.merge(
        admitting.evict(seed.roster, seed.identity.node, seed.root_key, now_unix_ms=NOW)
    )
    before = picture(seed.mesh_folder)

    assert joiner.send(data)["code"] == "not_allowed"
    assert picture(seed.mesh_folder) == before


def test_ten_attempts_a_minute_of_one_address(seed: Seed):
    """The eleventh is refused with both numbers, also a right one; another address goes on."""
    joiner = Joiner(seed, seed.invite(ttl_ms=120_000))
    for _ in range(10):
        assert joiner.send(joiner.hello(id=b"654321"))["code"] == "unknown_invitation"

    reply = joiner.send(joiner.hello(), now_unix_ms=NOW + 20_000)

    assert reply["code"] == "too_many_attempts"
    assert "10 attempts to join came from 10.1.2.3 within a minute, the limit is 10" in (
        reply["text"]
    )
    assert "try again in 40 s" in reply["text"]
    elsewhere, _ = joiner.desk.answer(joiner.hello(), joiner.me.public, "10.9.9.9", NOW)
    assert unpack_map(elsewhere)["t"] == "challenge"
    assert joiner.send(joiner.hello(), now_unix_ms=NOW + 60_001)["t"] == "challenge"


def test_a_flood_is_met_with_silence_and_little_memory(seed: Seed):
    joiner = Joiner(seed, seed.invite())
    desk = joiner.desk
    replies = [
        desk.answer(joiner.hello(), joiner.me.public, ADDRESS, NOW)[0]
        for _ in range(limits.JOIN_MESSAGES_PER_MINUTE + 5)
    ]

    assert replies[-5:] == [b""] * 5
    assert replies[limits.JOIN_MESSAGES_PER_MINUTE - 1] != b""
    for number in range(limits.JOIN_ADDRESSES_MAX + 100):
        desk.answer(b"", joiner.me.public, f"host{number}", NOW)
    assert len(desk._rates.by_address) == limits.JOIN_ADDRESSES_MAX


# What arrives at the joiner: a node that has the right key and says wrong things.


class Liar:
    """A desk whose messages of one kind are changed on their way out."""

    def __init__(self, desk, kind: str, change) -> None:
        self.desk, self.kind, self.change = desk, kind, change
        self.changes: list = []

    def may_knock(self, address: str, now_unix_ms: int) -> bool:
        return self.desk.may_knock(address, now_unix_ms)

    def answer(self, data: bytes, key: bytes, address: str, now_unix_ms: int):
        reply, news = self.desk.answer(data, key, address, now_unix_ms)
        if unpack_map(reply).get("t") == self.kind:
            reply = self.change(self.desk, unpack_map(reply), unpack_map(data))
        return reply, news


def said(**changes):
    """Other fields, proofs as they were."""
    return lambda desk, reply, request: pack({**reply, **changes})


def lacks(field: str):
    """One field less."""
    return lambda desk, reply, request: pack({k: v for k, v in reply.items() if k != field})


def turned(field: str):
    """One bit of a field."""

    def change(desk, reply, request) -> bytes:
        data = bytearray(reply[field])
        data[len(data) // 2] ^= 4
        return pack({**reply, field: bytes(data)})

    return change


def well_proved(**changes):
    """An answer with other facts by somebody who knows the secret."""

    def change(desk, reply, request) -> bytes:
        verifier = desk.invites.load(request["id"]).verifier
        nonce = desk._nonce(request["id"], request["key"], request["nonce"])
        transcript = handshake.transcript_of(request, desk.identity.public, nonce)
        facts = {"root": reply["root"], "roster": reply["roster"], "seeds": reply["seeds"]}
        facts |= {k: v(desk, request) if callable(v) else v for k, v in changes.items()}
        mac = handshake.answer_mac(
            verifier, transcript, facts["root"], facts["roster"], facts["seeds"]
        )
        return handshake.write("answer", mac=mac, **facts)

    return change


def without_joiner(desk, request) -> bytes:
    """The roster as it was before."""
    entry = desk.roster.entry_of(desk.identity.node)
    key = {desk.admit_key.public}
    return pack_statements(
        desk.roster.root_key, delegations=desk.roster.delegations_for_keys(key), chains=[(entry,)]
    )


def without_seed(desk, request) -> bytes:
    """A roster in which the node that invited is not."""
    entry = desk.roster.entry_of(signing.node_id(request["key"]))
    key = {desk.admit_key.public}
    return pack_statements(
        desk.roster.root_key, delegations=desk.roster.delegations_for_keys(key), chains=[(entry,)]
    )


def with_another_class(desk, request) -> bytes:
    """The joiner is let in as something else than it asked."""
    member = replace(desk.roster.members[signing.node_id(request["key"])], kind="witness")
    body = member_body(desk.roster.mesh, desk.admit_key.public, member)
    entry = Entry(member, b"", Statement(body, desk.admit_key.sign(body)))
    roster = Roster(desk.roster.root_key)
    roster.merge(without_joiner(desk, request))
    roster.merge(pack_statements(desk.roster.root_key, chains=[(entry,)]))
    return roster.pack()


def of_stranger(desk, request) -> bytes:
    """The joiner's entry is signed by a key that may not admit."""
    stranger = signing.make_key()
    member = desk.roster.members[signing.node_id(request["key"])]
    body = member_body(desk.roster.mesh, stranger.public, member)
    entry = Entry(member, stranger.public, Statement(body, stranger.sign(body)))
    packed = unpack_map(without_joiner(desk, request))
    return pack({**packed, "members": [*packed["members"], [list(entry.statement)]]})


ANSWERS = [
    ("no challenge", "challenge", lambda *_: b"\xc1", errors.BadJoin, "cannot be read"),
    ("a challenge of a later version", "challenge", said(v=9), errors.JoinVersion, "by version 9"),
    ("an answer first", "challenge", said(t="answer"), errors.BadJoin, "expected challenge"),
    ("a challenge without nonce", "challenge", lacks("nonce"), errors.BadJoin, "'nonce'"),
    ("a challenge without mesh", "challenge", lacks("mesh"), errors.BadJoin, "'mesh'"),
    ("a challenge with a class of bytes", "challenge", said(kind=b"core"), errors.BadJoin, "kind"),
    ("a challenge for another class", "challenge", said(kind="edge"), errors.BadJoin,
     "class edge, the invitation for core"),
    ("a challenge of another mesh", "challenge", said(mesh=b"m" * 16), errors.BadJoin, "for mesh"),
    ("another nonce", "challenge", turned("nonce"), errors.BadJoin, "proof of the secret"),
    ("a cut answer", "answer", lambda d, reply, q: pack(reply)[:-1], errors.BadJoin, "cannot be"),
    ("an answer without mac", "answer", lacks("mac"), errors.BadJoin, "'mac'"),
    ("an answer without roster", "answer", lacks("roster"), errors.BadJoin, "'roster'"),
    ("an answer with a roster of text", "answer", said(roster="x"), errors.BadJoin, "'roster'"),
    ("a turned bit of the mac", "answer", turned("mac"), errors.BadJoin, "does not prove"),
    ("a turned bit of the roster", "answer", turned("roster"), errors.BadJoin, "does not prove"),
    ("a turned bit of the root key", "answer", turned("root"), errors.BadJoin, "does not prove"),
    ("other seeds", "answer", said(seeds=["tcp://evil:1"]), errors.BadJoin, "does not prove"),
    ("seeds of numbers", "answer", said(seeds=[1]), errors.BadJoin, "'seeds'"),
    ("too many seeds", "answer", said(seeds=["tcp://a:1"] * 17), errors.BadJoin, "'seeds'"),
    ("a seed with a space", "answer", well_proved(seeds=["tcp://a :1"]), errors.BadJoin, "'seeds'"),
    ("another root key", "answer", well_proved(root=b"r" * 32), errors.BadJoin, "another mesh"),
    ("a roster of rubbish", "answer", well_proved(roster=b"\xc1"), errors.BadRoster, "cannot be"),
    ("a roster without this node", "answer", well_proved(roster=without_joiner), errors.BadRoster,
     "does not hold this node as it asked"),
    ("a roster without the seed", "answer", well_proved(roster=without_seed), errors.BadRoster,
     "the node that invited is no member"),
    ("another class than asked", "answer", well_proved(roster=with_another_class),
     errors.BadRoster, "does not hold this node as it asked"),
    ("an entry of a stranger", "answer", well_proved(roster=of_stranger), errors.BadRoster,
     "member 2 of 2: it is signed by"),
    ("waiting with another code", "answer", lambda *_: handshake.write("waiting", code="AAAAAA"),
     errors.BadJoin, "the code to approve is another"),
    ("an error of an unknown code", "answer", lambda *_: handshake.write("error", code="?",
     text="no\x1b[2J"), errors.BadJoin, r"no \[2J"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "change", "error", "match"), [row[1:] for row in ANSWERS],
    ids=[row[0] for row in ANSWERS],
)  # fmt: skip
def test_a_wrong_answer_leaves_nothing_behind(seed: Seed, tmp_path, kind, change, error, match):
    line = seed.invite(now_unix_ms=unix_ms())
    home = tmp_path / "beta"
    with seed.serving() as door:
        door._desk = Liar(door._desk, kind, change)

        with pytest.raises(error, match=f"(?s){match}"):
            join_mesh(str(home), line, wish())

    assert not home.exists()


def test_the_tables_are_long_enough():
    assert len(REQUESTS) + len(ANSWERS) >= 60
    assert len(z85(b"k" * 32)) == 40
