"""Networks declared from classes, against a real node, and without one."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcode import errors
from meshcode.client import declaring, decorators, default_client
from meshcode.client.api import (
    Deployment,
    Gate,
    Network,
    Node,
    Plug,
    Processor,
    ProcessorBase,
    Queue,
    Schedule,
    Socket,
)
from meshcode.client.decorators import agent, gate, network, node, plug, processor, socket, task
from meshcode.client.objects.asking import Wanted
from tests.client.tap import Tap
from tests.live.harness import ROOT, Mesh, make_repository

PROGRAM = ROOT / "tests/client/seed_programs/decorators.py"
SAMPLE = '''
def do_something(message, *args):
    return {"message": "TEXT:" + str(message), "graph": {"value": len(message)}}


def do_this(message):
    return {"message": "Do this String: " + str(message), "graph": {"value": 1}}


def triple(n):
    return 3 * n
'''
ORDERS = '''
def price(order):
    return order["id"] * 100


def write_bill(price):
    return f"bill: {price}"
'''
DECORATED = '''
from meshcode.client.api import ProcessorBase
from meshcode.client.decorators import processor, socket


@processor(name="inside", gitrepo="/nowhere", module="decorated")
class Inside(ProcessorBase):
    @socket(name="sample.triple", queue="sockq2")
    def triple(n): ...


def again(n):
    return Inside().triple(n) + 1
'''
WAIT_S = 60.0
SAMPLE_MODULE = "pyfi.processors.sample"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the sample module, and one with a decorated class in it."""
    folder = tmp_path_factory.mktemp("code") / "repository"
    make_repository(folder, {
        "pyfi/__init__.py": "", "pyfi/processors/__init__.py": "",
        "pyfi/processors/sample.py": SAMPLE, "decorated.py": DECORATED, "shop/orders.py": ORDERS,
    })  # fmt: skip
    return folder


def run_program(mesh: Mesh, repository: Path) -> subprocess.CompletedProcess[str]:
    """The decorator program of the original, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "always", str(PROGRAM)],
        env={**mesh.env, "GIT_REPO": repository.as_uri()}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def mesh(repository: Path) -> Iterator[Mesh]:
    """A node on which that program was run."""
    with pytest.MonkeyPatch.context() as patch, Mesh() as found:
        patch.setenv("MESH_NODE", found.address)
        default_client().close(0)  # That of an earlier test may be of another node.
        patch.setenv("GIT_REPO", repository.as_uri())
        run = run_program(found, repository)
        assert (run.returncode, run.stdout) == (0, "Network created.\n"), run.stderr
        assert "interval" not in run.stderr
        assert "expires of a queue is not used" in run.stderr
        yield found
        default_client().close(0)


@pytest.fixture
def tapped(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tap]:
    """What the process-wide client asks of the node, as it is on the link."""
    with Tap(mesh.address, f"ipc://{mesh.home}/tap.ipc") as found:
        default_client().close(0)
        monkeypatch.setenv("MESH_NODE", found.address)
        default_client().ask("status")
        found.asked.clear()
        yield found
        default_client().close(0)
        monkeypatch.undo()


@pytest.fixture
def base(mesh: Mesh, repository: Path) -> dict[str, object]:
    """What every class here says of its code; its workers are stopped."""
    return {"gitrepo": repository, "module": SAMPLE_MODULE, "requested_status": "stop"}


def number(mesh: Mesh) -> int:
    """Of the model; it counts changes."""
    found: int = mesh.ask("status")["model"]
    return found


def test_the_program_of_the_original_declares_its_network(mesh, repository):
    assert [Processor(f"proc{n}").workers for n in (1, 2, 3)] == [7, 1, 1]
    assert {s.name: (s.processor, s.task, s.queue) for s in Socket.all()} == {
        "proc1.do_something": ("proc1", "do_something", "sockq1"),
        "proc2.do_this": ("proc2", "do_this", "sockq2"),
        "proc3.do_something": ("proc3", "do_something", "sockq3"),
    }
    assert {p.name: (p.source, p.target, p.queue) for p in Plug.all()} == {
        "plug1": ("proc1.do_something", "proc2.do_this", "queue1"),
        "plug2": ("proc3.do_something", "proc2.do_this", "queue2"),
    }
    assert Queue("queue1").message_ttl_ms == 300_000_000
    assert {s.name: (s.socket, s.interval_ms, s.args) for s in Schedule.all()} == {
        "proc1.do_something": ("proc1.do_something", 15_000, ["message"]),
        "proc3.do_something": ("proc3.do_something", 5_000, ["message"]),
    }


def test_running_it_again_changes_nothing(mesh, repository):
    before = number(mesh)

    run = run_program(mesh, repository)

    assert (run.returncode, run.stdout) == (0, "Network created.\n"), run.stderr
    assert number(mesh) == before > 0


def test_its_classes_call_the_mesh_and_plain_methods_run_here(mesh):
    spec = importlib.util.spec_from_file_location("seed_decorators", PROGRAM)
    program = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        spec.loader.exec_module(program)
    first, second = program.ProcessorA(), program.ProcessorB()

    assert first.get_message() == "Self message!"
    assert first.do_something("some") == {"message": "TEXT:some", "graph": {"value": 4}}
    assert second.do_this("x")["message"] == "Do this String: x"
    assert program.ProcessorC().do_something.submit("y").result(WAIT_S)["message"] == "TEXT:y"
    call = first.do_something.submit("kept")
    call.result(WAIT_S)
    assert first.do_something.get(taskid=call.id).result(WAIT_S)["message"] == "TEXT:kept"
    assert program.ProcessorA.do_something.__wrapped__("here")["message"] == "TEXT:here"
    assert program.ProcessorA.do_something.__doc__ == "do_something"
    assert isinstance(first.do_something, Socket)
    assert first.do_something.processor == "proc1"


def test_several_sockets_of_a_class_with_plugs_down_and_up(mesh, base):
    @processor(name="many", **base)
    class Many(ProcessorBase):
        @plug(name="m1", target="many.second")
        @plug(name="m2", target="many.third", argument="message")
        @socket(name="many.first", queue="sockq1", task="do_something")
        def first(message): ...

        @socket(name="many.second", queue="sockq1", task="do_this")
        @plug(name="m3", target="many.third", type="ERROR")
        def second(message): ...

        @gate(name="shut", mode="closed", plug="m3")
        @socket(name="many.third", queue={"name": "third", "max_length": 3})
        @task(name="triple")
        def third(n): ...

    assert [s.task for s in Socket.all() if s.processor == "many"] == [
        "do_something", "do_this", "triple",
    ]  # fmt: skip
    plugs = [Plug(name) for name in ("m1", "m2", "m3")]
    assert [(p.source, p.target, p.type, p.argument) for p in plugs] == [
        ("many.first", "many.second", "RESULT", None),
        ("many.first", "many.third", "RESULT", "message"),
        ("many.second", "many.third", "ERROR", None),
    ]
    assert (Gate("shut").plug, Gate("shut").mode) == ("m3", "closed")
    assert Queue("third").max_length == 3
    assert Many().third.name == "many.third"


def test_a_round_is_refused_with_class_method_and_way(mesh, base):
    with pytest.raises(errors.BadRequest) as caught:

        @processor(name="round", **base)
        class Round(ProcessorBase):
            @plug(name="r1", target="round.b")
            @socket(name="round.a", queue="sockq1", task="do_this")
            def a(message): ...

            @plug(name="r2", target="round.a")
            @socket(name="round.b", queue="sockq1", task="do_this")
            def b(message): ...

    assert str(caught.value).partition("<locals>.")[2] == (
        "Round.b: plugs would go round: round.a -> round.b -> round.a; give one of them another"
        " target; nothing was changed"
    )
    assert [Plug.find("r1"), Plug.find("r2"), Processor.find("round")] == [None] * 3
    assert not declaring._waiting


def test_a_class_is_one_request_however_much_it_declares(mesh, base, tapped):
    number_before = number(mesh)

    @network(name="one")
    @node(name="one.node", hostname="one.example")
    @processor(name="one", deployment=True, **base)
    class One(ProcessorBase):
        @plug(name="one.plug", target="one.b", queue={"name": "one.q2"})
        @gate(name="one.gate", mode="closed")
        @socket(name="one.a", queue={"name": "one.q1"}, task="do_this", interval=3600)
        def a(message): ...

        @socket(name="one.b", queue="one.q1", task="do_this", update=True)
        def b(message): ...

    assert [(name, fields["do"]) for name, fields in tapped.asked] == [("model", "declare")]
    assert number(mesh) == number_before + 1
    assert Network("one").nodes() == [Node("one.node")]
    assert (Deployment("one").host, Gate("one.gate").plug) == ("one.example", "one.plug")
    assert (Schedule("one.a").interval_ms, Plug("one.plug").queue) == (3_600_000, "one.q2")
    tapped.asked.clear()

    @processor(name="one")
    class Again(ProcessorBase):
        @socket(name="one.b", processor="one", queue="one.q1", task="do_this")
        def b(message): ...

    assert [(name, fields["do"]) for name, fields in tapped.asked] == [("model", "declare")]
    assert number(mesh) == number_before + 1


@pytest.mark.parametrize(
    ("member", "text"),
    [
        ({"options": {"priority": 12}}, r"Broken\.f: socket 'broken\.f': priority is 12; it must"),
        ({"options": {"colour": "red"}}, r"Broken\.f: a socket has no option 'colour'"),
        ({"options": {"interval": 0}}, r"Broken\.f: schedule 'broken\.f': interval_ms is 0"),
        ({"options": {"processor": "nobody"}}, r"Broken\.f: .*no processor is named 'nobody'"),
        ({"options": {"queue": {"name": "sockq1", "type": "topic"}}},
         r"Broken\.f: queue 'sockq1' exists and has type 'direct', not 'topic'.* say update=True"),
        ({"plug": {"target": "none"}}, r"Broken\.f: plug 'broken': no socket is named 'none'"),
        ({"node": "bad name"}, r"Broken: the name of a node is 'bad name'"),
        ({"network": ""}, r"Broken: the network has no name"),
        ({"deployment": {"name": "bd", "cpus": 0}}, r"Broken: deployment 'bd': cpus is 0"),
    ],
)  # fmt: skip
def test_of_a_class_with_a_refused_member_nothing_is_declared(mesh, base, member, text):
    before = mesh.ask("model", do="snapshot")
    edge = plug(name="broken", target=member.get("plug", {}).get("target", "broken.f2"))
    options = {"queue": {"name": "broken.q"}, "task": "do_this", **member.get("options", {})}

    with pytest.raises(errors.MeshError, match=text) as caught:

        @network(name=member.get("network", "broken"))
        @node(name=member.get("node", "broken"))
        @processor(name="broken", deployment=member.get("deployment", True), **base)
        class Broken(ProcessorBase):
            @socket(name="broken.first", queue={"name": "broken.q"}, task="do_this")
            def first(message): ...

            @edge
            @socket(name="broken.f", **options)
            def f(message): ...

            @socket(name="broken.f2", queue={"name": "broken.q"}, task="do_this")
            def second(message): ...

    assert "nothing was changed" in str(caught.value) or "it is unchanged" in str(caught.value)
    assert mesh.ask("model", do="snapshot") == before
    assert not declaring._waiting


def test_decorators_made_beforehand_and_those_of_others_change_nothing(mesh, base):
    placed = node(name="kept.node")  # Written long before it is applied.

    def other(cls):
        return cls

    @other
    @processor(name="kept1", **base)
    class First(ProcessorBase): ...

    assert Processor.find("kept1") is None  # It might have been of this class.

    @placed
    @processor(name="kept2", **base)
    class Second(ProcessorBase):
        @processor(name="kept3", **base)
        class Inner(ProcessorBase): ...

    assert [Processor(f"kept{n}").module for n in (1, 2, 3)] == [SAMPLE_MODULE] * 3
    assert Node("kept.node").name == "kept.node"
    assert not decorators._written


def test_a_class_may_change_two_plugs_that_would_go_round_one_by_one(mesh, base):
    def make(there, back, update):
        @processor(name="turned", **base)
        class Turned(ProcessorBase):
            @plug(name="t1", source=there[0], target=there[1], update=update)
            @plug(name="t2", source=back[0], target=back[1], update=update)
            @socket(name="t.a", queue="sockq1", task="do_this")
            def a(message): ...

            @socket(name="t.b", queue="sockq1", task="do_this")
            def b(message): ...

            @socket(name="t.c", queue="sockq1", task="do_this")
            def c(message): ...

    make(("t.a", "t.b"), ("t.b", "t.c"), False)
    make(("t.b", "t.a"), ("t.c", "t.b"), True)

    assert [(Plug(p).source, Plug(p).target) for p in ("t1", "t2")] == [
        ("t.b", "t.a"), ("t.c", "t.b"),
    ]  # fmt: skip


def test_a_target_that_is_not_there_is_refused(mesh, base):
    with pytest.raises(errors.UnknownObject, match=r"Lost\.f: .*no socket is named 'proc2\.none'"):

        @processor(name="lost", **base)
        class Lost(ProcessorBase):
            @plug(name="l1", target="proc2.none")
            @socket(name="lost.f", queue="sockq1", task="do_this")
            def f(message): ...

    with pytest.raises(errors.BadRequest, match=r"Bare\.f: plug 'l2' is on a method that is no"):

        @processor(name="lost", **base)
        class Bare(ProcessorBase):
            @plug(name="l2", target="proc2.do_this")
            def f(message): ...


def test_a_declaration_that_differs_is_refused_with_both_values(mesh, base):
    with pytest.raises(errors.ObjectExists, match=r"Other\.f: .*task 'do_this', not 'triple'"):

        @processor(name="proc9", **base)
        class Other(ProcessorBase):
            @socket(name="proc2.do_this", processor="proc2", queue="sockq2", task="triple")
            def f(message): ...

    with pytest.raises(errors.BadRequest, match="'f' is socket 'b' already, so it cannot be 'a'"):

        class Twice(ProcessorBase):
            @socket(name="a", queue="sockq1")
            @socket(name="b", queue="sockq1")
            def f(message): ...


def test_a_gate_without_a_plug_says_so(mesh, base):
    with pytest.raises(errors.BadRequest, match=r"Gated\.f: gate 'g' is on a method with 0 plugs"):

        @processor(name="gated", **base)
        class Gated(ProcessorBase):
            @gate(name="g", mode="closed")
            @socket(name="gated.f", queue="sockq1", task="do_this")
            def f(message): ...


def test_a_declaration_that_was_refused_is_done_whole_later_and_holds_up_no_other(mesh):
    bad, good = declaring.Declaration("Bad"), declaring.Declaration("Good")
    bad.add(lambda: [Wanted("queue", "bad.first", {})])
    bad.add(lambda: [Wanted("queue", "bad.second", {"dead_letter": "later"})], "f")
    good.add(lambda: [Wanted("queue", "good", {})])

    declaring.declare(good)

    assert (good.is_done, bad.is_done) == (True, False)
    with pytest.raises(errors.UnknownObject, match=r"Bad\.f: .*no socket is named 'later'"):
        declaring.declare(bad)
    assert Queue.find("bad.first") is None
    Socket("later", processor="proc2", task="do_this", queue="sockq2")
    declaring.declare()
    assert bad.is_done
    assert Queue("bad.second").dead_letter == "later"
    assert Queue.find("bad.first") is not None
    assert not declaring._waiting


def test_what_changed_in_the_class_is_changed_with_update(mesh, base):
    @processor(name="grown", concurrency=2, **base)
    class First(ProcessorBase): ...

    with pytest.raises(errors.ObjectExists, match="has workers 2, not 3"):

        @processor(name="grown", concurrency=3, **base)
        class Second(ProcessorBase): ...

    @processor(name="grown", concurrency=3, update=True, **base)
    class Third(ProcessorBase): ...

    assert Processor("grown").concurrency == 3


def test_a_network_of_nodes_and_deployments_in_any_order(mesh, base):
    def make():
        @network(name="net1")
        @node(name="alpha", hostname="alpha.example", cpus=4)
        @agent(name="alpha.agent")
        @decorators.worker(name="w1", hostname="alpha")
        @processor(name="placed", concurrency=2, deployment="placed.d", **base)
        class Placed(ProcessorBase): ...

        @processor(name="placed2", deployment={"name": "d2", "cpus": 3, "hostname": "h2"}, **base)
        @node(name="beta")
        @network(name="net2", description="second")
        class Other(ProcessorBase): ...

        return Placed, Other

    with (
        pytest.warns(DeprecationWarning, match="@worker.* say how many there are"),
        pytest.warns(DeprecationWarning, match="a node that runs is its own agent"),
    ):
        make()
    before = number(mesh)
    with pytest.warns(DeprecationWarning, match="its own agent|say how many there are"):
        make()

    assert number(mesh) == before
    assert Network("net1").nodes() == [Node("alpha")]
    assert Network("net2").nodes() == [Node("beta")]
    assert (Node("alpha").host, Node("alpha").cpus) == ("alpha.example", 4)
    deployment = Deployment("placed.d")
    assert (deployment.processor, deployment.cpus, deployment.host) == (
        "placed", 2, "alpha.example",
    )  # fmt: skip
    assert (Deployment("d2").cpus, Deployment("d2").host) == (3, "h2")
    with pytest.raises(errors.ObjectExists, match=r"alpha.*net1.*net3"):

        @network(name="net3")
        @node(name="alpha")
        class Taken(ProcessorBase): ...


def test_a_task_without_a_socket_is_called_by_any(mesh):
    @processor(name="proc2")
    class Found(ProcessorBase):
        @task(name="do_this", module=SAMPLE_MODULE)
        def anything(message): ...

        @task()
        def do_nothing(message): ...

    assert Found().anything("z")["message"] == "Do this String: z"
    with pytest.raises(errors.UnknownSocket, match="no socket has the task 'do_nothing'"):
        Found().do_nothing(1)


def test_what_is_inherited_is_declared_once_and_by_whom_it_is_decorated(mesh, base):
    class Mixin(ProcessorBase):
        @socket(name="mixed.f", queue="sockq1", task="do_this")
        def f(message): ...

    @processor(name="mixed", **base)
    class First(Mixin): ...

    @processor(name="mixed2", **base)
    class Second(First): ...

    assert Socket("mixed.f").processor == "mixed"
    assert Second().f == First().f == Socket("mixed.f")


def test_in_a_worker_the_module_of_a_decorated_class_declares_nothing(mesh, repository):
    """There it is code to run; its sockets can be called from it."""
    Socket("sample.triple", processor="proc2", task="triple", queue="sockq2")
    Processor("outer", git=repository, module="decorated")
    again = Socket("outer.again", processor="outer", task="again", queue="sockq1")

    assert again.submit(5).result(WAIT_S) == 16
    assert Processor.find("inside") is None


def test_the_guide_runs_as_it_is_written(mesh, repository, tmp_path):
    """Each block of docs/objects.md, with the repository of the test in the place of its own."""
    page = (ROOT / "docs/objects.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    program = tmp_path / "guide.py"
    program.write_text("\n".join(blocks).replace("/srv/shop", str(repository)))

    run = subprocess.run(
        [sys.executable, str(program)], env=mesh.env, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip

    assert (run.returncode, run.stderr, len(blocks)) == (0, "", 2)
    shown = run.stdout.splitlines()
    assert shown[0] == "100"
    assert json.loads(shown[1])["name"] == "shop"
    assert (Plug("priced").target, Plug("priced").argument) == ("shop.write", "price")
    assert (Gate("night").plug, Socket("shop.write")(5)) == ("priced", "bill: 5")
    assert (Deployment("shop").host, Deployment("shop").cpus) == ("localhost", 2)
    assert (Node("till").network, Node("till").cpus) == ("shop", 4)


WITHOUT_A_NODE = '''
import time, warnings
from meshcode.client.api import ProcessorBase, Socket
from meshcode.client.decorators import network, node, plug, processor, socket
from meshcode.errors import NoNode

begun = time.monotonic()
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")

    @processor(name="late2", gitrepo=REPOSITORY, module="pyfi.processors.sample")
    class Target(ProcessorBase):
        @socket(name="late2.triple", queue={"name": "late"})
        def triple(n): ...

    @network(name="late")
    @node(name="late.node")
    @processor(name="late1", gitrepo=REPOSITORY, module="pyfi.processors.sample")
    class Late(ProcessorBase):
        @plug(name="late.plug", target="late2.triple")
        @socket(name="late1.do_this", queue={"name": "late"})
        def do_this(message): ...

        def local(self):
            return "here"

assert time.monotonic() - begun < 5, "importing waited for a node that is not there"
print([str(one.message).partition(";")[0] for one in said], {one.filename for one in said})
print(Late().local())
try:
    Late().do_this
except NoNode as error:
    print("NoNode")
print("start", flush=True)
input()
print(Late().do_this("x")["message"])
print(Target().triple(4))
'''


def test_without_a_node_classes_are_made_and_declared_when_used(repository, tmp_path):
    """At once, with one warning for each class; in their order when there is a node."""
    file = tmp_path / "program.py"
    file.write_text(f"REPOSITORY = {repository.as_uri()!r}\n" + WITHOUT_A_NODE)
    mesh = Mesh()
    program = subprocess.Popen(
        [sys.executable, str(file)], env=mesh.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        said = [program.stdout.readline().rstrip("\n") for _ in range(4)]
        assert said[0] == str([
            f"no node answers, so nothing of class {name} is declared yet"
            for name in ("Target", "Late")
        ]) + " " + str({str(file)})  # fmt: skip
        assert said[1:] == ["here", "NoNode", "start"]
        mesh.start()
        rest, _ = program.communicate("\n", timeout=WAIT_S)
        assert rest.splitlines() == ["Do this String: x", "12"]
        assert mesh.ask("model", do="get", kind="node", name="late.node")["network"] == "late"
        edge = mesh.ask("model", do="get", kind="plug", name="late.plug")
        assert edge["target"] == "late2.triple"
    finally:
        program.kill()
        program.communicate()
        mesh.remove()
    assert mesh.process is None
