"""Requests, greetings and frames that nobody foresaw: refused one by one, and the node goes on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from meshcode import Node
from meshcode.errors import BadRequest, MeshError, NodeError, NotAllowed
from meshcode.ids import make_id
from meshcode.model.kinds import FIELDS
from meshcode.node import intake, requests
from meshcode.router.events import Submitted
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind
from tests.live.harness import Mesh, refusal, until
from tests.live.rawlink import NoAnswer, RawLink, error_of

FUZZ_S = 4.0
LEFT_OUT = ("drain", "node.drain", "node.leave", "logout")  # They end what is tested.
NAMES = """id by name channel do fields kind result objects node call ascending before state root
rows flow item for_ms user password workers unfinished since source open module lines key ids from
finish draft cursor beside all again limit page passed tail wait_ms wanted right on dry
first""".split()  # noqa: SIM905
ODD: tuple[Any, ...] = (
    None, True, 0, 1, -1, 1 << 31, 1 << 63, 1 << 70, -1.5, float("nan"), float("inf"), "", "x",
    "*", "list", "user", "state", "DONE", "@flow", "0" * 32, "\0", "x" * 5_000, b"", b"x" * 16,
    b"z" * 600, Decimal("sNaN"), Decimal(1), (1, 2), [], {}, ["x"], [b"x" * 16], [1], [[]],
    {"right": {}}, {"a": Decimal("sNaN")}, [{"kind": []}],
)  # fmt: skip


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A node in which somebody is declared, so that rights count."""
    with Mesh() as made:
        made.add("queue", "q")
        made.add("user", "ann", password="correct horse")
        for number, right in enumerate(("UPDATE_PROCESSOR", "ADD_PRIVILEGE", "READ_TASK")):
            on = {"on": "processor:x"} if number < 2 else {}
            made.add("privilege", f"p{number}", user="ann", right=right, **on)
        yield made


@pytest.fixture
def ann(node: Mesh) -> Iterator[RawLink]:
    """A session of a user with few rights."""
    link = node.link()
    login = node.ask("login", user="ann", password="correct horse")["login"]
    link.send([envelope(Kind.HELLO, body=pack({"version": 1, "login": login}))])
    until(lambda: link.receive(0.5), 5, "a WELCOME")
    assert link.ask("whoami")["user"] == "ann"
    yield link
    link.close()


@pytest.mark.parametrize(
    ("operation", "fields", "text"),
    [
        ("whoami", {"right": []}, "field 'right' must be text, it is []"),
        ("db", {"do": [1]}, "field 'do' must be text, it is [1]"),
        ("flow.get", {"id": 5}, "field 'id' must be the id of a call, as text or bytes, it is 5"),
        ("subscribe", {"channel": {}}, "field 'channel' must be text, it is {}"),
        ("listen", {"channel": []}, "field 'channel' must be text, it is []"),
        ("proc", {"do": "start", "name": 1}, "field 'name' must be text, it is 1"),
    ],
)
def test_a_field_of_another_kind_is_named(
    node: Mesh, ann: RawLink, operation: str, fields: dict[str, Any], text: str
):
    for ask in (node.ask, ann.ask):
        error = refusal(lambda ask=ask: ask(operation, **fields))

        assert (type(error), str(error)) == (BadRequest, text)


def test_a_right_that_is_none_is_refused_by_the_model(node: Mesh, ann: RawLink):
    given = {"do": "start", "kind": "privilege", "name": "x", "fields": {"right": {}}}

    for operation in ("model", "proc"):
        with pytest.raises(MeshError):
            ann.ask(operation, **given)
    error = refusal(lambda: ann.ask("model", **{**given, "do": "add"}))

    assert isinstance(error, NotAllowed | BadRequest)
    assert ann.ask("whoami")["user"] == "ann"


@pytest.mark.parametrize("version", [Decimal("sNaN"), [1], True, "1", {"a": Decimal("sNaN")}])
def test_a_greeting_of_another_kind_is_refused(node: Mesh, version: Any):
    link = RawLink(node.address)
    link.send([envelope(Kind.HELLO, body=pack({"version": version}))])

    row, data = until(lambda: link.receive(0.5), 5, "an answer")[0]
    link.close()

    assert row.kind == Kind.REFUSED
    assert error_of(row, data).code in ("bad_frame", "bad_value")
    assert node.ask("status")["state"] == "ready"


def value(rng: Random, depth: int = 0) -> Any:
    """Anything that can be sent."""
    chance = rng.random()
    if depth < 3 and chance < 0.12:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if depth < 3 and chance < 0.24:
        return {rng.choice(NAMES): value(rng, depth + 1) for _ in range(rng.randrange(5))}
    return rng.choice(ODD)


def request(rng: Random) -> tuple[str, dict[str, Any]]:
    """An operation with fields of any kind."""
    name = rng.choice([one for one in sorted(requests.OPERATIONS) if one not in LEFT_OUT])
    fields = {rng.choice(NAMES): value(rng) for _ in range(rng.randrange(6))}
    if name in ("model", "proc"):
        kind = rng.choice(list(FIELDS))
        options = {rng.choice(list(FIELDS[kind]) or ["x"]): value(rng) for _ in range(3)}
        given = {
            "do": rng.choice(("list", "get", "add", "update", "declare", "apply", "start", "stop")),
            "kind": kind, "name": rng.choice(("x", "y.z", "ann")), "fields": options,
        }  # fmt: skip
        fields |= {key: one for key, one in given.items() if rng.random() < 0.9}
    return name, fields


def test_requests_with_anything_in_them_are_all_answered(node: Mesh, ann: RawLink):
    """By the owner, and by a user whose rights are looked at."""
    rng, end, owner = Random(5), time.monotonic() + FUZZ_S, node.link()
    said: Counter[str] = Counter()
    assert node.process is not None
    while time.monotonic() < end:
        link = rng.choice((owner, ann))
        name, fields = request(rng)
        try:
            link.ask(name, 8.0, **fields)
        except NoAnswer as error:
            raise AssertionError(f"{name} {fields!r:.600}: {error}\n{node.words()}") from None
        except MeshError as error:
            said[error.code] += 1
            assert error.code != "internal", (name, fields, str(error), node.words())
        assert node.process.poll() is None, (name, fields, node.words())
    owner.close()

    assert said["bad_request"] > 10
    assert node.ask("status")["state"] == "ready"


# What nobody foresaw, in a node whose parts are made to fail.


def boom(*_: Any) -> Any:
    """Fail as a bug does."""
    raise ZeroDivisionError("nobody foresaw this")


def test_a_request_that_fails_is_answered_and_the_node_goes_on(tmp_path: Path, monkeypatch, capfd):
    monkeypatch.setitem(requests.OPERATIONS, "audit.tip", boom)
    with Node(str(tmp_path / "node")) as node:
        link = RawLink(node.address)
        link.open()

        errors = [refusal(lambda: link.ask("audit.tip")) for _ in range(3)]

        assert {error.code for error in errors} == {"internal"}
        assert "internal error: audit.tip failed at ZeroDivisionError" in str(errors[0])
        assert "the node goes on" in str(errors[0])
        assert link.ask("status")["state"] == "ready"
        link.close()
    assert capfd.readouterr().err.count("Traceback") == 1, "the same again is only counted"


def test_a_frame_that_fails_refuses_its_calls_and_the_node_goes_on(tmp_path: Path, monkeypatch):
    with Node(str(tmp_path / "node")) as node:
        node.serve("device.echo", lambda one: one)
        link = RawLink(node.address)
        link.open()
        monkeypatch.setattr(intake, "_are_simple", boom)
        ids = [make_id(), make_id()]
        link.send([
            envelope(Kind.SUBMIT, id=id, flow=id, name=b"device.echo", body=pack_call([1]), argc=1)
            for id in ids
        ])  # fmt: skip

        rows: list[Any] = []
        until(lambda: rows.extend(link.receive(0.2)) or len(rows) >= 2, 10, "both are refused")

        assert [(row.kind, row.id) for row, _ in rows] == [(Kind.REFUSED, id) for id in ids]
        assert "the call was not accepted" in str(error_of(*rows[0]))
        monkeypatch.undo()
        assert link.ask("status")["calls"]["open"] == 0
        link.close()


def test_a_core_that_was_left_half_done_ends_the_node(tmp_path: Path, monkeypatch):
    """Whoever sent what it was at: nobody could say what is true after that."""

    def step(loop: Any, *_: Any) -> Any:
        calls: Any = [None]  # No frame becomes this event.
        loop.step(Submitted(1, 1, calls))

    monkeypatch.setitem(requests.OPERATIONS, "audit.tip", step)
    node = Node(str(tmp_path / "node")).start()
    link = RawLink(node.address)
    link.open()
    link.send([envelope(Kind.ASK, id=make_id(), name=b"audit.tip", body=pack({}))])

    with pytest.raises(NodeError, match="the node ended by itself"):
        until(lambda: not node._thread.is_alive(), 10, "the node ends") and node.stop()
    link.close()
