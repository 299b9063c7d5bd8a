"""What is given wrongly is refused with a text that says what to do, and nothing else changes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcode import limits
from meshcode.client import Client, connect
from meshcode.errors import (
    BadData,
    BadRequest,
    BadResult,
    MeshError,
    NoNode,
    QueueFull,
    TooLarge,
    UnknownCall,
    UnknownObject,
    UnknownSocket,
    WrongArguments,
)
from meshcode.ids import make_id
from meshcode.router import feeding
from meshcode.wire.codec import pack_call
from meshcode.wire.frame import envelope, frame
from meshcode.wire.kinds import Flag, Kind
from tests.live.harness import Mesh, make_repository, refusal, until
from tests.live.rawlink import RawLink, error_of


@pytest.fixture(scope="module")
def client(mesh: Mesh) -> Iterator[Client]:
    """The client library on the shared node."""
    with connect(mesh.address) as connected:
        yield connected


def call(client: Client, socket: str, *args: Any, **kwargs: Any) -> Any:
    """Submit and wait."""
    return client.socket(f"live.tasks.{socket}").submit(*args, **kwargs).result(20)


def check_text(error: MeshError, kind: type[MeshError], *parts: str) -> None:
    """The class and what the text must say."""
    assert type(error) is kind or isinstance(error, kind), repr(error)
    for part in parts:
        assert part in str(error), str(error)


# The call itself.


def test_an_unknown_socket(client: Client):
    error = refusal(lambda: call(client, "ecoh", 1))

    check_text(error, UnknownSocket)
    assert str(error) == "there is no socket 'live.tasks.ecoh'; did you mean 'live.tasks.echo'?"


def test_an_unknown_socket_in_the_shell(mesh: Mesh):
    done = mesh.mesh("run", "live.tasks.ecoh", "1")

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "mesh: there is no socket 'live.tasks.ecoh'; did you mean 'live.tasks.echo'?\n"
    )


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "misses 'left', 'right'"),
        (("a",), {}, "misses 'right'"),
        (("a", "b", "c"), {}, "takes 2 positional arguments, 3 given"),
        (("a", "b"), {"on": "c"}, "has no argument 'on'"),
        (("a", "b"), {"left": "c"}, "got two values for argument 'left'"),
    ],
)
def test_wrong_arguments_are_seen_before_the_call_is_accepted(
    mesh: Mesh, client: Client, args: tuple[str, ...], kwargs: dict[str, str], problem: str
):
    before = mesh.ask("status")["done"]

    error = refusal(lambda: call(client, "join", *args, **kwargs))

    check_text(error, WrongArguments)
    assert str(error) == (
        f"live.tasks.join(left, right, *, by='') {problem}; the call was not accepted"
    )
    assert mesh.ask("status")["done"] == before


def test_an_argument_that_is_no_plain_data(client: Client):
    error = refusal(lambda: call(client, "echo", {"when": [{1, 2}]}))

    check_text(error, BadData, '["when"][0]', "set")


def test_a_result_that_is_no_plain_data(client: Client):
    """It ran: nobody may read that nothing was sent, and send it again."""
    error = refusal(lambda: call(client, "a_set"))

    check_text(error, BadResult, '["when"][0]', "set")
    assert str(error).endswith("use a list; the call ran, its result was not kept")
    assert error.exit_status == 1


def test_an_argument_over_the_limit_never_leaves_the_client(client: Client):
    size = limits.BODY_BYTES_MAX + 1

    error = refusal(lambda: call(client, "echo", bytes(size)))

    check_text(error, TooLarge, str(limits.BODY_BYTES_MAX))


def test_a_result_over_the_limit(client: Client):
    error = refusal(lambda: call(client, "large", limits.BODY_BYTES_MAX + 1))

    check_text(error, BadResult, str(limits.BODY_BYTES_MAX))
    assert "the call ran, its result was not kept; pass large data by reference" in str(error)


def test_a_task_that_raises_tells_its_type_text_and_traceback(client: Client):
    with pytest.raises(ValueError, match="no such order") as caught:
        call(client, "boom", "no such order")

    assert isinstance(caught.value, MeshError)
    assert "raise ValueError(text)" in "".join(caught.value.__notes__)


def test_a_full_queue_refuses_with_both_numbers(mesh: Mesh, client: Client):
    mesh.add("queue", "short", max_length=3)
    mesh.add("socket", "short.echo", processor="live", task="echo", queue="short")
    mesh.ask("proc", do="pause", name="live")
    socket = client.socket("short.echo")
    waiting = [socket.submit(n) for n in range(3)]
    for one in waiting:
        one.wait_accepted()

    error = refusal(lambda: socket.submit(3).result(20))

    check_text(error, QueueFull)
    assert str(error) == (
        "the line of socket short.echo holds 3 calls, its queue short allows 3; "
        "the call was not accepted; try again later"
    )
    mesh.ask("proc", do="resume", name="live")
    assert [one.result(20) for one in waiting] == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"priority": 10}, "option priority must be 0 to 9, it is 10"),
        ({"retries": -1}, "option retries must be 0 to 1000000, it is -1"),
        ({"time_limit_ms": "1"}, "option time_limit_ms must be a whole number, it is '1'"),
        ({"key": 7}, "option key must be text of at most 200 characters"),
        ({"kw": "by"}, "option kw must be a list of names"),
    ],
)
def test_a_wrong_option(mesh: Mesh, options: dict[str, Any], text: str):
    from meshcode.wire.codec import pack, pack_call

    link = mesh.link()
    id = make_id()
    link.send([envelope(
        Kind.SUBMIT, id=id, flow=id, name=b"live.tasks.echo", meta=pack(options),
        body=pack_call([1], {}), argc=1,
    )])  # fmt: skip

    seen = until(lambda: link.receive(0.5), 5, "an answer")
    link.close()

    row, data = seen[0]
    assert (row.kind, row.id) == (Kind.REFUSED, id)
    assert str(error_of(row, data)) == f"socket live.tasks.echo: {text}"


# Asking.


def test_an_unknown_operation(mesh: Mesh):
    error = refusal(lambda: mesh.ask("call.lst"))

    check_text(error, BadRequest)
    assert str(error) == "this node knows no operation 'call.lst'; did you mean 'call.list'?"


def test_an_unknown_call(mesh: Mesh):
    error = refusal(lambda: mesh.ask("call.get", id="00000000-0000-7000-8000-000000000000"))

    check_text(error, UnknownCall, "no call")


def test_an_id_that_is_none(mesh: Mesh):
    error = refusal(lambda: mesh.ask("call.get", id="nonsense"))

    assert str(error) == "a call id is 4 to 32 hexadecimal digits, this is 'nonsense'"


def test_a_socket_of_a_processor_that_is_not_there(mesh: Mesh):
    error = refusal(lambda: mesh.add("socket", "a.b", processor="liev", task="x", queue="q"))

    check_text(error, UnknownObject, "liev", "live")


# The shell.


@pytest.mark.parametrize(
    "data", ["['some data'", "[1, 2", "{'a': }", "__import__('os').getcwd()", "[x for x in y]"]
)
def test_syntax_in_data_is_shown_with_a_caret_and_nothing_is_evaluated(mesh: Mesh, data: str):
    done = mesh.mesh("task", "run", "-s", "live.tasks.echo", "--data", data)

    assert (done.returncode, done.stdout) == (2, "")
    assert "--data" in done.stderr
    assert "line 1, column" in done.stderr
    assert done.stderr.rstrip().endswith("^")


def test_no_node_is_running(tmp_path: Path):
    mesh = Mesh(tmp_path)

    done = mesh.mesh("run", "a.b", "1")

    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr == (
        f"mesh: no node answers at {mesh.address}; start one with `mesh up` or `mesh dev`\n"
    )


def test_no_node_is_running_for_the_library(tmp_path: Path):
    address = f"ipc://{tmp_path}/nobody.ipc"

    error = refusal(lambda: connect(address, timeout=0.2))

    check_text(error, NoNode, address)


# Hostile bytes on the link.


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(4_096),
        frame([envelope(Kind.HELLO)])[:-1],
        frame([envelope(Kind.HELLO)]) + b"x",
        b"MESH\x07" + frame([])[5:],
    ],
    ids=["empty", "zero", "http", "random", "cut", "tail", "version"],
)
def test_bytes_that_are_no_frame_are_answered_and_harm_nobody(mesh: Mesh, data: bytes):
    link = RawLink(mesh.address)
    link.send_bytes(data)

    seen = until(lambda: link.receive(0.5), 5, "an answer to hostile bytes")
    link.close()

    row, answer = seen[0]
    assert row.kind == Kind.REFUSED
    assert error_of(row, answer).code == "bad_frame"
    assert mesh.ask("status")["state"] == "ready"


def test_a_frame_over_the_limit_costs_its_sender_the_link_and_nobody_else(mesh: Mesh):
    """libzmq drops the connection at MAXMSGSIZE; the node never holds those bytes."""
    link = mesh.link()
    link.send_bytes(bytes(limits.FRAME_BYTES_MAX + 1))

    assert mesh.ask("status")["state"] == "ready"
    assert not link.receive(0.2)
    assert link.open()["boot"] >= 1  # It may come back and behave.
    link.close()


def test_a_frame_without_a_session_is_welcomed_and_not_obeyed(mesh: Mesh):
    link = RawLink(mesh.address)
    id = make_id()
    link.send([envelope(Kind.SUBMIT, id=id, flow=id, name=b"live.tasks.echo", argc=0)])

    seen = until(lambda: link.receive(0.5), 5, "a WELCOME")
    link.close()

    assert [row.kind for row, _ in seen] == [Kind.WELCOME]
    error = refusal(lambda: mesh.ask("call.get", id=id))
    check_text(error, UnknownCall)


def test_a_flow_that_is_sent_twice_as_new_is_one_flow(mesh: Mesh):
    """It has ended when the second comes: nothing of it is open, so it must be looked up."""
    id = make_id()
    step = ["live.tasks.echo", 1, pack_call([7]), None, None]
    body = pack_call([{"steps": [step], "result": 0}])
    first = feeding.step_id(id, 0)
    told, records = [], []

    for _ in range(2):
        link = mesh.link()
        link.send([
            envelope(Kind.SUBMIT, id=id, name=b"@flow", body=body, argc=1, flags=Flag.FRESH)
        ])  # fmt: skip
        until(lambda on=link: on.ask("call.get", id=first)["state"] == "DONE", 20, "its step ends")
        told.append([data[row.start : row.end] for row, data in link.unread if row.id == id])
        records.append(link.ask("call.get", id=first))
        link.close()

    assert told[0] == told[1]
    assert len(told[0]) == 1
    assert records[0] == records[1], "the step did not run again"


# Code that cannot be mounted.  The calls are kept, and say why they wait.


def parked_reason(mesh: Mesh, processor: str) -> str:
    """Why the calls of a processor wait, once its mount has failed."""
    found = until(
        lambda: (p := mesh.processor(processor)) and "could not be mounted" in p["parked"] and p,
        60,
        lambda: f"{processor} fails to mount: {mesh.processor(processor)}",
        every=0.1,
    )
    return str(found["parked"])


@pytest.mark.parametrize(
    ("name", "fields", "parts"),
    [
        ("repo", {"git": "file:///nonexistent/repo"}, ["(fetch)", "/nonexistent/repo"]),
        ("ref", {"branch": "nowhere"}, ["(fetch)", "nowhere"]),
        ("commit", {"commit": "f" * 40}, ["(fetch)", "f" * 12]),
        ("module", {"module": "live.nothing"}, ["(import)", "live.nothing"]),
        ("code", {"module": "live.bad"}, ["(import)", "a_package_that_nobody_has"]),
    ],
)
def test_code_that_is_not_there(
    mesh: Mesh, repository: Path, name: str, fields: dict[str, str], parts: list[str]
):
    given = {"git": repository.as_uri(), "module": "live.tasks", "branch": "main", **fields}
    mesh.add("processor", f"no-{name}", **given)
    mesh.add("socket", f"no.{name}", processor=f"no-{name}", task="echo", queue="q")

    reason = parked_reason(mesh, f"no-{name}")

    for part in parts:
        assert part in reason
    with connect(mesh.address) as client:
        waiting = client.socket(f"no.{name}").submit(1)
        waiting.wait_accepted()
        row = mesh.ask("call.get", id=waiting.id)
        assert (row["state"], row["reason"]) == ("PARKED", reason)
        waiting.cancel()
    mesh.ask("model", do="delete", kind="socket", name=f"no.{name}", fields={})
    mesh.ask("model", do="delete", kind="processor", name=f"no-{name}", fields={})


def test_a_function_that_is_not_there(mesh: Mesh):
    mesh.add("socket", "no.function", processor="live", task="ecoh", queue="q")

    with connect(mesh.address) as client:
        waiting = client.socket("no.function").submit(1)
        error = refusal(lambda: waiting.result(20))

    commit = mesh.processor("live")["commit"][:12]
    assert str(error) == (
        "the socket 'no.function' has no function to run: the module 'live.tasks' has no function "
        "'ecoh'; its functions are: echo, join, boom, a_set, large, die, where, nap, say; "
        f"the commit that runs here is {commit}; `mesh proc restart -n live` fetches a newer one, "
        "if none is pinned; the call was not run"
    )
    mesh.ask("model", do="delete", kind="socket", name="no.function", fields={})


def test_an_environment_that_cannot_be_built_leaves_the_old_one_running(
    mesh: Mesh, client: Client, tmp_path: Path
):
    repository = tmp_path / "repository"
    make_repository(repository, {"one.py": "def which():\n    return 1\n"})
    mesh.offer("swap", repository, "one", ["which"])
    mesh.wait_ready("swap")
    socket = client.socket("one.which")
    assert socket.submit().result(20) == 1

    (repository / "one.py").write_text("def which():\n    return 2\n")
    (repository / "requirements.txt").write_text("./a-folder-that-is-not-there\n")
    make_repository(repository, {}, "needs what nobody has")
    commit = mesh.processor("swap")["commit"]
    mesh.ask(
        "model", do="update", kind="processor", name="swap",
        fields={"requirements": "requirements.txt"},
    )  # fmt: skip

    reason = until(
        lambda: "could not be mounted" in mesh.processor("swap").get("problem", "")
        and mesh.processor("swap")["problem"],
        60,
        lambda: f"the build fails: {mesh.processor('swap')}",
        every=0.1,
    )
    assert "(environment)" in reason
    assert f"the code of commit {commit[:12]} keeps running" in reason
    assert socket.submit().result(20) == 1
