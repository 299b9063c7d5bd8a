"""The roster: merging, and who counts as a member."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from meshcode import limits
from meshcode.errors import BadRoster
from meshcode.trust import admitting, signing
from meshcode.trust.founding import Place, new_identity
from meshcode.trust.roster import Roster, pack_statements
from meshcode.trust.signing import from_seed
from meshcode.trust.statements import Entry, Member, Statement, member_body
from meshcode.wire.codec import pack, unpack_map

NOW = 1_700_000_000_000
ROOT = from_seed(b"r" * 32)
ADMIT = from_seed(b"a" * 32)
OTHER_ADMIT = from_seed(b"b" * 32)
STRANGER = from_seed(b"x" * 32)


def person(name: str, kind: str = "core"):
    """An identity with fresh keys in the mesh of ROOT."""
    return new_identity(name, kind, "", ROOT.public, Place((), (), ()))


ANN, BOB, CID, DAN = (person(name) for name in ("ann", "bob", "cid", "dan"))
EDGE = person("edgy", "edge")


def founded() -> Roster:
    """ann holds the admitting key and is a member; so is bob, by her."""
    roster = Roster(ROOT.public)
    roster.merge(admitting.delegate(ROOT, ADMIT.public, ANN.node, now_unix_ms=NOW))
    for who in (ANN, BOB):
        roster.merge(admitting.admit(roster, who.member(), ADMIT))
    return roster


def rotated(roster: Roster, who, key=ADMIT, now_unix_ms: int = NOW):
    """`who` with new keys, and the statement of it."""
    new, draft = admitting.rotate(who, roster, now_unix_ms=now_unix_ms)
    return new, admitting.countersign(roster, draft, key, now_unix_ms=now_unix_ms)


def chain_of(*pairs) -> bytes:
    """Packed member statements made by hand: (member, admitting key, old key or None)."""
    chain = []
    for member, by, old in pairs:
        body = member_body(signing.mesh_id(ROOT.public), by.public, member)
        statement = Statement(body, by.sign(body), old.sign(body) if old else b"")
        chain.append(Entry(member, by.public, statement))
    return pack_statements(ROOT.public, chains=[tuple(chain)])


def check_refused(roster: Roster, packed: bytes, match: str) -> None:
    """Expect that the roster refuses it, says why, and stays as it was."""
    before = (roster.pack(), roster.digest, dict(roster.members), dict(roster.evicted))
    with pytest.raises(BadRoster, match=match):
        roster.merge(packed)
    assert (roster.pack(), roster.digest, dict(roster.members), dict(roster.evicted)) == before


def test_members_are_found_by_node_key_and_name():
    roster = founded()

    assert set(roster.members) == {ANN.node, BOB.node}
    assert roster.by_key(BOB.public, NOW) == BOB.member()
    assert roster.by_name("bob") == BOB.member()
    assert roster.by_key(CID.public, NOW) is None


def test_merging_says_what_became_otherwise():
    roster, copy = founded(), Roster(ROOT.public)

    assert copy.merge(roster.pack()) == sorted([("added", ANN.node), ("added", BOB.node)],
                                               key=lambda change: change[1])  # fmt: skip
    assert copy.merge(roster.pack()) == []
    assert (copy.digest, copy.pack()) == (roster.digest, roster.pack())


def test_an_evicted_one_is_nobody_for_good_whatever_comes_late():
    roster = founded()
    before = roster.pack()
    _, late = rotated(roster, BOB)

    changes = roster.merge(
        admitting.evict(roster, BOB.node, ADMIT, now_unix_ms=NOW, reason="lost\nlaptop")
    )

    assert changes == [("evicted", BOB.node)]
    assert roster.merge(before) == []
    assert roster.merge(late) == []
    assert roster.by_key(BOB.public, NOW) is None
    assert BOB.node not in roster.members
    assert roster.evicted[BOB.node].reason == "lost laptop"
    assert roster.eviction_of_key(BOB.public).name == "bob"


def test_the_evicted_can_check_the_statement_that_is_sent_to_them():
    roster = founded()
    theirs = Roster(ROOT.public)
    theirs.merge(roster.pack())
    roster.merge(admitting.evict(roster, BOB.node, ADMIT, now_unix_ms=NOW))

    assert theirs.merge(roster.pack_eviction(BOB.node)) == [("evicted", BOB.node)]


def test_an_eviction_reaches_a_node_that_never_heard_of_the_evicted():
    roster, fresh = founded(), Roster(ROOT.public)
    roster.merge(admitting.evict(roster, BOB.node, ADMIT, now_unix_ms=NOW))

    assert fresh.merge(roster.pack_eviction(BOB.node)) == [("evicted", BOB.node)]
    fresh.merge(chain_of((BOB.member(), ADMIT, None)))
    assert BOB.node not in fresh.members


def test_both_keys_are_good_for_a_day_after_a_rotation():
    roster = founded()
    new, statement = rotated(roster, BOB)

    assert roster.merge(statement) == [("changed", BOB.node)]
    end = NOW + limits.KEY_OVERLAP_MS
    assert new.node == BOB.node != signing.node_id(new.public)
    assert roster.by_key(new.public, NOW).version == 2
    assert roster.by_key(BOB.public, end - 1).node == BOB.node
    assert roster.by_key(BOB.public, end) is None


def test_an_edge_node_keeps_its_old_key_for_thirty_days():
    roster = founded()
    roster.merge(admitting.admit(roster, EDGE.member(), ADMIT))
    _, statement = rotated(roster, EDGE)
    roster.merge(statement)

    end = NOW + 30 * 24 * 3600 * 1000
    assert roster.by_key(EDGE.public, end - 1) is not None
    assert roster.by_key(EDGE.public, end) is None


def test_a_fresh_node_checks_a_chain_of_rotations_from_its_beginning():
    roster, fresh = founded(), Roster(ROOT.public)
    who = BOB
    for _ in range(3):
        who, statement = rotated(roster, who)
        roster.merge(statement)

    fresh.merge(roster.pack())

    assert fresh.by_key(who.public, NOW).version == 4
    assert fresh.digest == roster.digest


def test_the_key_of_a_node_that_the_root_evicted_admits_nobody_more():
    """Also when it dates its entry back: only what the eviction lists goes on counting."""
    roster = founded()
    admitted_in_secret = chain_of((CID.member(), ADMIT, None))
    roster.merge(admitting.evict(roster, ANN.node, ROOT, now_unix_ms=NOW))

    assert set(roster.members) == {BOB.node}
    assert roster.merge(admitted_in_secret) == []
    assert CID.node not in roster.members
    assert not roster.may_admit(ADMIT.public)


def test_who_was_let_in_by_a_stolen_key_goes_when_the_eviction_comes():
    """The other order: the entry was taken in before the eviction was known."""
    roster, other = founded(), founded()
    other.merge(chain_of((CID.member(), ADMIT, None)))
    statement = admitting.evict(roster, ANN.node, ROOT, now_unix_ms=NOW)
    roster.merge(statement)

    assert set(other.merge(statement)) == {("evicted", ANN.node), ("evicted", CID.node)}
    assert other.digest == roster.digest


def test_the_smallest_body_wins_where_two_entries_claim_one_place():
    one = replace(CID.member(), domain="a")
    two = replace(CID.member(), domain="b")
    left, right = founded(), founded()
    left.merge(chain_of((one, ADMIT, None)))
    left.merge(chain_of((two, ADMIT, None)))
    right.merge(chain_of((two, ADMIT, None)))
    right.merge(chain_of((one, ADMIT, None)))

    assert left.members == right.members
    assert left.digest == right.digest


def test_a_key_that_two_members_show_belongs_to_whose_first_key_it_was():
    roster = founded()
    thief = replace(
        BOB.member(), version=2, old_key=BOB.public, old_key_until_ms=NOW + 1, key=ANN.public
    )
    roster.merge(chain_of((BOB.member(), ADMIT, None), (thief, ADMIT, BOB.sign)))

    assert roster.by_key(ANN.public, NOW).node == ANN.node


def second(**changes) -> Member:
    """bob's second entry with new keys, made by hand."""
    changes = {"key": b"n" * 32, "old_key": BOB.public, "old_key_until_ms": NOW, **changes}
    return replace(BOB.member(), version=2, **changes)


FIRST = (BOB.member(), ADMIT, None)
BAD_CHAINS = [
    ("a stranger's signature", [(CID.member(), STRANGER, None)], "never let admit"),
    ("a second key that is not delegated", [(CID.member(), OTHER_ADMIT, None)], "never let admit"),
    ("a rotation that the old key did not sign", [FIRST, (second(), ADMIT, STRANGER)],
     "is not signed by the key of version 1"),
    ("a rotation without the old signature", [FIRST, (second(), ADMIT, None)], "is not signed by"),
    ("a rotation that nobody admits", [FIRST, (second(), STRANGER, BOB.sign)], "never let admit"),
    ("a first entry with an old signature", [(CID.member(), ADMIT, BOB.sign)], "expected 1 with"),
    ("a chain that begins later", [(second(), ADMIT, BOB.sign)], "begins with version 2"),
    ("a version left out", [FIRST, (replace(second(), version=3), ADMIT, BOB.sign)], "not follow"),
    ("another old key", [FIRST, (second(old_key=b"o" * 32), ADMIT, BOB.sign)], "does not follow"),
    ("another name", [FIRST, (second(name="bert"), ADMIT, BOB.sign)], "changes node, name"),
    ("another class", [FIRST, (second(kind="edge"), ADMIT, BOB.sign)], "changes node, name"),
    ("another node", [FIRST, (second(node=b"n" * 16), ADMIT, BOB.sign)], "changes node, name"),
    ("an id that is not of the key", [(replace(CID.member(), node=b"n" * 16), ADMIT, None)],
     "does not belong to the key"),
    ("an unknown class", [(replace(CID.member(), kind="boss"), ADMIT, None)], "field 'kind'"),
    ("a name with a space", [(replace(CID.member(), name="a b"), ADMIT, None)], "field 'name'"),
    ("an empty name", [(replace(CID.member(), name=""), ADMIT, None)], "field 'name'"),
    ("a long name", [(replace(CID.member(), name="n" * 65), ADMIT, None)], "field 'name'"),
    ("a domain with a slash", [(replace(CID.member(), domain="a/b"), ADMIT, None)], "'domain'"),
    ("version 0", [(replace(CID.member(), version=0), ADMIT, None)], "field 'version'"),
    ("a version over the limit", [(replace(CID.member(), version=65), ADMIT, None)], "'version'"),
    ("a short key", [(replace(CID.member(), key=b"k"), ADMIT, None)], "field 'key'"),
    ("a short signing key", [(replace(CID.member(), sign_key=b"k"), ADMIT, None)], "field 'sign'"),
    ("an old key in a first entry", [(replace(CID.member(), old_key=b"o" * 32), ADMIT, None)],
     "field 'old'"),
    ("an end of no old key", [(replace(CID.member(), old_key_until_ms=5), ADMIT, None)], "'until'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("chain", "match"), [row[1:] for row in BAD_CHAINS], ids=[row[0] for row in BAD_CHAINS]
)
def test_a_bad_chain_changes_nothing_and_is_named(chain, match: str):
    check_refused(founded(), chain_of(*chain), f"member 1 of 1: .*{match}")


def changed(packed: bytes, **fields) -> bytes:
    """A packed roster with other fields."""
    return pack({**unpack_map(packed), **fields})


GOOD = founded().pack()
EVICTION = unpack_map(admitting.evict(founded(), BOB.node, ADMIT, now_unix_ms=NOW))["evictions"][0]
DELEGATION = unpack_map(GOOD)["delegations"][0]
MEMBERS = unpack_map(GOOD)["members"]


def flipped(statement: list[bytes], part: int, bit: int) -> list[bytes]:
    """A statement with one bit of one part turned."""
    data = bytearray(statement[part])
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    return [bytes(data) if n == part else item for n, item in enumerate(statement)]


FOREIGN = Roster(STRANGER.public).pack()
BAD_ROSTERS = [
    ("no bytes", b"", "format None"),
    ("rubbish", b"\xc1", "cannot be read"),
    ("a list", pack([1]), "cannot be read"),
    ("a tail", GOOD + b"\x00", "cannot be read"),
    ("cut short", GOOD[:-1], "cannot be read"),
    ("another mesh", FOREIGN, "a roster of mesh"),
    ("a later format", changed(GOOD, f=2), "format 2, this version reads 1"),
    ("a format that is true", changed(GOOD, f=True), "format True"),
    ("no root", changed(GOOD, root=None), "root must be 32 bytes"),
    ("members that are a map", changed(GOOD, members={}), "'members' of a roster must be a list"),
    ("members that are missing", changed(GOOD, members=None), "found NoneType"),
    ("an empty chain", changed(GOOD, members=[[]]), "list of 1 to"),
    ("a chain of numbers", changed(GOOD, members=[[1]]), "no statement"),
    ("a statement of two", changed(GOOD, evictions=[EVICTION[:2]]), "no statement"),
    ("a short signature", changed(GOOD, evictions=[[EVICTION[0], b"s", b""]]), "64 bytes"),
    ("a foreign signature", changed(GOOD, evictions=[[EVICTION[0], b"s" * 64, b""]]),
     "eviction 1 of 1: its signature is not that of the admitting key"),
    ("an old signature of an eviction", changed(GOOD, evictions=[[*EVICTION[:2], b"s" * 64]]),
     "has no place here"),
    ("a member as a delegation", changed(GOOD, delegations=[MEMBERS[0][0]]), "field 't'"),
    ("an eviction as a member", changed(GOOD, members=[[EVICTION]]), "field 't' is 'eviction'"),
    ("a delegation by the admitting key",
     changed(GOOD, delegations=[[DELEGATION[0], ADMIT.sign(DELEGATION[0]), b""]]),
     "delegation 1 of 1: its signature is not that of the root key"),
    ("no delegations", pack({**unpack_map(GOOD), "root": ROOT.public, "delegations": None}),
     "'delegations'"),
    ("too many delegations", changed(GOOD, delegations=[DELEGATION] * 65), "found 65"),
    ("too large", b"\x00" * (limits.ROSTER_BYTES_MAX + 1), "is over the limit"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("packed", "match"), [row[1:] for row in BAD_ROSTERS], ids=[row[0] for row in BAD_ROSTERS]
)
def test_a_bad_roster_changes_nothing_and_says_why(packed: bytes, match: str):
    check_refused(founded(), packed, match)


def test_one_bad_entry_among_good_ones_changes_nothing():
    roster = founded()
    good = admitting.admit(roster, CID.member(), ADMIT)
    bad = [flipped(unpack_map(chain_of((DAN.member(), ADMIT, None)))["members"][0][0], 1, 9)]
    members = [*unpack_map(good)["members"], bad]

    check_refused(roster, changed(good, members=members), "member 2 of 2")


def test_any_turned_bit_of_any_statement_changes_nothing():
    """Known statements too: they are taken as known only when all their bytes are."""
    random = Random(7)
    for _ in range(300):
        part = random.choice(("delegations", "evictions", "members"))
        statement = {"delegations": DELEGATION, "evictions": EVICTION, "members": MEMBERS[0][0]}
        turned = flipped(statement[part], random.randrange(2), random.randrange(4096))
        packed = changed(GOOD, **{part: [[turned]] if part == "members" else [turned]})
        check_refused(founded(), packed, "nothing was changed|cannot be read")


@settings(max_examples=300)
@given(some.binary(max_size=400))
def test_hostile_bytes_are_refused(data: bytes):
    check_refused(ROSTER, data, "nothing was changed")


ROSTER = founded()


@settings(max_examples=300)
@given(some.data())
def test_hostile_shapes_are_refused(data):
    """Plain data in every place of a roster: nothing but BadRoster, nothing changed."""
    junk = some.recursive(
        some.none() | some.booleans() | some.integers(-(2**63), 2**63) | some.binary(max_size=70)
        | some.text(max_size=9) | some.floats(),
        lambda inner: some.lists(inner, max_size=4)
        | some.dictionaries(some.text(max_size=5), inner, max_size=3),
        max_leaves=12,
    )  # fmt: skip
    part = data.draw(some.sampled_from(["delegations", "evictions", "members", "root", "f"]))
    value = data.draw(junk.filter(lambda v: v not in ([], 1)))

    check_refused(ROSTER, changed(GOOD, **{part: value}), "nothing was changed")


def everything() -> list[bytes]:
    """Many statements about few nodes, with forks, evictions and revoked keys among them."""
    roster = founded()
    found = [
        admitting.delegate(ROOT, ADMIT.public, ANN.node, now_unix_ms=NOW),
        admitting.delegate(ROOT, OTHER_ADMIT.public, BOB.node, now_unix_ms=NOW),
    ]
    roster.merge(found[1])
    found += [admitting.admit(roster, who.member(), ADMIT) for who in (ANN, BOB, CID, DAN)]
    for packed in found:
        roster.merge(packed)
    found += [rotated(roster, CID, key)[1] for key in (ADMIT, OTHER_ADMIT, ADMIT)]
    new, statement = rotated(roster, DAN)
    roster.merge(statement)
    found += [statement, rotated(roster, new, OTHER_ADMIT)[1]]
    found.append(admitting.evict(roster, CID.node, OTHER_ADMIT, now_unix_ms=NOW))
    found.append(admitting.evict(roster, CID.node, ADMIT, now_unix_ms=NOW + 1))
    found.append(admitting.evict(roster, ANN.node, ROOT, now_unix_ms=NOW))
    return found


def test_nodes_that_hear_everything_in_any_order_show_the_same():
    """Statements before what they hang on are refused; gossip brings them again."""
    statements = everything()
    outcomes = set()
    for seed in range(60):
        random = Random(seed)
        nodes = [Roster(ROOT.public) for _ in range(3)]
        for roster in nodes:
            order = random.sample(statements, len(statements))
            for packed in order:
                take(roster, packed)
        for _ in range(4):
            for roster in random.sample(nodes, 3):
                for other in nodes:
                    roster.merge(other.pack())
            for packed in statements:
                take(random.choice(nodes), packed)
        for roster in nodes * 2:
            for other in nodes:
                roster.merge(other.pack())
        shown = {(r.digest, frozenset(r.members.values()), frozenset(r.evicted)) for r in nodes}
        assert len(shown) == 1, seed
        outcomes |= shown

    assert len(outcomes) == 1


def take(roster: Roster, packed: bytes) -> None:
    """Merge what may hang on something not yet known; then it comes again."""
    with suppress(BadRoster):
        roster.merge(packed)


def test_a_roster_is_bounded():
    """By its number of delegations, however they arrive."""
    roster = Roster(ROOT.public)
    for number in range(limits.ROSTER_DELEGATIONS_MAX):
        key = number.to_bytes(32, "big")
        roster.merge(admitting.delegate(ROOT, key, ANN.node, now_unix_ms=NOW))

    check_refused(
        roster,
        admitting.delegate(ROOT, b"z" * 32, ANN.node, now_unix_ms=NOW),
        "would have 65 delegations, the limit is 64",
    )
