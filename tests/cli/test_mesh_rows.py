"""Rows of calls from several nodes made one; what is told of nodes, without any node."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import threading
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from meshcode.cli import doctor_mesh, salvage
from meshcode.cli.nodes import consequences, find_member
from meshcode.cli.salvage import ended_calls, open_calls, own_id, places, submits, told_of
from meshcode.cli.showcall import as_tree
from meshcode.errors import CallerError, LogDamaged, UnknownObject
from meshcode.limits import SHARED_BYTES_MAX
from meshcode.node.meshrows import (
    ENDED_HERE,
    KEPT,
    OWNED,
    TOLD,
    are_rows,
    fitting,
    merged,
    slim,
)
from meshcode.node.paging import ROWS_MAX
from meshcode.router.records import custody_header, pack_done
from meshcode.store import journal
from meshcode.store.contract import Log
from meshcode.store.journaled import JournaledLog, open_log
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome
from tests.trust.world import Seed, unix_ms

ME, OTHER, THIRD = b"m" * 16, b"o" * 16, b"t" * 16


def row(know: str, node: str = "n1", **more: Any) -> dict[str, Any]:
    voters = ["n1", "n2", "n3"]
    return {
        "id": "id1", "know": know, "node": node, "voters": voters, "copies": 2, "copies_of": 3,
        "events": [{"name": "received", "ms": 5, "note": ""}], "reason": "", "socket": "s",
        "state": know, **more,
    }  # fmt: skip


# Merging.


def test_an_outcome_beats_whoever_still_owns_or_keeps_the_call():
    told = [("n3", [row(KEPT)]), ("n1", [row(OWNED)]), ("n2", [row(TOLD, node="")])]

    (one,) = merged(told)

    assert (one["know"], one["told_by"], one["node"]) == (TOLD, "n2", ""), "who owned it ran it not"


def test_the_copies_of_an_outcome_are_the_histories_it_is_in():
    told = [("n1", [row(TOLD, node="")]), ("n2", [row(ENDED_HERE, node="n2")]), ("n3", [row(KEPT)])]

    (one,) = merged(told)

    assert (one["copies"], one["copies_of"], one["kept_by"]) == (2, 3, ["n1", "n2"])
    assert one["node"] == "n2"


def test_an_outcome_alone_is_behind_one_with_its_call():
    """A node that was away when a call ended has no more of it."""
    bare = row(ENDED_HERE, node="n3", socket="", events=[], bare=True)
    whole = row(TOLD, node="", accepted_ms=5)

    for told in ([("n3", [bare]), ("n1", [whole])], [("n1", [whole]), ("n3", [bare])]):
        (one,) = merged(told)
        assert (one["socket"], one["accepted_ms"], one["told_by"]) == ("s", 5, "n1")
        assert "bare" not in one and one["copies"] == 2


def test_an_outcome_alone_is_more_than_an_open_call_and_takes_from_it_what_was_called():
    bare = row(TOLD, node="", socket="", state="DONE", bare=True)

    (one,) = merged([("n1", [row(OWNED, accepted_ms=5)]), ("n3", [bare])])

    assert (one["state"], one["socket"], one["accepted_ms"]) == ("DONE", "s", 5)
    assert "bare" not in one
    assert merged([("n3", [bare])])[0]["bare"] is True


def test_when_an_ended_call_began_is_told_by_whoever_knows():
    """A voter that took the outcome from the owner has not seen it begin."""
    ranked = [("n1", [row(ENDED_HERE, started_ms=None)]), ("n2", [row(TOLD, started_ms=7)])]

    assert [one["started_ms"] for one in merged(ranked)] == [7]


def test_what_a_call_was_made_again_as_is_told_once_however_many_nodes_know_it():
    def events(ms: int, *notes: str) -> dict[str, Any]:
        return {"events": [{"name": "made again", "ms": ms, "note": note} for note in notes]}

    ranked = [("n1", [row(ENDED_HERE, **events(7, "as a"))]),
              ("n2", [row(TOLD, node="", **events(8, "as a", "as b"))])]  # fmt: skip

    (one,) = merged(ranked)

    assert [(event["ms"], event["note"]) for event in one["events"]] == [(7, "as a"), (8, "as b")]


def test_of_two_owners_the_later_one_is_believed():
    (one,) = merged([("n1", [row(OWNED, epoch=0)]), ("n2", [row(OWNED, "n2", epoch=3)])])

    assert one["node"] == "n2"


@pytest.mark.parametrize(
    ("who", "shown"),
    [
        (["n2", "n3"], True),  # Its owner n1 did not answer.
        (["n1", "n2"], True),  # The owner was started again and does not own it yet.
        (["n2"], True),
    ],
)
def test_a_kept_call_is_shown_while_its_owner_may_have_it(who: list[str], shown: bool):
    assert bool(merged([(name, [row(KEPT)]) for name in who])) is shown


def test_a_kept_call_of_an_owner_that_knows_nothing_open_has_ended():
    assert merged([("n1", []), ("n2", [row(KEPT)])]) == []


def test_the_events_of_all_are_told_once_in_their_order():
    taken = {"name": "taken over", "ms": 9, "note": "epoch 1"}
    early = [{"name": "received", "ms": 5, "note": ""}, {"name": "prerun", "ms": 7, "note": ""}]
    late = [{"name": "received", "ms": 6, "note": "by another clock"}, taken]

    (one,) = merged([("n1", [row(OWNED, events=early)]), ("n2", [row(KEPT, events=late)])])

    assert [event["name"] for event in one["events"]] == ["received", "prerun", "taken over"]
    assert one["events"][0]["ms"] == 5


@pytest.mark.parametrize(
    "change",
    [
        {"id": 3}, {"node": None}, {"know": "everything"}, {"know": ["told"]}, {"voters": "n1"},
        {"voters": [1]}, {"events": {}}, {"events": [{}]}, {"events": [{"name": [], "ms": 1}]},
        {"epoch": "high"}, {"copies": None}, {"kind": 4}, {"socket": b"x"},
    ],
    ids=str,
)  # fmt: skip
def test_rows_of_a_bad_member_are_left_out(change: dict[str, Any]):
    assert are_rows([row(TOLD)])
    assert not are_rows([row(TOLD), row(TOLD) | change])


def test_a_row_for_a_list_is_small_and_keeps_its_beginning_and_end():
    events = [{"name": f"e{n}", "ms": n, "note": "x" * 10_000} for n in range(64)]

    small = slim(row(OWNED, events=events, reason="y" * 10**6))

    names = [event["name"] for event in small["events"]]
    assert (names[0], names[-1], len(names)) == ("e0", "e63", 8)
    assert len(pack([small] * ROWS_MAX)) < 4 * 1024 * 1024


def test_a_result_too_large_for_a_message_is_left_out_of_it():
    whole = row(ENDED_HERE, result=b"x" * 1000)
    large = row(ENDED_HERE, result=b"x" * SHARED_BYTES_MAX)

    assert fitting(whole) == whole
    assert "result" not in fitting(large) and fitting(large)["left_out"]


def test_a_tree_has_parents_before_children_and_survives_rounds():
    calls = [
        {"id": "c", "parent": "a"}, {"id": "a", "parent": None}, {"id": "d", "parent": "c"},
        {"id": "b", "parent": "a"}, {"id": "x", "parent": "gone"}, {"id": "y", "parent": "y"},
    ]  # fmt: skip

    found = [(depth, call["id"]) for depth, call in as_tree(calls)]

    assert found == [(0, "a"), (1, "c"), (2, "d"), (1, "b"), (0, "x"), (0, "y")]


# Names of nodes.


def test_nodes_are_found_by_name_and_by_the_beginning_of_an_id(tmp_path: Path):
    seed = Seed(tmp_path)
    node = seed.identity.node

    assert find_member(seed.roster, "alpha") == node
    assert find_member(seed.roster, node.hex()[:6].upper()) == node
    with pytest.raises(UnknownObject, match="did you mean 'alpha'"):
        find_member(seed.roster, "alhpa")
    with pytest.raises(UnknownObject, match="known are alpha"):
        find_member(seed.roster, "zz")


def test_an_eviction_says_what_becomes_of_calls():
    weight = {"shared": 5, "orphaned": 2, "copies": 1, "alone": 3, "open": 8}

    text = " ".join(consequences("n3", weight, is_me=False))

    assert "5 open calls" in text and "3 go on with a majority" in text
    assert "2 of them lose their majority" in text and "mesh recover --force" in text
    assert "1 calls of n3 are kept here as copies" in text
    assert "3 of the 8 open calls of n3 are kept nowhere else" in text
    some_away = " ".join(consequences("n3", weight | {"waiting": 3}, is_me=False))
    assert "0 go on with a majority" in some_away and "3 of them wait until" in some_away
    assert "is not up" in consequences("n3", None, is_me=False)[0]
    assert "is late, so" in consequences("n3", None, is_me=False, why="it is late")[0]
    assert "no member any more" in consequences("n3", weight, is_me=True)[0]
    mute = weight | {"alone": None, "open": None}
    assert "n3 does not answer" in consequences("n3", mute, is_me=False)[-1]
    (left,) = consequences("n3", mute | {"shared": 0, "orphaned": 0, "copies": 0,
                                         "said_goodbye": True}, is_me=False)  # fmt: skip
    assert "n3 said good-bye" in left and "mesh salvage --data DIR" in left
    assert "cannot be known" not in left


# The doctor.


def facts(**change: Any) -> dict[str, Any]:
    other = {
        "name": "n2", "skew_ms": 3, "skewed": False, "same_roster": True, "same_model": True,
        "version": doctor_version(),
    }  # fmt: skip
    return {
        "this_evicted": False, "up": 1, "known": 1, "silent": [], "unlinked": [], "left": [],
        "others": [other | change.pop("other", {})], "roster": "ab" * 16, "problems": [],
        "class": "core", "keeper_alive": True, "discovery": "off", "refused": [], "orphans": 0,
        **change,
    }  # fmt: skip


def doctor_version() -> str:
    from meshcode import __version__

    return __version__


def test_a_mesh_that_is_well():
    assert {check.state for check in doctor_mesh.judge(facts())} == {"OK"}


@pytest.mark.parametrize(
    ("change", "name", "state", "text"),
    [
        ({"this_evicted": True}, "membership", "FAIL", "evicted"),
        ({"up": 0, "unlinked": ["n2"]}, "peers", "FAIL", "0 of 1 linked: this node is alone"),
        ({"up": 0, "unlinked": ["n2"], "class": "edge"}, "peers", "WARN", "is alone"),
        ({"up": 0, "left": ["n2"]}, "peers", "OK", "left: n2"),
        ({"known": 2, "unlinked": ["n3"]}, "peers", "WARN", "no link to n3"),
        ({"known": 2, "unlinked": ["n3"], "cut_off": ["n3"]}, "peers", "WARN", "which is alive"),
        ({"worked_out": True, "advertise": ["tcp://203.0.113.9:1"]}, "address", "WARN",
         "peers are told tcp://203.0.113.9:1; this host has"),
        ({"silent": [{"name": "n2", "asked": True}]}, "peers", "WARN", "no answer from n2"),
        ({"other": {"same_roster": False}}, "roster", "WARN", "n2 of 2 that answer"),
        ({"other": {"skew_ms": -400_000, "skewed": True}}, "clocks", "WARN",
         "n2 is 6m40s behind this node, the limit is 5m00s"),
        ({"problems": ["a is not b"]}, "shared model", "WARN", "a is not b"),
        ({"other": {"same_model": False}}, "shared model", "WARN", "n2 have another one"),
        ({"other": {"version": "9.9"}}, "versions", "WARN", "others 9.9"),
        ({"keeper_alive": False}, "doorkeeper", "FAIL", "nobody gets in"),
        ({"refused": ["a", "b"]}, "refused", "WARN", "2 lately, the last: b"),
        ({"orphans": 4}, "orphans", "WARN", "4 calls lost the majority"),
    ],
)  # fmt: skip
def test_what_the_doctor_says_when_it_is_not(
    change: dict[str, Any], name: str, state: str, text: str
):
    check = next(c for c in doctor_mesh.judge(facts(**change)) if c.name == name)

    assert check.state == state and text in check.detail
    assert bool(check.fix) or state == "OK"


# Salvage.


def submit(id: bytes, *args: Any) -> bytes:
    body = pack_call(list(args))
    return envelope(Kind.SUBMIT, id=id, name=b"t.add", body=body, argc=len(args))


def filled(folder: Path) -> Log:
    log = open_log(folder, ballast_bytes=0)
    ids = [bytes([n]) * 16 for n in range(1, 5)]
    alone, shared, copy, ended = ids
    outcome = envelope(Kind.OUTCOME, id=ended, code=Outcome.DONE, body=pack(42))
    log.stage([
        ("open", (1).to_bytes(8, "big"), custody_header(ME, 1, (ME,), 10) + submit(alone, 1, 2)),
        ("open", (2).to_bytes(8, "big"),
         custody_header(ME, 1, (ME, OTHER, THIRD), 11) + submit(shared, 3)),
        ("open", (3).to_bytes(8, "big"), custody_header(OTHER, 1, (OTHER,), 12) + submit(copy, 4)),
        ("done", ended, pack_done(1, 1, 13, 14, 15, 4, outcome, submit(ended, 5), None)),
    ])  # fmt: skip
    log.sync()
    return log


def test_a_log_tells_what_only_it_kept(tmp_path: Path):
    filled(tmp_path / "data").close()
    log = open_log(tmp_path / "data", boot=False)
    try:
        kept = [(item["kept"], item["args"], item["accepted_ms"]) for item in open_calls(log, ME)]
        nobody = [item["kept"] for item in open_calls(log, b"")]
        (result,) = ended_calls(log)
        assert own_id(tmp_path, log) == b""
        assert log.boot == 1, "reading counts no boot"
    finally:
        log.close()

    assert kept == [("alone", [1, 2], 10), ("shared", [3], 11), ("copy", [4], 12)]
    assert nobody == ["alone", "shared", "alone"], "whose log it is, nothing told"
    assert (result["value"], result["state"], result["finished_ms"]) == (42, "DONE", 15)
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "self.json").write_text(json.dumps({"node": ME.hex()}))
    assert places(str(tmp_path)) == places(str(tmp_path / "data")) == (tmp_path, tmp_path / "data")
    assert own_id(tmp_path, log) == ME


def test_a_fifo_that_is_to_have_the_export_stays_one_and_gets_it(tmp_path: Path):
    """As root, an export to a device used to put a file in its place."""
    filled(tmp_path / "data").close()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(fifo.read_text()))
    reader.start()

    status = salvage._export_to(fifo, tmp_path, tmp_path / "data", every=False, results=True)

    reader.join()
    assert status == 0
    assert stat.S_ISFIFO(fifo.lstat().st_mode)
    lines = [json.loads(line)["type"] for line in found[0].splitlines()]
    assert lines[0] == "salvage" and lines.count("result") == 1
    assert sorted(os.listdir(tmp_path)) == ["data", "fifo"]


def test_what_is_sound_is_told_although_a_batch_of_the_journal_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    log = filled(tmp_path / "data")  # The first batch; now three more, of which one is lost.
    if not isinstance(log, JournaledLog):
        pytest.skip("the C twin was not compiled here")
    for n in (5, 6, 7):
        record = custody_header(ME, 1, (ME,), n) + submit(bytes([n]) * 16, n)
        log.stage([("open", n.to_bytes(8, "big"), record)])
        log.sync()
    left = Path(shutil.copytree(tmp_path / "data", tmp_path / "left"))  # As if it died here.
    lost = log.commits - 1
    log.close()
    path = left / "journal.0"
    data = bytearray(path.read_bytes())
    at = next(
        at for at in range(0, len(data), journal.PAGE_BYTES)
        if journal.HEAD.unpack_from(data, at)[2] == lost
    )  # fmt: skip
    data[at + journal.HEAD.size] ^= 1
    path.write_bytes(data)

    with pytest.raises(LogDamaged, match="read what is sound with mesh salvage"):
        open_log(left)
    out = io.StringIO()
    status = salvage._export(tmp_path, left, out, every=True, results=True)

    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    found = [line["args"] for line in lines if line["type"] == "call"]
    assert found == [[1, 2], [3], [4], [5], [7]]
    assert status == salvage.EXIT_PARTIAL
    said = capsys.readouterr().err
    assert f"damaged and left out: batches {lost} to {lost} of the journal, 1 in all" in said


def test_arguments_that_no_worker_could_read_are_exported_all_the_same():
    broken = envelope(Kind.SUBMIT, id=ME, name=b"t.add", body=b"\xc1", argc=1)

    assert told_of(broken)["args"] is None


def lines(*items: Any) -> io.BytesIO:
    return io.BytesIO(b"".join(json.dumps(item).encode() + b"\n" for item in items))


HEAD = {"type": "salvage", "schema": 1}


@pytest.mark.parametrize(
    ("items", "match"),
    [
        ([{"type": "salvage", "schema": 2}], "line 1 of f .* schema 1"),
        ([{"type": "call"}], "line 1 of f"),
        ([HEAD, {"type": "call"}], "line 2 of f"),
        ([HEAD, {"type": "call", "submit": "no base64!"}], "line 2 of f"),
        ([HEAD, {"type": "call", "submit": b64encode(b"x" * 100).decode()}], "line 2 of f"),
        ([HEAD, []], "line 2 of f"),
    ],
)
def test_a_file_that_is_no_salvage_is_refused(items: list[Any], match: str):
    with pytest.raises(CallerError, match=match):
        list(submits(lines(*items), Path("f")))


def test_calls_come_out_of_the_file_as_they_went_in():
    call = submit(ME, 1)
    item = {"type": "call", "submit": b64encode(call).decode()}

    assert list(submits(lines(HEAD, item, {"type": "result"}), Path("f"))) == [call]
    assert unix_ms() > 0
