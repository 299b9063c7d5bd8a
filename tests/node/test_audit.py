"""The audit log: a chain that shows every hand, over files and crashes."""

from __future__ import annotations

import json
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode.errors import NotAllowed
from meshcode.node import auditlog
from meshcode.node.audit import KINDS_MAX, REPEATED_MS, Audit
from meshcode.node.auditlog import FOLDER, NEWEST, AuditBroken, AuditLog, files_of, verify
from meshcode.node.sessions import Session
from meshcode.node.who import Who

LINES = 12


def filled(home, count=LINES):
    log = AuditLog(home)
    for number in range(count):
        log.add(1_000 + number, "joe", "model.add", object=f"queue q{number}", outcome="changed")
    log.close()
    return home / FOLDER


def test_a_log_is_whole_and_nobody_else_can_read_it(tmp_path):
    folder = filled(tmp_path)

    assert verify(folder)[:2] == (1, LINES)
    assert stat.S_IMODE((folder / NEWEST).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert verify(tmp_path / "nothing") == (0, 0, "")


def test_a_restart_goes_on_with_the_chain(tmp_path):
    filled(tmp_path)
    filled(tmp_path, 3)

    assert verify(tmp_path / FOLDER)[:2] == (1, LINES + 3)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The file of a whole log, and its bytes."""
    path = filled(tmp_path_factory.mktemp("audit")) / NEWEST
    return path, path.read_bytes()


@settings(max_examples=200)
@given(where=st.floats(0, 1, exclude_max=True), more=st.integers(1, 255))
def test_every_changed_byte_is_found(written, where, more):
    path, whole = written
    at = int(where * len(whole))
    path.write_bytes(whole[:at] + bytes([(whole[at] + more) % 256]) + whole[at + 1 :])
    try:
        verify(path.parent)
    except AuditBroken as broken:
        assert "audit.jsonl line " in str(broken)
        return
    # What JSON reads alike is alike: the space of another kind behind a line.
    assert [json.loads(line) for line in path.read_bytes().splitlines()] == [
        json.loads(line) for line in whole.splitlines()
    ]


@pytest.mark.parametrize(
    ("hand", "line"),
    [
        (lambda lines: lines[:4] + lines[5:], 5),
        (lambda lines: lines[1:], 1),
        (lambda lines: lines[7:], 1),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 2),
        (lambda lines: [*lines, lines[-1]], LINES + 1),
        (lambda lines: [*lines[:3], b"{}\n", *lines[3:]], 4),
        (lambda lines: [*lines[:3], b"nonsense\n", *lines[3:]], 4),
        (lambda lines: [*lines[:-1], lines[-1][:-9]], LINES),
    ],
)
def test_lines_that_were_moved_are_found_at_the_first(tmp_path, hand, line):
    path = filled(tmp_path) / NEWEST
    path.write_bytes(b"".join(hand(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(AuditBroken, match=f"line {line}\\b"):
        verify(path.parent)


def test_a_line_cut_short_by_a_crash_is_removed_and_that_is_said(tmp_path):
    path = filled(tmp_path) / NEWEST
    path.write_bytes(path.read_bytes()[:-20])
    filled(tmp_path, 1)

    assert verify(path.parent)[:2] == (1, LINES - 1 + 2)
    assert b'"what":"audit.mended"' in path.read_bytes()


def test_a_line_cut_short_at_the_begin_of_a_file_is_removed_and_that_is_said(tmp_path):
    """The first of a new file: the last whole line is in the one before."""
    path = filled(tmp_path) / NEWEST
    path.rename(path.with_name("audit-000000000001.jsonl"))
    path.write_bytes(b'{"n":%d,"at' % (LINES + 1))
    filled(tmp_path, 1)

    assert verify(path.parent)[:2] == (1, LINES + 2)
    assert b'"what":"audit.mended"' in path.read_bytes()


@pytest.fixture
def small_files(monkeypatch):
    """A few lines make a file, and few files are kept."""
    monkeypatch.setattr(auditlog, "FILE_BYTES_MAX", 900)
    monkeypatch.setattr(auditlog, "FILES_MAX", 3)


def test_files_change_and_the_chain_goes_on(tmp_path, small_files):
    folder = filled(tmp_path, 40)

    first, last, _ = verify(folder)
    notes = [line for line in lines_of(tmp_path) if line["what"] == auditlog.SHORTENED]
    assert last > 40  # The log wrote lines of its own, too.
    assert notes[-1]["first"] == first > 1
    assert len(files_of(folder)) == 4
    files_of(folder)[1].unlink()
    with pytest.raises(AuditBroken, match="lines were removed"):
        verify(folder)


def test_a_beginning_that_the_log_did_not_remove_itself_is_missed(tmp_path, small_files):
    folder = filled(tmp_path, 40)
    oldest = files_of(folder)[0]
    lines = oldest.read_bytes().splitlines(keepends=True)
    oldest.write_bytes(b"".join(lines[1:]))
    with pytest.raises(AuditBroken, match=r"line 1 is number .* removed by hand"):
        verify(folder)
    oldest.unlink()
    with pytest.raises(AuditBroken, match=r"line 1 is number .* removed by hand"):
        verify(folder)


def test_a_file_that_was_to_be_removed_and_is_still_there_is_part_of_the_chain(
    tmp_path, small_files, monkeypatch
):
    """A crash between the line that says so and the removal."""
    folder = filled(tmp_path, 20)
    before = verify(folder)[0]
    with monkeypatch.context() as patched:
        patched.setattr(auditlog.Path, "unlink", lambda _path: None)
        filled(tmp_path, 10)
    assert verify(folder)[0] == before
    filled(tmp_path, 10)
    assert verify(folder)[0] > before


def test_a_file_in_which_somebody_has_written_does_not_stop_the_log(tmp_path, small_files):
    folder = filled(tmp_path, 4)
    path = folder / NEWEST
    path.write_bytes(b"nonsense\n" + path.read_bytes().split(b"\n", 1)[1])
    filled(tmp_path, 40)
    assert len(files_of(folder)) == 4
    assert lines_of(tmp_path)[-1]["object"] == "queue q39"


def lines_of(home):
    return [json.loads(data) for _, _, data in auditlog.read(home / FOLDER)]


def test_what_is_written_of_requests_has_no_secret(tmp_path):
    audit, joe = Audit(tmp_path), Session(1, b"")
    joe.who = Who("k" * 40)
    joe.who.user = "joe"
    secret = {"do": "add", "kind": "user", "name": "ann", "fields": {"password": "correct horse"}}
    audit.done(joe, "model", b"1", secret)
    audit.answered(b"1", True, {"name": "ann"})
    audit.done(joe, "model", b"2", {"do": "list", "kind": "user"})
    audit.answered(b"2", True, [])
    audit.done(joe, "model", b"3", {**secret, "do": "update"})
    audit.answered(b"3", False, {"code": "not_allowed", "text": "no"})
    audit.done(Session(2, b""), "call.cancel", b"4", {"id": b"\1" * 16, "by": "ann"})
    audit.login("joe", "k" * 40, False)
    audit.close()

    names = ("who", "via", "what", "object", "outcome")
    rows = [tuple(row.get(name) for name in names) for row in lines_of(tmp_path)]
    assert rows == [
        ("joe", "key kkkkkkkk", "model.add", "user ann", "changed"),
        ("joe", "key kkkkkkkk", "model.update", "user ann", "denied"),
        ("owner (ann)", "local", "call.cancel", "01010101-0101-0101-0101-010101010101", "allowed"),
        ("joe", "key kkkkkkkk", "login", None, "denied"),
    ]
    assert b"correct horse" not in (tmp_path / FOLDER / NEWEST).read_bytes()


def test_a_line_names_what_the_operation_reads_and_nothing_else_that_was_sent(tmp_path):
    audit, joe = Audit(tmp_path), Session(1, b"")
    joe.who = Who("k" * 40)
    no = NotAllowed("no")
    audit.done(joe, "logout", b"1", {"id": b"\1" * 16, "name": "ann"})
    audit.failed(joe, "subscribe", b"2", {"socket": "secret", "name": "mine"}, no)
    audit.failed(joe, "proc", b"3", {"do": "stop", "name": "bank", "kind": "socket"}, no)
    audit.failed(joe, "call.get", b"4", {"id": "cafe", "socket": "mine"}, no)
    audit.close()

    found = [(row["what"], row["object"]) for row in lines_of(tmp_path)]
    assert found == [
        ("logout", ""), ("subscribe", "secret"), ("proc.stop", "processor bank"),
        ("call.get", "cafe"),
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["call.cancel", "call.retry", "flow.cancel", "drain", "logout"])
def test_a_word_that_an_operation_does_not_know_hides_nothing(tmp_path, what):
    audit, joe = Audit(tmp_path), Session(1, b"")
    joe.who = Who("k" * 40)

    audit.done(joe, what, b"1", {"id": b"\1" * 16, "dry": True})
    audit.close()

    assert [(row["what"], row["outcome"]) for row in lines_of(tmp_path)] == [(what, "allowed")]


def test_a_command_that_asks_again_while_a_node_leaves_is_one_line(tmp_path):
    audit, owner = Audit(tmp_path), Session(1, b"")
    for fields in ({"for_ms": 0}, {"for_ms": 0}, {"for_ms": 0, "finish": True}):
        audit.done(owner, "node.leave", b"1", {**fields, "by": "ann"})
    for do in ("evict", "", "drop", ["evict"], None):
        audit.done(owner, "node.may", b"2", {"do": do, "name": "node n3: stolen", "by": "ann"})
    audit.failed(owner, "node.may", b"3", {"do": "invite"}, NotAllowed("no"))
    audit.close()

    rows = [(row["who"], row["what"], row["object"], row["outcome"]) for row in lines_of(tmp_path)]
    assert rows == [
        ("owner (ann)", "node.leave", "", "allowed"),
        ("owner (ann)", "node.evict", "node n3: stolen", "allowed"),
        ("owner", "node.invite", "", "denied"),
    ]


def test_a_change_of_many_objects_names_them_all(tmp_path):
    """Three were named, so a user with all rights hid behind three queues."""
    audit, owner = Audit(tmp_path), Session(1, b"")
    steps = [["add", "queue", f"queue-of-some-length-{n}", {}] for n in range(40)]
    steps += [["add", "user", "eve", {}], ["delete", "role", "guards", {}]]
    audit.done(owner, "model", b"1", {"do": "apply", "fields": {"base": 1, "steps": steps}})
    audit.answered(b"1", True, {})
    objects = [{"kind": "queue", "name": f"q{n}"} for n in range(5)]
    audit.done(owner, "model", b"2", {"do": "declare", "fields": {"objects": objects}})
    audit.answered(b"2", True, {})
    audit.close()

    *many, few = lines_of(tmp_path)
    named = [name for row in many for name in row["object"].split(", ")]
    assert named == [" ".join(step[:3]) for step in steps]
    assert [row["part"] for row in many] == [f"{n} of {len(many)}" for n in range(1, len(many) + 1)]
    assert {(row["what"], row["outcome"]) for row in many} == {("model.apply", "changed")}
    assert few["object"] == "queue q0, queue q1, queue q2, queue q3, queue q4"
    assert "part" not in few
    assert verify(tmp_path / FOLDER)[1] == len(many) + 1


def test_a_refused_change_of_many_objects_is_one_line(tmp_path):
    """Else whoever may do nothing could push every other line out with one request."""
    audit, owner = Audit(tmp_path), Session(1, b"")
    objects = [{"kind": "queue", "name": f"queue-of-some-length-{n}"} for n in range(1_000)]
    text = ", ".join(f"queue {row['name']}" for row in objects)
    audit.done(owner, "model", b"1", {"do": "declare", "fields": {"objects": objects}})
    audit.answered(b"1", False, {"code": "not_allowed", "text": "no"})
    audit.denied(owner.who, "model.declare", text, "ADD_QUEUE")
    audit.close()

    for row in lines_of(tmp_path):
        told, _, rest = row["object"].partition(" and ")
        assert rest == f"{1_000 - len(told.split(', '))} more"
        assert row["object"].startswith("queue queue-of-some-length-0, queue ")


def test_many_refusals_of_one_kind_are_two_lines(tmp_path):
    audit, who = Audit(tmp_path), Session(1, b"")
    who.who = Who("k" * 40)
    for _ in range(1_000):
        audit.denied(who.who, "run", "socket s", "RUN_TASK")
    audit.failed(who, "status", b"", {}, NotAllowed("no", right="LS_WORKERS"))
    audit.close()

    found = [(row["what"], row.get("times"), row.get("right")) for row in lines_of(tmp_path)]
    assert found == [("run", None, "RUN_TASK"), ("status", None, "LS_WORKERS"), ("run", 999, None)]


def test_refusals_of_ever_other_names_are_few_lines(tmp_path):
    """Each name was a line, so calls of sockets that do not exist pushed all others out."""
    audit, who, other = Audit(tmp_path), Session(1, b""), Session(2, b"")
    who.who, other.who = Who("k" * 40), Who("o" * 40)
    for number in range(5_000):
        audit.denied(who.who, "run", f"socket {number}", "RUN_TASK")
    audit.denied(who.who, "run", "socket 0", "RUN_TASK")
    audit.denied(other.who, "run", "socket s", "RUN_TASK")
    audit.close()

    rows = lines_of(tmp_path)
    assert [row["object"] for row in rows[:KINDS_MAX]] == [f"socket {n}" for n in range(KINDS_MAX)]
    assert [(row["who"], row["object"], row.get("times")) for row in rows[KINDS_MAX:]] == [
        ("key oooooooo...", "socket s", None),
        ("key kkkkkkkk...", "socket 0", 1),
        (
            "key kkkkkkkk...",
            f"and {5_000 - KINDS_MAX} others of key kkkkkkkk... in this minute came to nothing",
            5_000 - KINDS_MAX,
        ),
    ]


def test_the_next_minute_has_its_own_refusals(tmp_path, monkeypatch):
    now = [1_000_000]
    monkeypatch.setattr("meshcode.node.audit.unix_ms", lambda: now[0])
    audit, joe = Audit(tmp_path), Session(1, b"")
    for _ in range(2):
        for number in range(KINDS_MAX + 3):
            audit.denied(joe.who, "run", f"socket {number}", "RUN_TASK")
        now[0] += REPEATED_MS
    audit.tick()
    audit.close()

    told = [row.get("times") for row in lines_of(tmp_path)]
    assert told == 2 * [*KINDS_MAX * [None], 3]


def test_changes_that_the_model_refuses_and_logouts_are_counted_too(tmp_path):
    audit, joe = Audit(tmp_path), Session(1, b"")
    joe.who = Who("k" * 40)
    for number in range(500):
        request = {"do": "update", "kind": "user", "name": "joe", "fields": {"a": number}}
        audit.done(joe, "model", b"1", request)
        audit.answered(b"1", False, {"code": "bad_value", "text": "no"})
        audit.done(joe, "logout", b"2", {})
    audit.close()

    rows = [(row["what"], row["outcome"], row.get("times")) for row in lines_of(tmp_path)]
    assert rows == [
        ("model.update", "refused", None), ("logout", "allowed", None),
        ("model.update", "refused", 499), ("logout", "allowed", 499),
    ]  # fmt: skip


def test_what_came_to_nothing_takes_no_more_room_in_other_letters(tmp_path):
    audit, who = Audit(tmp_path), Session(1, b"")
    audit.denied(who.who, "run\U0001f600" * 300, "\U0001f600" * 300, "RUN_TASK")
    audit.close()

    assert len((tmp_path / FOLDER / NEWEST).read_bytes()) < 1_000


def test_hostile_names_do_no_harm(tmp_path):
    audit, session = Audit(tmp_path), Session(1, b"")
    for name in ("x" * 100_000, "\ud800\n\0", {"a": 1}, b"\xff", 1 << 60):
        audit.done(session, "call.cancel", b"", {"id": name, "by": "\u2028" * 5_000})
    audit.close()

    assert verify(tmp_path / FOLDER)[:2] == (1, 5)
