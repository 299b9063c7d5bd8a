"""The mesh folder: whole or not at all, private, and shared by several writers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from meshcode.errors import MeshExists, NotAllowed, TrustDamaged, UnknownObject, WrongState
from meshcode.trust import admitting, folder, founding, identity, signing
from meshcode.trust.rosterfile import RosterFile
from tests.trust.world import NOW, NOWHERE, Seed, picture

# Ends the process, as kill -9 would, before its Nth step that touches the disk.
CRASHING = """
import os, sys
left = int(sys.argv[2])
def hook(name, arguments):
    global left
    if name in ("os.mkdir", "os.rename", "os.chmod") or (
        name == "open" and str(arguments[0]).startswith(sys.argv[1])
    ):
        left -= 1
        if left < 0:
            os._exit(9)
from meshcode.trust import founding
founding.signing.make_key()
founding.identity.make_curve_pair()
place = founding.Place(("tcp://127.0.0.1:1",), (), ())
sys.addaudithook(hook)
founding.found_mesh(sys.argv[1], name="a", kind="core", domain="", place=place, now_unix_ms=1)
"""


@pytest.fixture
def seed(tmp_path: Path) -> Seed:
    return Seed(tmp_path)


def test_a_crash_at_any_step_leaves_no_half_mesh(tmp_path: Path):
    """And the next attempt makes a whole one."""
    home = tmp_path / "a"
    home.mkdir()
    halves = 0
    for steps in range(200):
        words = [sys.executable, "-c", CRASHING, str(home), str(steps)]
        run = subprocess.run(words, capture_output=True, check=False, timeout=30)
        assert run.returncode in (0, 9), run.stderr.decode()
        if folder.has_mesh(str(home)):
            break
        assert not (home / "mesh").exists()
        halves += 1
    mine = identity.load(str(home))

    assert halves > 10
    assert RosterFile(str(home), mine.root_key).load().members[mine.node] == mine.member()
    assert [p.name for p in home.iterdir()] == ["mesh"]


def test_every_file_is_private(seed: Seed):
    for name, (mode, kind) in picture(Path(seed.base)).items():
        assert mode & 0o7777 == (0o700 if kind == "folder" else 0o600), name


def test_a_second_mesh_in_a_home_is_refused(seed: Seed):
    before = picture(Path(seed.base))

    with pytest.raises(MeshExists, match=r"belongs to mesh \w{8} as 'alpha' already"):
        founding.found_mesh(
            seed.base, name="x", kind="core", domain="", place=NOWHERE, now_unix_ms=NOW
        )
    assert picture(Path(seed.base)) == before


def test_a_folder_that_is_no_mesh_is_left_alone(tmp_path: Path):
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "notes").write_text("mine")

    with pytest.raises(MeshExists, match=r"self.json is missing"):
        founding.found_mesh(
            str(tmp_path), name="x", kind="core", domain="", place=NOWHERE, now_unix_ms=NOW
        )
    assert (tmp_path / "mesh" / "notes").read_text() == "mine"


def test_two_commands_at_once_do_not_make_two(tmp_path: Path):
    with folder.making(str(tmp_path)), pytest.raises(WrongState, match="at this moment"):
        founding.found_mesh(
            str(tmp_path), name="x", kind="core", domain="", place=NOWHERE, now_unix_ms=NOW
        )


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("self.json", lambda text: text[:-9], "is not the JSON"),
        ("self.json", lambda text: text.replace('"format": 1', '"format": 2'), "has format 2"),
        ("self.json", lambda text: text.replace("alpha", "al pha"), "field 'name' is wrong"),
        ("self.json", lambda text: text.replace('"mesh": "', '"mesh": "0'), "'mesh'"),
        ("self.json", lambda text: text.replace("tcp://", "udp://"), "holds what is no address"),
        ("node.key", lambda text: text.replace('"secret": "', '"secret": "zz'), "'secret'"),
        ("node.key", lambda text: "x" * 70_000, "more than 65536 bytes"),
    ],
)
def test_a_damaged_file_is_named_and_left(seed: Seed, name: str, change, match: str):
    path = seed.mesh_folder / name
    path.write_text(change(path.read_text()))
    before = picture(Path(seed.base))

    with pytest.raises(TrustDamaged, match=f"{name} .*{match}"):
        identity.load(seed.base)
    assert picture(Path(seed.base)) == before


def test_a_key_that_others_may_read_is_refused(seed: Seed):
    (seed.mesh_folder / "node.key").chmod(0o644)

    with pytest.raises(TrustDamaged, match=r"has mode 0644.*chmod 600"):
        identity.load(seed.base)


def test_a_damaged_roster_is_named_and_left(seed: Seed):
    path = seed.mesh_folder / "roster"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    for act in (seed.file.load, lambda: seed.file.save(seed.roster)):
        with pytest.raises(TrustDamaged, match=r"roster is damaged"):
            act()
    assert path.read_bytes() == bytes(data)


def joiner(seed: Seed, name: str):
    """A new node with its admission."""
    new = founding.new_identity(name, "core", "", seed.identity.root_key, NOWHERE)
    return new, admitting.admit(seed.roster, new.member(), seed.admit_key)


def test_two_writers_lose_nothing_of_each_other(seed: Seed):
    one, two = seed.file.load(), seed.file.load()
    (ann, first), (bob, second) = joiner(seed, "ann"), joiner(seed, "bob")
    one.merge(first)
    two.merge(second)

    seed.file.save(one)
    changes = seed.file.save(two)

    assert changes == [("added", ann.node)]
    assert set(seed.file.load().members) == {seed.identity.node, ann.node, bob.node}


def test_refreshing_reads_what_others_wrote_and_else_nothing(seed: Seed):
    mine = RosterFile(seed.base, seed.identity.root_key)
    roster = mine.load()
    ann, statement = joiner(seed, "ann")

    assert mine.refresh(roster) == []
    seed.file.add(statement)

    assert mine.refresh(roster) == [("added", ann.node)]
    assert mine.refresh(roster) == []


# Rotation and eviction, as the commands will use them.


def test_a_rotation_survives_a_crash_at_any_point(seed: Seed):
    """Before the statement is in the roster the old keys hold, after it the new ones."""
    new, draft = admitting.rotate(seed.identity, seed.roster, now_unix_ms=NOW)
    identity.save_next(seed.base, new)
    assert identity.load(seed.base).public == seed.identity.public

    statement = admitting.countersign(seed.roster, draft, seed.admit_key, now_unix_ms=NOW)
    seed.file.add(statement)
    taken = identity.load(seed.base)

    assert (taken.public, taken.sign, taken.node) == (new.public, new.sign, seed.identity.node)
    assert not (seed.mesh_folder / folder.NEXT_KEY).exists()
    assert identity.load(seed.base) == taken


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: {**f, "until": f["until"] + 10**9}, "the old key would be good for"),
        (lambda f: {**f, "key": b"k" * 32}, "not signed by the key of version 1"),
        (lambda f: {**f, "version": 3}, "does not follow"),
        (lambda f: {**f, "sign": b"s" * 31}, "field 'sign' must be 32 bytes"),
        (lambda f: {**f, "key": None}, "field 'key' of a draft is wrong"),
        (lambda f: {**f, "signed": dict.fromkeys(f["signed"], b"s" * 64)}, "not signed by"),
    ],
)
def test_a_wrong_draft_is_not_countersigned(seed: Seed, change, match: str):
    from meshcode.errors import BadRoster
    from meshcode.wire.codec import pack, unpack_map

    _, draft = admitting.rotate(seed.identity, seed.roster, now_unix_ms=NOW)
    before = seed.roster.pack()

    with pytest.raises(BadRoster, match=match):
        admitting.countersign(
            seed.roster, pack(change(unpack_map(draft))), seed.admit_key, now_unix_ms=NOW
        )
    assert seed.roster.pack() == before


def test_who_may_evict_whom(seed: Seed):
    ann, statement = joiner(seed, "ann")
    seed.roster.merge(statement)
    roster, stranger = seed.roster, signing.make_key()

    with pytest.raises(NotAllowed, match="may not evict"):
        admitting.evict(roster, ann.node, stranger, now_unix_ms=NOW)
    with pytest.raises(NotAllowed, match="only the root key can take that back"):
        admitting.evict(roster, seed.identity.node, seed.admit_key, now_unix_ms=NOW)
    with pytest.raises(UnknownObject, match="no member has the id"):
        admitting.evict(roster, b"n" * 16, seed.admit_key, now_unix_ms=NOW)
    roster.merge(admitting.evict(roster, ann.node, seed.admit_key, now_unix_ms=NOW))
    with pytest.raises(WrongState, match="evicted already"):
        admitting.evict(roster, ann.node, seed.admit_key, now_unix_ms=NOW)
    with pytest.raises(WrongState, match="is not a member with its present key"):
        admitting.rotate(replace(ann), roster, now_unix_ms=NOW)
