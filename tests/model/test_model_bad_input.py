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

import pytest

from meshcode.errors import MeshError
from meshcode.model import snapshot
from meshcode.model.changes import SIGNED
from meshcode.model.checks import shown
from meshcode.model.kinds import FIELDS, KINDS, MADE
from tests.model.conftest import Model
from tests.model.postgres import empty_tables

FILE = Path(__file__).with_name("model_bad_input.txt")
ROWS_LEAST = 300
_NUMBER = -1  # In a request: that of the model as it is.

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
    "setting": {"value": 60_000},
    "override": {"processor": "shop", "task": "clean", "code": "def clean(x):\n    return x\n"},
    "secret": {"source": "env:SHOP_TOKEN"},
    "flow": {"document": {"pipeline": ["shop.clean", "b"]}},
}
# What the one of a kind is called, where not anything will do.
NAMED = {"setting": "retention_age_ms", "override": "shop.clean"}
VALUES: dict[str, Any] = {
    "a list": [1], "a map": {"a": 1}, "true": True, "below": -1, "above": 1 << 62,
    "a fraction": 1.5, "nothing in it": "", "a dash first": "-rf", "a line break": "a\nb",
    "NUL": "a\0b", "half a surrogate": "\ud800", "too long": "x" * 5_000, "bytes": b"x",
}  # fmt: skip
NAMES: list[Any] = [None, "", "-rf", "a b", "a\nb", "é", "x" * 201, 5, ["x"], b"x"]

CODES = {
    "that is no Python": "def clean(:\n",
    "of another function": "def price(x):\n    return x\n",
    "that replaces another task": "def clean(x): ...\ndef price(x): ...\n",
    "that does something": "def clean(x): ...\nfor _n in [1]:\n    _n()\n",
    "that is nested too deep": "def clean(x):\n    return " + "(" * 5_000 + ")" * 5_000 + "\n",
    "that is too long": "def clean(x): ...\n#" + "x" * 33_000,
}
FLOWS: dict[str, Any] = {
    "without a step": {},
    "of two forms": {"pipeline": ["b"], "parallel": ["b"]},
    "that is an empty pipeline": {"pipeline": []},
    "that is an empty parallel": {"pipeline": ["b", {"parallel": []}]},
    "with a funnel without a body": {"funnel": ["b"]},
    "with a socket that is not there": {"pipeline": ["b", "nowhere"]},
    "with a socket that is a number": {"pipeline": [5]},
    "with a key there is not": {"call": "b", "delay": 5},
    "with args that are none": {"call": "b", "args": {"a": 1}},
    "with a keyword that is none": {"call": "b", "kwargs": {"a b": 1}},
    "with data that JSON lacks": {"call": "b", "args": [[float("nan")]]},
    "with a segment of nothing": {"segment": "b", "items": [], "size": 2},
    "with a segment without a size": {"segment": "b", "items": [1]},
    "with a segment of size 0": {"segment": "b", "items": [1], "size": 0},
    "with a segment of a pipeline": {"segment": {"pipeline": ["b"]}, "items": [1], "size": 1},
    "with options that are none": {"call": "b", "options": [1]},
    "of too many steps": {"parallel": ["b"] * 1_000},
    "of too many bytes": {"call": "b", "args": ["x" * 65_536]},
    "that is text and no JSON": "{pipeline: [b]}",
}

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
    yield f"add {kind} again", _ask("add", kind, _the(kind), **good)
    yield f"add {kind} with an unknown option", _ask("add", kind, _bad(kind), **good, colour="red")
    yield f"update {kind} that is not there", _ask("update", kind, "nobody", **_any(kind))
    yield f"update {kind} with nothing", _ask("update", kind, _the(kind))
    yield (
        f"update {kind} from a stale revision",
        _ask("update", kind, _the(kind), revision=7, **_any(kind)),
    )
    yield f"delete {kind} that is not there", _ask("delete", kind, "nobody")
    yield f"delete {kind} of a stale revision", _ask("delete", kind, _the(kind), revision=7)
    yield f"delete {kind} with an option", _ask("delete", kind, _the(kind), force=True)
    yield f"get {kind} that is not there", _ask("get", kind, "nobody")
    if kind != "processor":
        yield f"start {kind}", _ask("start", kind, _the(kind))
    nobody = {"principal": "the-user", "by": "the-user"}  # A user without a right.
    yield f"add {kind} without the right", {**_ask("add", kind, _bad(kind), **good), **nobody}
    if kind not in ("user", "version"):  # Which is its own; which is there by another name.
        changed = _ask("update", kind, _the(kind), **_any(kind))
        yield f"update {kind} without the right", {**changed, **nobody}
        yield f"delete {kind} without the right", {**_ask("delete", kind, _the(kind)), **nobody}


def _of_field(kind: str, field: str) -> Iterator[Row]:
    spec, good = FIELDS[kind][field], GOOD.get(kind, {})
    if spec.required:
        without = {name: value for name, value in good.items() if name != field}
        yield f"add {kind} without {field}", _ask("add", kind, _bad(kind), **without)
        yield f"update {kind}: no {field}", _ask("update", kind, _the(kind), **{field: None})
    if spec.refers:
        given = {**good, field: ["nowhere"] if spec.many else "nowhere"}
        yield f"add {kind}: {field} is not there", _ask("add", kind, _bad(kind), **given)
        if kind != "override":  # Which has the name of what it names.
            change = {field: given[field]}
            yield f"update {kind}: {field} is not there", _ask("update", kind, _the(kind), **change)
    wrong = {title: value for title, value in VALUES.items() if _is_wrong(spec.check, value)}
    for title, value in wrong.items():
        given = {**good, field: value}
        yield f"add {kind}: {field} is {title}", _ask("add", kind, _bad(kind), **given)
    if (kind, field) not in SIGNED:  # Whatever is given there, the model says it itself.
        for title, value in list(wrong.items())[:1]:
            change = {field: value}
            yield f"update {kind}: {field} is {title}", _ask("update", kind, _the(kind), **change)


def _of_the_whole() -> Iterator[Row]:
    """What is wrong only together with the rest of the model."""
    yield "delete queue that is used", _ask("delete", "queue", "orders")
    yield "delete processor that is used", _ask("delete", "processor", "shop")
    yield "delete socket that is used", _ask("delete", "socket", "shop.clean")
    yield "delete plug that is used", _ask("delete", "plug", "ab")
    yield from _of_what_is_used()
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
    yield from _of_passwords()
    yield from _of_what_is_kept()
    yield from _of_many()
    yield "a scope of no kind", _ask("add", "privilege", "bad", **GOOD["privilege"], on="proc:x")
    yield "a scope of no label", _ask("add", "privilege", "bad", **GOOD["privilege"], on="label:x")
    for title, labels in (
        ("a label without a value", {"env": ""}),
        ("a label that is a number", {"env": 1}),
        ("a label with a space", {"the env": "x"}),
        ("a label with a long value", {"env": "x" * 64}),
        ("too many labels", {f"k{n}": "x" for n in range(17)}),
    ):
        yield title, _ask("add", "queue", "bad", labels=labels)
    yield "pause a stopped processor", _ask("pause", "processor", "the-processor")
    yield "resume a stopped processor", _ask("resume", "processor", "the-processor")
    yield "an unknown kind", _ask("add", "quueue", "bad")
    yield "an unknown verb", _ask("ad", "queue", "bad")
    yield "fields that are no map", {"do": "add", "kind": "queue", "name": "bad", "fields": [1]}
    yield "an owner without a name", {**_ask("add", "queue", "bad"), "by": ""}


def _of_passwords() -> Iterator[Row]:
    """Passwords where none belongs, and such as are none."""
    yield "a password in a URL", _ask("add", "processor", "bad", module="m",
                                      git="https://ann:secret@h/p")  # fmt: skip
    yield "a password that is short", _ask("add", "user", "bad", password="1234567")
    yield "a password that is no text", _ask("add", "user", "bad", password=12345678)
    yield "a hash of a password", _ask("add", "processor", "bad", **GOOD["processor"],
                                       password_hash="$argon2id$")  # fmt: skip


def _of_what_is_used() -> Iterator[Row]:
    """What stays while something names it."""
    yield "delete scheduler that is used", _ask("delete", "scheduler", "the-scheduler")
    yield "delete role that is used", _ask("delete", "role", "worn")
    yield "delete socket that a schedule calls", _ask("delete", "socket", "called")
    yield "delete socket that a flow calls", _ask("delete", "socket", "flowing")
    yield "delete queue that a plug uses", _ask("delete", "queue", "between")
    yield "a host and a scheduler", _ask("update", "deployment", "spread", host="h1")


def _of_many() -> Iterator[Row]:
    """Steps of a plan, and objects of a class: refused whole, with what would have been good."""
    good, step = {"kind": "queue", "name": "bad"}, ["add", "queue", "bad", {}]
    objects: dict[str, Any] = {
        "none": [], "no list": {"a": 1}, "a number": [good, 5],
        "one of no kind": [good, {"name": "x"}], "one of a kind that is not": [good, {"kind": "x"}],
        "one without a name": [good, {"kind": "queue"}],
        "one that is a user": [good, {"kind": "user", "name": "root"}],
        "a part there is not": [good, {**good, "if": 1}],
        "options that are none": [good, {**good, "options": [1]}],
        "new options that are none": [good, {**good, "new": 5}],
        "a word for what is there": [good, {**good, "there": "ask"}],
        "an owner that is none": [good, {**good, "by": 5}],
        "an option there is not": [good, {**good, "options": {"colour": "red"}}],
        "a value that cannot be": [good, {**good, "options": {"max_length": 0}}],
        "what differs": [good, {**good, "name": "orders", "options": {"type": "topic"}}],
        "what lacks an option": [good, {"kind": "socket", "name": "bad"}],
        "a reference to nothing": [good, {"kind": "node", "name": "x", "options": {
            "network": "nowhere"}}],
        "a way round": [good, {"kind": "plug", "name": "ba", "options": {
            "source": "b", "target": "shop.clean"}}],
        "a short password": [good, {"kind": "processor", "name": "shop", "there": "change",
                                    "options": {"password": "x"}}],
    }  # fmt: skip
    for title, given in objects.items():
        yield f"declare {title}", {"do": "declare", "fields": {"objects": given}}
    yield "declare with an option", {"do": "declare", "fields": {"objects": [good], "base": 1}}
    steps: dict[str, Any] = {
        "no list": {"a": 1}, "a number": [step, 5], "a short one": [step, ["add", "queue"]],
        "a verb there is not": [step, ["report", "queue", "x", {}]],
        "options that are none": [step, ["add", "queue", "x", [1]]],
        "a kind that is not": [step, ["add", "quueue", "x", {}]],
        "a version": [step, ["delete", "version", "x", {}]],
        "a hash": [step, ["update", "user", "the-user", {"password_hash": "x"}]],
        "no change": [step, ["update", "queue", "orders", {}]],
        "a delete with options": [step, ["delete", "queue", "orders", {"force": True}]],
        "an object twice": [step, step],
        "an object that is not there": [step, ["update", "queue", "nowhere", {"max_length": 1}]],
        "a delete of what is used": [step, ["delete", "queue", "orders", {}]],
        "a reference to nothing": [step, ["add", "node", "x", {"network": "nowhere"}]],
        "a way round": [step, ["add", "plug", "ba", {"source": "b", "target": "shop.clean"}]],
    }  # fmt: skip
    for title, given in steps.items():
        yield f"apply {title}", {"do": "apply", "fields": {"base": _NUMBER, "steps": given}}
    yield "apply to another model", {"do": "apply", "fields": {"base": 0, "steps": [step]}}
    yield "apply to no number", {"do": "apply", "fields": {"base": "1", "steps": [step]}}
    yield "apply with an option", {"do": "apply", "fields": {"base": 1, "steps": [], "force": 1}}


def _of_what_is_kept() -> Iterator[Row]:
    """Settings, secrets, files, flows and overrides."""
    yield "a setting there is not", _ask("add", "setting", "retention", value=1)
    yield "a setting below its least", _ask("add", "setting", "mounts_max", value=0)
    yield "a setting above its most", _ask("add", "setting", "mounts_max", value=65)
    yield "a secret instead of where it is", _ask("add", "secret", "bad", source="hunter2")
    yield "a secret of the mesh itself", _ask("add", "secret", "bad", source="env:MESH_MODEL")
    yield "a secret that is used", _ask("delete", "secret", "the-secret")
    yield "an environment with no such secret", _ask("update", "processor", "shop",
                                                     env={"T": "secret:nowhere"})  # fmt: skip
    yield "a credential that is no such secret", _ask("add", "repo", "bad", **GOOD["repo"],
                                                      credential="secret:nowhere")  # fmt: skip
    yield "a file that is no base64", _ask("add", "file", "bad", content="?", encoding="base64")
    yield "a file that is too large", _ask("add", "file", "bad", content="x" * 65_537)
    yield "a file without its end", _ask("add", "file", "bad", folder="reports/../x")
    yield "a file of a long name", _ask("add", "file", "x" * 190)
    yield "a file of a version that is not kept", _ask("update", "file", "the-file", restore=7)
    yield "a flow of a version that is true", _ask("update", "flow", "the-flow", restore=True)
    for title, code in CODES.items():
        request = {**GOOD["override"], "code": code}
        yield f"an override {title}", _ask("add", "override", "shop.clean", **request)
    yield "an override of another name", _ask("add", "override", "bad", **GOOD["override"])
    for title, document in FLOWS.items():
        yield f"a flow {title}", _ask("add", "flow", "bad", document=document)


def _ask(do: str, kind: str, name: Any, **fields: Any) -> dict[str, Any]:
    return {"do": do, "kind": kind, "name": name, "fields": fields}


def _the(kind: str) -> str:
    return NAMED.get(kind, f"the-{kind}")


def _bad(kind: str) -> str:
    return {"setting": "worker_calls", "override": "shop.price"}.get(kind, "bad")


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
        if kind != "network" and kind not in MADE:
            model.ask("add", kind, _the(kind), **GOOD.get(kind, {}))
    model.ask("add", "deployment", "spread", processor="shop", scheduler="the-scheduler")
    model.ask("add", "role", "worn")
    model.ask("add", "user", "worn-by", roles=["worn"])
    for name in ("called", "flowing"):
        model.ask("add", "socket", name, processor="shop", task="clean", queue="orders")
    model.ask("add", "schedule", "calling", socket="called", cron="@daily")
    model.ask("add", "flow", "of-one", document={"call": "flowing"})
    model.ask("add", "queue", "between")
    model.ask("add", "plug", "through", source="shop.clean", target="b", queue="between")
    model.ask("update", "processor", "the-processor", env={"TOKEN": "secret:the-secret"})
    model.ask("stop", None, "the-processor")


def _at(request: dict[str, Any], number: int) -> dict[str, Any]:
    fields = request["fields"]
    if isinstance(fields, dict) and fields.get("base") == _NUMBER:
        return {**request, "fields": {**fields, "base": number}}
    return request


def _state(model: Model) -> Any:
    with model.database.read() as session:
        return snapshot.read(session)


def answers(model: Model) -> Iterator[str]:
    """A line for each row; after each, the model is what it was."""
    _prepare(model)
    before, number = _state(model), model.number
    for title, request in rows():
        try:
            done, _ = model.publisher.request(_at(request, number), model.now_ms)
        except MeshError as error:
            yield f"{error.exit_status}  {title}: {error.text}"
        else:
            raise AssertionError(f"{title} was done: {done}")
        assert _state(model) == before and model.number == number, title


@pytest.fixture
def held(request: pytest.FixtureRequest, backend: str) -> Iterator[Model]:
    """A model on a database whose policies hold us: a server's owner may see and write all."""
    if backend == "postgres":
        address = request.getfixturevalue("app_url")
        empty_tables(address)
    else:
        address = str(request.getfixturevalue("tmp_path") / "model" / "model.db")
    model = Model(address)
    yield model
    model.close()


def test_each_is_told_exactly_and_changes_nothing(held):
    found = [line.encode("unicode_escape").decode() for line in answers(held)]

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
