"""The client with a real node, real workers and a real repository; killed in the middle."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from meshcode import connect, connect_async, errors, pipeline
from meshcode.client import Client, api
from meshcode.client.asking import ask_each
from meshcode.client.default import default_client
from tests.live.harness import Mesh, offering

TASKS = '''
import time


def echo(value):
    """Return `value` as it came."""
    return value


def boom(text):
    raise ValueError(text)


def count(n):
    for i in range(n):
        yield i


def say(text):
    print(text)


def wait(seconds):
    time.sleep(seconds)
'''
NAMES = ("echo", "boom", "count", "say", "wait")
WAIT_S = 60.0


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """A node that offers TASKS."""
    with offering("p", {"lib.py": TASKS}, "lib", NAMES) as node:
        yield node


@pytest.fixture
def client(mesh: Mesh) -> Iterator[Client]:
    """A client of it."""
    found = connect(mesh.address, timeout=WAIT_S)
    yield found
    found.close(0)


def test_values_and_errors_cross_the_mesh(client):
    assert client.socket("lib.echo")({"a": [1, b"2", (3, None)]}) == {"a": [1, b"2", (3, None)]}
    assert list(client.socket("lib.echo").map(range(2000))) == list(range(2000))
    with pytest.raises(ValueError, match="boom") as caught:
        client.socket("lib.boom")("boom")
    assert "in boom" in caught.value.traceback_text


def test_the_node_refuses_what_cannot_run(client):
    with pytest.raises(errors.UnknownSocket, match=r"did you mean 'lib\.echo'"):
        client.socket("lib.ecko")(1)
    with pytest.raises(errors.WrongArguments, match="misses 'value'"):
        client.socket("lib.echo")()
    with pytest.raises(errors.WrongArguments, match="has no argument 'other'"):
        client.socket("lib.echo")(1, other=2)


def test_a_call_has_the_handle_that_programs_of_the_original_expect(client, mesh, monkeypatch):
    monkeypatch.setenv("MESH_NODE", mesh.address)
    echo = api.Socket("lib.echo")

    call = echo.delay("x")
    assert call.get(WAIT_S) == echo.get(taskid=call.id).get(timeout=WAIT_S) == "x"
    assert call.status == echo.get(taskid=call.id).status == "DONE"
    [copy] = api.Task("echo")("y").get(WAIT_S)  # It runs on every worker.
    assert copy["value"] == "y"
    waits = client.socket("lib.wait").options(delay=WAIT_S).submit(0)
    waits.wait_accepted(WAIT_S)
    assert waits.status == client.call(waits.id).status == "DELAYED"
    waits.cancel()
    assert waits.get(WAIT_S, propagate=False).code == "cancelled"
    assert waits.status == "CANCELLED"
    default_client().close()


def test_what_was_refused_is_told_whoever_asks_what_became_of_it(client, mesh):
    """The node never had it: to say that it knows no such call was no help."""
    call = client.socket("lib.no").submit()
    flow = client.submit(pipeline(client.socket("lib.no").p(), client.socket("lib.echo").p()))
    step = flow.steps[1]
    for handle in (call, flow, step):  # The refusals are on their way.
        for ask in (handle.info, handle.events, handle.output, handle.cancel):
            with pytest.raises(errors.UnknownSocket, match=r"there is no socket 'lib\.no'"):
                ask()
    with pytest.raises(errors.UnknownSocket):
        flow.progress()
    with pytest.raises(errors.UnknownSocket):
        call.retry()

    async def main() -> None:
        async with await connect_async(mesh.address) as found:
            await (await found.socket("lib.no").submit()).info()

    with pytest.raises(errors.UnknownSocket):
        asyncio.run(main())


def test_a_call_can_be_followed(client):
    call = client.socket("lib.say").submit("hello")
    assert call.wait_accepted(WAIT_S) == "local 1/1"
    assert call.result(WAIT_S) is None

    assert call.output()["stdout"] == "hello\n"
    assert call.info()["state"] == "DONE"
    names = [event["name"] for event in call.events()]
    assert (names[0], names[-1]) == ("received", "postrun")


def test_a_call_that_is_not_there_is_named_as_people_write_it(client):
    unknown = client.call("01a22336-9739-797d-8922-89b9cc499789")

    for ask in (lambda: unknown.result(WAIT_S), unknown.info, unknown.events, unknown.cancel):
        with pytest.raises(errors.UnknownCall, match=unknown.id):
            ask()
    with pytest.raises(errors.UnknownCall, match="begins with '01a22336'"):
        client.call("01a22336")


def test_a_generator_streams(client):
    assert list(client.socket("lib.count").submit(5).items(WAIT_S)) == [0, 1, 2, 3, 4]


def test_a_running_call_is_cancelled(client):
    call = client.socket("lib.wait").submit(WAIT_S)
    call.wait_accepted(WAIT_S)

    call.cancel()

    with pytest.raises(errors.CallCancelled):
        call.result(WAIT_S)


def test_a_finished_call_is_found_by_another_client(client, mesh):
    call = client.socket("lib.echo").submit("kept")
    call.result(WAIT_S)

    with connect(mesh.address) as other:
        assert other.call(call.id).result(WAIT_S) == "kept"


def test_asyncio_runs_many_calls_side_by_side(mesh):
    async def main():
        async with await connect_async(mesh.address, timeout=WAIT_S) as client:
            echo = client.socket("lib.echo")
            return await asyncio.gather(*(echo(n) for n in range(500)))

    assert asyncio.run(main()) == list(range(500))


def test_calls_survive_the_kill_of_the_node(client, mesh):
    """Some acknowledged, some on their way, some submitted while it is away: all end once."""
    echo = client.socket("lib.echo")
    calls = [echo.submit(n) for n in range(3000)]
    mesh.kill()
    calls += [echo.submit(n) for n in range(3000, 4000)]
    mesh.start()

    assert [call.result(WAIT_S) for call in calls] == list(range(4000))
    assert client.ask("status")["calls"]["open"] == 0


def test_the_folder_of_the_node_is_found_by_its_home(mesh, monkeypatch):
    monkeypatch.delenv("MESH_NODE", raising=False)
    monkeypatch.setenv("MESH_HOME", str(mesh.home))

    with connect() as client:
        assert client.address == mesh.address
        assert client.socket("lib.echo")(1) == 1


def test_what_is_asked_for_many_is_answered_in_order_with_the_errors_among_it(client: Client):
    ids = [client.socket("lib.echo").submit(n).id for n in range(5)]
    wrong = "0192f3c1-0000-7000-8000-000000000000"
    each = [{"id": id} for id in (*ids[:3], wrong, *ids[3:])]

    for ahead in (1, 2, 100):
        found = list(ask_each(client, "call.get", iter(each), timeout=WAIT_S, ahead=ahead))

        assert isinstance(found[3], errors.UnknownCall)
        assert [row["id"] for row in found[:3] + found[4:]] == ids


INTERRUPTED = """
import sys
from meshcode import Socket

class Interrupt:
    "Ctrl-C while modules are loaded: in each, once."
    seen = set()
    def find_spec(self, name, path=None, target=None):
        if name not in self.seen:
            self.seen.add(name)
            raise KeyboardInterrupt

call = Socket("lib.count").submit(3)
call.result()
before = set(sys.modules)
sys.meta_path.insert(0, Interrupt())
while True:
    try:
        print(list(call.stream()))
        break
    except KeyboardInterrupt:
        pass
del sys.meta_path[0]
print({name.partition(".")[0] for name in set(sys.modules) - before})
"""


def test_a_stream_can_be_read_after_ctrl_c_came_while_its_code_was_loaded(mesh: Mesh):
    """asyncio would be half there for the rest of the program; nothing here needs it."""
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], env={**mesh.env, "MESH_NODE": mesh.address},
        capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == "[0, 1, 2]\n{'meshcode'}\n"
