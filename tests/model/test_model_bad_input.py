"""Everything that can be wrong with an object, for each kind and option: told exactly, and undone.

The rows are made here, from the list of kinds, so a new option has its rows at once; what each is
answered stands in `model_bad_input.txt`, for people to read: status, request, words.
`python -m tests.model.test_model_bad_input` writes it anew; look at what differs before it is kept.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meshcode.errors import MeshError
from meshcode.model import snapshot
from meshcode.model.checks import shown
from meshcode.model.kinds import FIELDS, KINDS
from tests.model.conftest import Model

FILE = Path(__file__).with_name("model_bad_input.txt")
ROWS_LEAST = 300

# One good object of each kind that has options which must be there.
GOOD: dict[str, dict[str, Any]] = {
    "processor": {"git": "/srv/shop", "module": "shop.tasks"},
    "socket": {"processor": "shop", "task": "clean", "queue": "orders"},
    "deployment": {"processor": "shop"},
    "plug": {"source": "shop.clean", "target": "b"},
    "repo": {"url": "https://git.example.org/shop"},
    "gate": {"plug": "ab"},
    "schedule": {"socket": "shop.clean", "cron": "@daily"},
    "privilege": {"right": "RUN_TASK", "role": "the-role"},
}
VALUES: dict[str, Any] = {
    "a list": [1], "a map": {"a": 1}, "true": True, "below": -1, "above": 1 << 62,
    "a fraction": 1.5, "nothing in it": "", "a dash first": "-rf", "a line break": "a\nb",
    "NUL": "a\0b", "half a surrogate": "\ud800", "too long": "x" * 5_000, "bytes": b"x",
}  # fmt: skip
NAMES: list[Any] = [None, "", "-rf", "a b", "a\nb", "é", "x" * 201, 5, ["x"], b"x"]

Row = tuple[str, dict[str, Any]]


def rows() -> Iterator[Row]:
    """Every wrong request with a title."""
    for kind in KINDS:
        yield from _of_kind(kind)
        for field in FIELDS[kind]:
            yield from _of_field(kind, field)
    yield from _of_the_whole()


def _of_kind(kind: str) -> Iterator[Row]:
    good = GOOD.get(kind, {})
    for name in NAMES:
        yield f"add {kind} named {shown(name)}", _ask("add", kind, name, **good)
    yield f"add {kind} again", _ask("add", kind, f"the-{kind}", **good)
    yield f"add {kind} with an unknown option", _ask("add", kind, "bad", **good, colour="red")
    yield f"update {kind} that is not there", _ask("update", kind, "nobody", **_any(kind))
    yield f"update {kind} with nothing", _ask("update", kind, f"the-{kind}")
    yield (
        f"update {kind} from a stale revision",
        _ask("update", kind, f"the-{kind}", revision=7, **_any(kind)),
    )
    yield f"delete {kind} that is not there", _ask("delete", kind, "nobody")
    yield f"delete {kind} of a stale revision", _ask("delete", kind, f"the-{kind}", revision=7)
    yield f"delete {kind} with an option", _ask("delete", kind, f"the-{kind}", force=True)
    yield f"get {kind} that is not there", _ask("get", kind, "nobody")
    if kind != "processor":
        yield f"start {kind}", _ask("start", kind, f"the-{kind}")


def _of_field(kind: str, field: str) -> Iterator[Row]:
    spec, good = FIELDS[kind][field], GOOD.get(kind, {})
    if spec.required:
        without = {name: value for name, value in good.items() if name != field}
        yield f"add {kind} without {field}", _ask("add", kind, "bad", **without)
        yield f"update {kind}: no {field}", _ask("update", kind, f"the-{kind}", **{field: None})
    if spec.refers:
        given = {**good, field: ["nowhere"] if spec.many else "nowhere"}
        yield f"add {kind}: {field} is not there", _ask("add", kind, "bad", **given)
    for title, value in VALUES.items():
        if _is_wrong(spec.check, value):
            given = {**good, field: value}
            yield f"add {kind}: {field} is {title}", _ask("add", kind, "bad", **given)


def _of_the_whole() -> Iterator[Row]:
    """What is wrong only together with the rest of the model."""
    yield "delete queue that is used", _ask("delete", "queue", "orders")
    yield "delete processor that is used", _ask("delete", "processor", "shop")
    yield "delete socket that is used", _ask("delete", "socket", "shop.clean")
    yield "delete plug that is used", _ask("delete", "plug", "ab")
    yield "remove processor that is used", _ask("remove", "processor", "shop")
    yield "delete network, a part of which is used", _ask("delete", "network", "the-network")
    yield "plugs go round", _ask("add", "plug", "bad", source="b", target="shop.clean")
    yield "a plug into itself", _ask("add", "plug", "bad", source="b", target="b")
    yield "an updated plug goes round", _ask("update", "plug", "ab", target="shop.clean")
    yield "dead letters to nowhere", _ask("add", "queue", "bad", overflow="dead-letter")
    yield (
        "dead letters go round",
        _ask("update", "queue", "orders", overflow="dead-letter", dead_letter="shop.clean"),
    )
    yield "a tag and a commit", _ask("add", "processor", "bad", **GOOD["processor"], tag="v1",
                                     commit="abcdef0")  # fmt: skip
    yield "a gate that asks nobody", _ask("add", "gate", "bad", plug="ab", mode="task")
    yield "a gate with a socket for nothing", _ask("add", "gate", "bad", plug="ab", socket="b")
    yield "a schedule without a time", _ask("add", "schedule", "bad", socket="b")
    yield "a schedule with two times", _ask("update", "schedule", "the-schedule", interval_ms=1000)
    yield "a schedule that never fires", _ask("add", "schedule", "bad", socket="b",
                                              cron="0 0 30 2 *")  # fmt: skip
    yield "a schedule that ends too early", _ask(
        "add", "schedule", "bad", socket="b", cron="0 0 29 2 *", start="2026-03-01",
        end="2027-01-01",
    )  # fmt: skip
    yield "arguments that are no data", _ask("add", "schedule", "bad", socket="b", cron="@daily",
                                             args=[b"x"])  # fmt: skip
    yield "a number that JSON lacks", _ask("add", "schedule", "bad", socket="b", cron="@daily",
                                           args=[float("nan")])  # fmt: skip
    yield "many arguments", _ask("add", "schedule", "bad", socket="b", cron="@daily",
                                 args=["x" * 20_000])  # fmt: skip
    yield "arguments of no names", _ask("add", "schedule", "bad", socket="b", cron="@daily",
                                        kwargs={"a b": 1})  # fmt: skip
    yield "a password in a URL", _ask("add", "processor", "bad", module="m",
                                      git="https://ann:secret@h/p")  # fmt: skip
    yield "a password that is short", _ask("add", "user", "bad", password="1234567")
    yield "a password that is no text", _ask("add", "user", "bad", password=12345678)
    yield "a hash of a password", _ask("add", "processor", "bad", **GOOD["processor"],
                                       password_hash="$argon2id$")  # fmt: skip
    yield "a scope of no kind", _ask("add", "privilege", "bad", **GOOD["privilege"], on="proc:x")
    yield "pause a stopped processor", _ask("pause", "processor", "the-processor")
    yield "resume a stopped processor", _ask("resume", "processor", "the-processor")
    yield "an unknown kind", _ask("add", "quueue", "bad")
    yield "an unknown verb", _ask("ad", "queue", "bad")
    yield "fields that are no map", {"do": "add", "kind": "queue", "name": "bad", "fields": [1]}
    yield "an owner without a name", {**_ask("add", "queue", "bad"), "by": ""}


def _ask(do: str, kind: str, name: Any, **fields: Any) -> dict[str, Any]:
    return {"do": do, "kind": kind, "name": name, "fields": fields}


def _any(kind: str) -> dict[str, Any]:
    """A change that would be good."""
    field = next(iter(FIELDS[kind]))
    return {field: GOOD.get(kind, {}).get(field)}


def _is_wrong(check: Any, value: Any) -> bool:
    try:
        check(value)
    except ValueError:
        return True
    return False


def _prepare(model: Model) -> None:
    """One of each kind, some of them in use."""
    model.shop()
    model.ask("add", "network", "the-network")
    model.ask("update", "queue", "orders", network="the-network")
    model.ask("add", "socket", "b", processor="shop", task="clean", queue="orders")
    model.ask("add", "plug", "ab", source="shop.clean", target="b")
    for kind in KINDS:
        if kind != "network":
            model.ask("add", kind, f"the-{kind}", **GOOD.get(kind, {}))
    model.ask("stop", None, "the-processor")


def _state(model: Model) -> Any:
    with model.database.read() as session:
        return snapshot.read(session)


def answers(model: Model) -> Iterator[str]:
    """A line for each row; after each, the model is what it was."""
    _prepare(model)
    before, number = _state(model), model.number
    for title, request in rows():
        try:
            done, _ = model.publisher.request(request, model.now_ms)
        except MeshError as error:
            yield f"{error.exit_status}  {title}: {error.text}"
        else:
            raise AssertionError(f"{title} was done: {done}")
        assert _state(model) == before and model.number == number, title


def test_each_is_told_exactly_and_changes_nothing(model, model_path):
    found = [line.encode("unicode_escape").decode() for line in answers(model)]

    assert found == FILE.read_text().splitlines()
    assert len(found) >= ROWS_LEAST and len(set(found)) == len(found)


def main() -> None:
    """Write the file anew."""
    with tempfile.TemporaryDirectory() as folder:
        model = Model(Path(folder) / "model.db")
        lines = [line.encode("unicode_escape").decode() for line in answers(model)]
        model.close()
    FILE.write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} rows", file=sys.stderr)


if __name__ == "__main__":
    main()
