"""The object API against a real node: found or made, read, changed, deleted, called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcode import errors
from meshcode.client import default_client
from meshcode.client.aio import AsyncSocket
from meshcode.client.api import (
    USER,
    Agent,
    Argument,
    Deployment,
    File,
    Gate,
    Network,
    Node,
    Plug,
    Processor,
    Queue,
    SavedFlow,
    Schedule,
    Scheduler,
    Secret,
    Setting,
    Socket,
    Task,
    Worker,
)
from meshcode.db.model import AlchemyEncoder
from tests.live.harness import ROOT, Mesh, make_repository, until

LIB = '''
import os


def who(n=0, *rest, last=None):
    """Who runs it."""
    return os.environ["WHO"]


def double(n, /, *, plus=0):
    return 2 * n + plus
'''
SAMPLE = '''
def do_something(message, *args):
    return "TEXT:" + str(message)


def do_this(message):
    return "Do this: " + str(message)
'''
WAIT_S = 60.0


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with `lib` and the sample module of the original."""
    folder = tmp_path_factory.mktemp("code") / "repository"
    make_repository(folder, {
        "lib.py": LIB, "pyfi/__init__.py": "", "pyfi/processors/__init__.py": "",
        "pyfi/processors/sample.py": SAMPLE,
    })  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def mesh(repository: Path) -> Iterator[Mesh]:
    """A node with two processors that have the same functions."""
    with pytest.MonkeyPatch.context() as patch, Mesh() as node:
        patch.setenv("MESH_NODE", node.address)
        default_client().close(0)  # That of an earlier test may be of another node.
        for name in ("east", "west"):
            Processor(name, git=repository, module="lib", env={"WHO": name})
            Socket(f"{name}.who", processor=name, task="who", queue={"name": "q"})
        Socket("lib.double", processor="east", task="double", queue="q")
        node.wait_ready("east")
        node.wait_ready("west")
        yield node
        default_client().close(0)


@pytest.fixture(autouse=True)
def of_the_node(mesh: Mesh) -> None:
    """Every test here is about that node."""


SIMPLE = [
    (Network, {}, {"description": "first"}, {"description": "second"}),
    (Scheduler, {}, {"strategy": "BALANCED"}, {"strategy": "EFFICIENT"}),
    (Node, {}, {"hostname": "a.example", "cpus": 2}, {"host": "b.example"}),
    (Queue, {}, {"max_length": 5, "message_ttl_ms": 60_000}, {"max_length": 6}),
    (Deployment, {"processor": "none"}, {"hostname": "a.example", "cpus": 1}, {"cpus": 2}),
    (Plug, {"source": "east.who", "target": "lib.double"}, {"type": "RESULT"}, {"type": "ERROR"}),
]


@pytest.fixture
def unused_processor(repository: Path) -> Iterator[Processor]:
    """A processor of which nothing is run."""
    yield Processor("none", git=repository, module="lib", requested_status="stop")
    found = Processor.find("none")
    if found is not None:
        found.remove()


@pytest.mark.parametrize(("kind", "needed", "first", "second"), SIMPLE, ids=lambda v: str(v)[-20:])
def test_an_object_is_made_then_found_then_changed(kind, needed, first, second, unused_processor):
    made = kind("thing", **needed, **first)

    assert kind("thing") == made == kind.find("thing")
    assert kind("thing").id == kind("thing", **needed, **first).id == made.id
    assert made in kind.all()
    assert made.revision == 1
    with pytest.raises(errors.ObjectExists, match=r"exists and has .*, not .* or say update=True"):
        kind("thing", **second)
    assert kind("thing").revision == 1
    changed = kind("thing", update=True, **second)
    assert (changed.revision, changed.id) == (2, made.id)
    (option, value), *_ = second.items()
    assert getattr(changed, option) == value
    assert made.refresh().to_dict() == changed.to_dict()
    made.delete()
    assert kind.find("thing") is None
    with pytest.raises(errors.UnknownObject):
        changed.refresh()


def test_update_changes_and_takes_away():
    queue = Queue("changing", max_length=3)

    assert queue.update(max_length=None, overflow="reject").max_length is None
    with pytest.raises(errors.WrongState, match="is at revision 2 and this edit is of revision 1"):
        queue.update(revision=1, max_length=4)
    with pytest.raises(errors.BadRequest, match=r"has no option 'max_lenght'.*did you mean"):
        queue.update(max_lenght=4)
    for option in ("name", "kind", "by"):  # What a request has beside its fields.
        with pytest.raises(errors.BadRequest, match=f"a queue has no option '{option}'"):
            queue.update(**{option: "x"})
    with pytest.raises(errors.BadRequest, match="a queue has no option 'kind'"):
        Queue("changing", kind="x")
    with pytest.raises(errors.BadRequest, match="a queue has no option 'client'"):
        queue.update(client=default_client())
    with pytest.raises(errors.BadData, match=r'\["labels"\] is a .*Client, which is not plain'):
        queue.update(labels=default_client())
    with pytest.raises(AttributeError, match=r"use update\(max_length=\.\.\.\)"):
        queue.max_length = 4
    with pytest.raises(AttributeError, match=r"a queue has no 'colour'; it has: .*max_length"):
        queue.colour
    assert queue.refresh().max_length is None
    queue.delete()


def test_repr_is_json_on_one_line_with_sorted_keys():
    queue = Queue("shown", max_length=3)
    found = json.loads(repr(queue))

    assert (found["kind"], found["name"], found["max_length"]) == ("queue", "shown", 3)
    assert list(found) == sorted(found)
    assert "\n" not in repr(queue)
    assert found == queue.to_dict()
    assert {"max_length", "message_ttl_ms", "update", "name"} <= set(dir(queue))
    assert json.loads(json.dumps({"q": queue}, cls=AlchemyEncoder))["q"] == found
    secret = json.loads(repr(Processor("east")))
    assert secret["env"] == {"WHO": "***"}
    assert Processor("east").env == {"WHO": "east"}
    assert json.loads(repr(Socket("east.who"))) == {"kind": "socket", "name": "east.who"}
    queue.delete()


def test_objects_are_equal_by_kind_and_name():
    assert Processor("east") == Processor("east") != Processor("west")
    assert len({Processor("east"), Processor("east"), Processor("west")}) == 2
    assert Socket("east.who") == Socket.find("east.who")
    assert Processor("east") != "east"


def test_what_the_code_does_not_take_is_warned_of_at_the_line_that_said_it():
    edge = {"source": "east.who", "target": "lib.double"}
    with pytest.warns(RuntimeWarning, match=r"lib\.double\(.*\) has no argument 'zz'") as said:
        plug = Plug("unfit", argument="zz", **edge)
        plug.update(argument="zzz")
    assert [one.filename for one in said] == [__file__] * 2
    with pytest.warns(RuntimeWarning, match=r"'unfit' calls lib\.double.* takes 1 positional arg"):
        timed = Schedule("unfit", socket="lib.double", interval=3600, args=[1, 2, 3, 4])
    with pytest.warns(RuntimeWarning, match="which misses 'n' as its code is now"):
        timed.update(args=[])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plug.update(argument="plus")
        timed.update(args=[1], kwargs={"plus": 2})
        Plug("unfit")
        Schedule("unfit", socket="lib.double", interval=3600)
    plug.delete()
    timed.delete()


def test_what_cannot_be_made_says_what_is_missing():
    with pytest.raises(errors.UnknownObject, match="to add it, give git and module too"):
        Processor("new")
    with pytest.raises(errors.UnknownObject, match="to add it, give task and queue too"):
        Socket("new", processor="east")
    with pytest.raises(errors.BadRequest, match="a processor has git twice, also as gitrepo"):
        Processor("new", git="/a", gitrepo="/b", module="m")
    with pytest.raises(errors.BadRequest, match="found by its name or by its task"):
        Socket()
    assert Processor.find("new") is None


def test_the_names_of_the_original_are_taken(repository):
    with pytest.warns(DeprecationWarning) as said:
        made = Processor(
            name="old", hostname="agent1", user=USER, beat=True, concurrency=3, ratelimit=60,
            requested_status="stop", module="lib",
            gitrepo="https://ann:secret@git.example/shop#egg=shop",
        )  # fmt: skip
    texts = sorted(str(one.message) for one in said)

    assert [text.partition(" ")[0] for text in texts] == ["beat", "hostname", "the"]
    assert {one.filename for one in said} == {__file__}
    assert (made.git, made.gitrepo) == ("https://git.example/shop",) * 2
    assert (made.workers, made.concurrency, made.rate_limit) == (3, 3, "60/m")
    assert (made.owner, made.processor["name"]) == (USER.name, "old")
    with pytest.warns(DeprecationWarning, match="expires of a queue is not used"):
        queue = Queue("old", durable=True, message_ttl=300, expires=200, qtype="direct")
    assert (queue.message_ttl_ms, queue.expires_ms) == (300_000, None)
    with pytest.raises(errors.BadRequest, match="always durable"):
        Queue("old2", durable=False)
    with pytest.raises(errors.BadRequest, match="must be seconds"):
        Queue("old2", message_ttl="5m")
    assert Queue.find("old2") is None
    made.remove()
    queue.delete()


def test_in_a_program_of_the_original_what_exists_wins():
    """It said `user=USER` at each object, and never refused one that differs."""
    queue = Queue("kept", max_length=3)

    with pytest.warns(DeprecationWarning, match="has max_length 3, not 4; what is there was taken"):
        found = Queue("kept", user=USER, max_length=4)

    assert (found.max_length, found.revision) == (3, 1)
    with pytest.warns(DeprecationWarning, match="has max_length 3, not 5; what is there was taken"):
        plug = Plug("kept", user=USER, source="east.who", target="lib.double",
                    queue={"name": "kept", "max_length": 5})  # fmt: skip
    assert (plug.queue, queue.refresh().max_length) == ("kept", 3)
    plug.delete()
    queue.delete()


def test_a_path_of_this_machine_is_made_absolute(repository, monkeypatch):
    monkeypatch.chdir(repository)
    made = Processor("here", git=".", module="lib", requested_status="stop")

    assert made.git == repository.as_uri()
    made.remove()


def test_a_processor_is_scaled_paused_stopped_and_started(mesh):
    processor = Processor("west")

    processor.update(concurrency=2)
    mesh.wait_ready("west", workers=2)
    assert processor.pause().requested_status == "pause"
    assert processor.resume().requested_status == "start"
    assert processor.restart().restarted == 1
    processor.stop()
    until(lambda: not Worker.all(processor=processor), WAIT_S, "its workers end")
    with pytest.raises(errors.WrongState, match="is stopped"):
        processor.resume()
    with pytest.raises(errors.WrongState, match="is used by"):
        processor.remove()
    assert processor.start().update(workers=1).requested_status == "start"
    mesh.wait_ready("west")
    assert Socket("west.who")() == "west"


def test_a_scheduler_takes_nodes_and_a_network_lists_them():
    network, scheduler = Network("net"), Scheduler("even", network="net", strategy="EFFICIENT")
    first, second = Node("n1", network=network), Node("n2", network="net")

    scheduler += first
    scheduler += "n2"

    assert isinstance(scheduler, Scheduler)
    assert first.scheduler == second.refresh().scheduler == "even"
    assert scheduler.nodes() == network.nodes() == [first, second]
    with pytest.raises(errors.UnknownObject):
        scheduler += "n3"
    network.delete()
    assert Node.find("n1") is None
    assert Scheduler.find("even") is None


def test_a_socket_is_the_callable_one_and_knows_its_record():
    double = Socket("lib.double")

    assert double(4) == 8
    assert double.submit(4, plus=1).result(WAIT_S) == 9
    assert list(double.map([1, 2])) == [2, 4]
    assert double.options(priority=9)(1) == 2
    assert (double.processor, double.task, double.queue) == ("east", "double", "q")
    assert double.options(priority=9).task == "double"
    assert double.describe()["signature"]["text"] == "(n, /, *, plus=0)"
    call = double.delay(7)
    assert call.get(WAIT_S) == double.get(taskid=call.id).get(WAIT_S) == 14
    assert call.status == double.get(taskid=call.id).status == "DONE"
    assert AsyncSocket(double).name == "lib.double"
    assert double.update(priority=3).priority == 3
    double.update(priority=None)


def test_any_socket_with_the_task_is_found():
    assert Socket(task="double").name == "lib.double"
    assert Socket(task="who", module="lib").name == "east.who"
    assert Socket(task="who", processor="west")() == "west"
    with pytest.raises(errors.UnknownSocket, match="has the task 'who' of module 'other'"):
        Socket(task="who", module="other")
    with pytest.raises(errors.UnknownSocket, match="has the task 'none'; give a processor"):
        Socket(task="none")


def test_a_socket_that_is_none_yet_is_added_by_its_task():
    made = Socket(task="double", processor=Processor("west"), queue=Queue("q"))

    assert made.name == "west.double"
    assert made(5) == 10
    made.delete()
    assert Socket.find("west.double") is None


def test_a_balanced_socket_spreads_over_the_processors_with_the_task():
    anyone = Socket(task="who", module="lib", loadbalanced=True)

    assert sorted(anyone() for _ in range(6)) == ["east"] * 3 + ["west"] * 3
    assert set(anyone.map(range(600), chunk=50)) == {"east", "west"}
    assert {anyone.options(priority=5)() for _ in range(2)} == {"east", "west"}
    west = Processor("west").stop()
    anyone.refresh()
    assert {anyone() for _ in range(4)} == {"east"}
    west.start()
    assert Socket("east.who", loadbalanced=True)() == "east"


def test_plugs_in_a_round_are_refused_with_the_way():
    plug = Plug("there", source=Socket("east.who"), target="lib.double", queue={"name": "edge"})

    assert (plug.source, plug.target, plug.queue) == ("east.who", "lib.double", "edge")
    with pytest.raises(errors.BadRequest, match=r"lib\.double -> east\.who -> lib\.double"):
        Plug("back", source="lib.double", target=Socket("east.who"))
    assert Plug.find("back") is None
    gate = Gate("shut", plug=plug, mode="closed")
    assert plug.gates() == [gate]
    with pytest.raises(errors.UnknownObject, match=r"no socket is named 'none'"):
        Plug("lost", source="east.who", target="none")
    gate.delete()
    plug.delete()


def test_tasks_and_arguments_are_what_the_code_has():
    task = Task("who")

    assert (task.module, task.doc) == ("lib", "Who runs it.")
    assert (task.processors, task.sockets) == (["east", "west"], ["east.who", "west.who"])
    assert task.source.startswith("def who(")
    assert [(a.name, a.position, a.parameter, a.required) for a in task.arguments] == [
        ("n", 0, "pos", False), ("rest", 1, "varargs", False), ("last", 2, "kwonly", False),
    ]  # fmt: skip
    assert Argument.find("n", "double").parameter == "posonly"
    assert Argument.find("n", Socket("lib.double")) == Argument("n", Task("double", "lib"))
    assert Argument.find("n", "who") != Argument.find("n", "double")
    assert Argument.find("none", "double") is None
    with pytest.raises(errors.UnknownObject, match="it has: n, plus"):
        Argument("none", "double")
    assert Task.find("who", "other") is None
    assert [t.name for t in Task.all()] == ["double", "who"]
    assert task.socket()() == "east"
    replies = task().result(30)
    assert [(one["socket"], one["place"], one["value"]) for one in replies] == [
        ("east.who", 0, "east")
    ], "as the original's, it runs on every worker; there is one"


def test_the_arguments_of_code_that_is_not_mounted_are_not_known(unused_processor):
    socket = Socket("none.what", processor=unused_processor, task="what", queue="q")

    with pytest.raises(errors.WrongState, match="not known yet: no processor of none is mounted"):
        Task("what").arguments
    socket.delete()


def test_agents_and_workers_are_seen(mesh):
    agent = Agent()

    assert (agent.pid, agent.state, agent.this) == (mesh.process.pid, "alive", True)
    assert agent == Agent.find(agent.name) == Agent(agent.name)
    assert Agent.all() == [agent]
    assert agent.cpus == os.cpu_count()
    with pytest.raises(errors.UnknownObject, match="no node of the mesh is named 'x'; there are: "):
        Agent("x")
    worker = Worker(processor=Processor("east"))
    assert worker == Worker.find(worker.name)
    assert worker.pid in [w.pid for w in Worker.all()]
    assert json.loads(repr(worker))["processor"] == "east"
    with pytest.raises(errors.UnknownObject, match="no worker of processor 'none'"):
        Worker(processor="none")
    with pytest.raises(AttributeError, match="only seen"):
        worker.pid = 1
    with pytest.warns(DeprecationWarning, match="hostname of a worker is not used"):
        Worker(processor="east", hostname="h")


def test_the_objects_program_of_the_original_runs_as_printed(mesh, repository):
    """Its login is not kept, and its second `do_this` is the first; then it is run for real."""
    program = ROOT / "tests/client/seed_programs/objects.py"
    run = subprocess.run(
        [sys.executable, "-W", "always", str(program)], env={**mesh.env, "USER": "ann"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stderr
    first, _, shown = run.stdout.partition("\n")
    assert first == "USER ann"
    assert json.loads(shown)["task"] == "do_something"
    assert "has processor 'proc2', not 'proc3'; what is there was taken" in run.stderr
    assert [Processor(f"proc{n}").workers for n in (1, 2, 3)] == [6, 6, 6]
    assert Processor("proc1").git == "https://github.com/radiantone/pyfi-processors"
    assert Schedule("pyfi.processors.sample.do_something").interval_ms == 5_000
    plug = Plug("plug1")
    assert (plug.source, plug.target) == tuple(
        f"pyfi.processors.sample.{task}" for task in ("do_something", "do_this")
    )
    for name in ("proc1", "proc2", "proc3"):
        Processor(name).update(git=repository, concurrency=1)
    assert Socket("pyfi.processors.sample.do_something").submit("x").result(WAIT_S) == "TEXT:x"
    assert Socket("proc2.do_something").submit("y").result(WAIT_S) == "TEXT:y"
    assert Socket(task="do_this").submit("z").result(WAIT_S) == "Do this: z"


def test_a_file_and_a_flow_go_back_to_what_they_were():
    file = File("rates", content=b"\x00one")
    flow = SavedFlow("night", document={"pipeline": ["east.who", "west.who"]})
    try:
        file.update(content="two")
        flow.update(document={"call": "west.who"})

        assert (file.read(), file.version(1).read()) == (b"two", b"\x00one")
        assert [version.number for version in file.versions()] == [1, 2]
        assert file.versions()[0].read() == b"\x00one"
        assert file.restore(1).read() == b"\x00one"
        assert flow.restore(1).sockets == ["east.who", "west.who"]
        with pytest.raises(errors.UnknownObject, match="kept are 1 to 3"):
            flow.restore(9)
        for count in range(4, 20):
            file.update(content=str(count))
        with pytest.raises(errors.UnknownObject, match="has no version 3; kept are 4 to 19"):
            file.version(3)
        oldest = file.versions()[0]
        assert (oldest.name, oldest.read()) == ("file:rates@4", b"4")
    finally:
        file.delete()
        flow.delete()


def test_settings_and_secrets_are_objects_too():
    setting = Setting("mounts_max", value=3)
    secret = Secret("token", source="env:SHOP_TOKEN")
    try:
        assert (setting.value, setting.default) == (3, 8)
        assert secret.update(source="file:/run/token").source == "file:/run/token"
    finally:
        setting.delete()
        secret.delete()
