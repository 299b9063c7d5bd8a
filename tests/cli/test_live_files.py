"""Files against a real node: applied, compared, exported, waited for, built and killed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from meshcode.cli.demo.many.stage import free_port
from meshcode.cli.files.carrying import TRIES_MAX, Wish, carry_out
from meshcode.cli.output import Style
from meshcode.client import connect
from meshcode.errors import WrongState
from meshcode.model.plan import plan_file

COMPOSE = """
network:
  name: demo
  queues: {q.in: {message_ttl: 60000, durable: true, expires: 600}}
  nodes:
    alpha: {hostname: localhost, path: /srv/a, agents: {a1: {processors: {clean: {
      module: shop.tasks, branch: main, gitrepo: REPOSITORY, pyfirepo: x, beat: false, cpus: 1,
      sockets: {clean.add: {queue: {name: q.in}, task: {function: {name: add}}}}}}}}}
    beta: {hostname: elsewhere, agents: {b1: {processors: {other: {
      module: shop.tasks, branch: main, gitrepo: REPOSITORY}}}}}
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory, shell):
    """The shared node, with a file of a shop of our own beside what it has."""
    folder = tmp_path_factory.mktemp("files")
    file = folder / "net.yaml"
    return SimpleNamespace(shell=shell, folder=folder, file=file)


@pytest.fixture
def own(fresh, repository):
    """A node of one's own, with a file of a shop."""
    fresh("up")
    text = f"""
queues:
  orders: {{message_ttl: 1h, overflow: dead-letter, dead_letter: f.say}}
  lost:
processors:
  fshop:
    git: {repository.as_uri()}
    module: shop.tasks
    branch: main
sockets:
  f.add: {{processor: fshop, task: add, queue: orders}}
  f.say: {{processor: fshop, task: do_this, queue: lost}}
plugs:
  edge: {{source: f.add, target: f.say}}
"""
    return fresh, text.encode()


def test_a_file_is_applied_waited_for_and_runs(own):
    shell, text = own

    assert shell("diff", "-f", "-", stdin=text, status=1)[0].startswith("+ queue lost\n")
    assert shell.json("ls", "queues") == []
    out, err = shell("apply", "-f", "-", "--wait", "--timeout", "60s", stdin=text)

    assert out.splitlines()[-1] == "applied: 6 added, 0 changed, 0 deleted"
    assert err == ""
    assert shell("run", "f.add", "2", "3")[0] == "5\n"
    number = shell.json("status")[0]["model"]
    assert number == 1

    again = shell("apply", "-f", "-", "--wait", stdin=text)
    assert again == ("nothing to do: the model is as the files say\n", "")
    assert shell("diff", "-f", "-", stdin=text) == ("", "")
    assert shell.json("status")[0]["model"] == number

    changed = text.replace(b"message_ttl: 1h", b"message_ttl: 2h, max_length: 7")
    out, _ = shell("apply", "-f", "-", "--dry-run", stdin=changed)
    assert out == (
        "~ queue orders  max_length none -> 7, message_ttl 1h -> 2h\n"
        "dry run: 0 to add, 1 to change, 0 to delete; nothing was changed\n"
    )
    found = json.loads(shell("diff", "-f", "-", "-o", "json", stdin=changed, status=1)[0])
    assert found["items"] == [{
        "do": "update", "kind": "queue", "name": "orders",
        "options": {"max_length": {"from": None, "to": 7},
                    "message_ttl_ms": {"from": 3_600_000, "to": 7_200_000}},
    }]  # fmt: skip

    exported = shell("export")[0].encode()
    assert shell("diff", "-f", "-", "--prune", stdin=exported) == ("", "")
    less = text.replace(b"plugs:\n  edge: {source: f.add, target: f.say}\n", b"plugs: {}\n")
    _, err = shell("apply", "-f", "-", "--prune", stdin=less, status=2)
    assert err.startswith("mesh: delete 1 objects? Nobody is here to ask; say -y to go ahead\n")
    assert len(shell.json("ls", "plugs")) == 1
    out, _ = shell("apply", "-f", "-", "--prune", "-y", stdin=less)
    assert out == "- plug edge\napplied: 0 added, 0 changed, 1 deleted\n"
    assert shell.json("ls", "plugs") == []
    assert len(shell.json("ls", "sockets")) == 2


def test_what_cannot_be_is_refused_with_its_place(node):
    node.file.write_text("queues:\n  fresh-q: {}\nsockets:\n  s:\n    processor: proc\n"
                         "    task: add\n    queue: fresh-q\n")  # fmt: skip
    before = node.shell("export")[0]

    _, err = node.shell("apply", "-f", str(node.file), status=2)
    _, same = node.shell("diff", "-f", str(node.file), status=2)

    assert err == same == (
        f"mesh: {node.file}:4: socket 's': processor names processor 'proc', which is neither in"
        " the file nor in the model; did you mean 'proc1'?; nothing was changed\n"
    )
    assert node.shell("export")[0] == before


def test_diff_has_one_status_for_every_trouble(fresh, tmp_path):
    (tmp_path / "a.json").write_text('{"queues": {"q": {}}}')

    _, err = fresh("diff", "-f", str(tmp_path / "a.json"), status=2)
    fresh("apply", "-f", str(tmp_path / "a.json"), status=7)

    assert "no node answers at" in err


def test_in_a_mesh_localhost_is_this_node_also_the_second_time(fresh, repository):
    """The mesh writes the node's name in its place, and a file must not differ for that."""
    fresh("init", "--name", "alpha", "--bind", f"tcp://127.0.0.1:{free_port()}")
    fresh("up")
    code = {"git": repository.as_uri(), "module": "shop.tasks", "requested_status": "stop"}
    text = json.dumps({
        "processors": {"here": code, "there": code},
        "deployments": {
            "d": {"processor": "here", "host": "localhost"},
            "e": {"processor": "there", "host": "beta"},
        },
    }).encode()  # fmt: skip

    out, _ = fresh("apply", "-f", "-", "--node", "alpha", stdin=text)

    assert [line.split("  ")[0] for line in out.splitlines()] == [
        "+ processor here", "+ deployment d", "applied: 2 added, 0 changed, 0 deleted",
    ]  # fmt: skip
    assert fresh.json("ls", "deployments")[0]["host"] == "alpha"
    again, _ = fresh("apply", "-f", "-", "--node", "alpha", stdin=text)
    assert again == "nothing to do: the model is as the files say\n"
    assert fresh("diff", "-f", "-", stdin=text, status=1)[0].count("+ ") == 2


def test_prune_and_node_do_not_go_together(node):
    _, err = node.shell("apply", "-f", "-", "--prune", "--node", "n", stdin=b"", status=2)

    assert err.startswith("mesh: --prune with --node would delete what runs on the other nodes;")


def test_waiting_says_why_it_is_in_vain(node):
    node.file.write_text(
        "processors:\n  nowhere: {git: /no/such/repository, module: a, branch: main}\n"
    )
    try:
        _, err = node.shell("apply", "-f", str(node.file), "--wait", "--timeout", "60s", status=1)

        assert err.startswith("mesh: processor 'nowhere' is not ready: its code could not be")
        assert err.endswith("; the model was changed\n")
    finally:
        node.shell("delete", "processor", "nowhere", "-y")


def test_part_of_the_model_is_exported(node):
    out, _ = node.shell("export", "queues", "-o", "json")
    _, err = node.shell("export", "queus", status=2)

    assert json.loads(out) == {"queues": {"shop.queue1": {}}}
    assert err.startswith("mesh: there is no kind 'queus'; did you mean 'queues'?; there are")


@pytest.fixture
def client(node):
    with connect(f"ipc://{node.shell.home}/run/clients.ipc") as found:
        yield found


def test_a_change_between_plan_and_apply_is_planned_again(node, client, capsys):
    """Somebody adds what we want to add, after we looked and before we apply."""
    wanted = {"queue": {"raced": {"max_length": 5}, "other": {}}}
    plans = []

    def planner(current):
        plan = plan_file(current.model, wanted)
        plans.append([(step.do, step.name) for step in plan.steps])
        if len(plans) == 1:
            node.shell("add", "queue", "-n", "raced")
        return plan

    try:
        carry_out(client, planner, {}, Wish(Style()))

        assert plans == [[("add", "other"), ("add", "raced")],
                         [("add", "other"), ("update", "raced")]]  # fmt: skip
        out, err = capsys.readouterr()
        assert out.endswith("applied: 1 added, 1 changed, 0 deleted\n")
        assert "and the plan was made from" in err
        assert err.endswith("; planning again\n")
    finally:
        node.shell("delete", "queue", "raced", "-y")
        node.shell("delete", "queue", "other", "-y")


def test_somebody_who_is_always_quicker_wins(node, client):
    names = iter(f"quick{i}" for i in range(TRIES_MAX))
    taken = []

    def planner(current):
        taken.append(next(names))
        node.shell("add", "queue", "-n", taken[-1])
        return plan_file(current.model, {"queue": {"late": {}}})

    try:
        with pytest.raises(WrongState) as caught:
            carry_out(client, planner, {}, Wish(Style()))

        assert caught.value.fields["number"] == caught.value.fields["base"] + 1
        assert len(taken) == TRIES_MAX
        assert "late" not in node.shell("ls", "queues", "-q")[0].split()
    finally:
        for name in taken:
            node.shell("delete", "queue", name, "-y")


def test_a_compose_file_is_built_and_killed(node, repository):
    node.file.write_text(COMPOSE.replace("REPOSITORY", f"'{repository.as_uri()}'"))
    before = node.shell("export")[0]
    try:
        out, err = node.shell(
            "compose", "build", str(node.file), "alpha", "-d", "--wait", "--timeout", "60s"
        )
        assert "+ deployment clean@alpha  processor=clean host=localhost\n" in out
        assert "beta" not in out
        assert err.startswith(f"note: without effect here: beat ({node.file}:7), durable")
        assert node.shell("run", "clean.add", "20", "1")[0] == "21\n"

        out, _ = node.shell("compose", "build", "-f", str(node.file), "alpha", "-d")
        assert out == "nothing to do: the model is as the files say\n"
        node.shell("compose", "build", str(node.file))  # The rest.
        assert "other" in node.shell("ls", "processors", "-q")[0].split()

        node.shell("add", "socket", "-n", "mine", "-q", "q.in", "-pn", "proc1", "-t", "add")
        _, err = node.shell("compose", "kill", str(node.file), "-y", status=2)
        assert f"{node.file}:4: queue 'q.in' would be deleted and is used by socket 'mine'" in err
        assert "clean.add" in node.shell("ls", "sockets", "-q")[0].split()
    finally:
        node.shell.run(["delete", "socket", "mine", "-y"])
        out, _ = node.shell("compose", "kill", str(node.file), "-y")
    assert out.splitlines()[-1] == "applied: 0 added, 0 changed, 8 deleted"
    assert node.shell("compose", "kill", str(node.file), "-y")[0] == (
        "nothing to do: nothing of it is in the model\n"
    )
    assert node.shell("export")[0] == before


def test_all_that_is_wrong_in_a_file_is_told_together(fresh):
    """What the file tells by itself, what an object lacks, and names of what is nowhere."""
    text = (
        b"queues:\n  qa: {max_length: 0}\nsockets:\n  x: {processor: nope, task: [f]}\n"
        b"  y: {processor: nope}\n  z: {processor: nope, task: f, queue: nopeq}\n"
        b"  a: {processor: nope, task: f, queue: qa}\n"
    )
    without = fresh("apply", "-f", "-", stdin=text, status=2)[1]
    fresh("up")

    _, err = fresh("apply", "-f", "-", stdin=text, status=2)
    seen = fresh("diff", "-f", "-", stdin=text, status=2)[1]

    assert without.startswith("mesh: 2 problems; nothing was changed\n")
    assert seen == err
    nowhere = "processor names processor 'nope', which is neither in the file nor in the model"
    first, *lines = err.splitlines()
    assert first == "mesh: 8 problems; nothing was changed"
    assert lines[0].startswith("  stdin:2: queue 'qa': max_length is 0;")
    assert lines[1].startswith("  stdin:4: socket 'x': task is ['f']; ")
    assert lines[2].startswith("  stdin:5: socket 'y' must have a value for task")
    assert lines[3:] == [
        f"  stdin:7: socket 'a': {nowhere}",
        f"  stdin:4: socket 'x': {nowhere}",
        f"  stdin:5: socket 'y': {nowhere}",
        f"  stdin:6: socket 'z': {nowhere}",
        "  stdin:6: socket 'z': queue names queue 'nopeq', which is neither in the file nor in the"
        " model",
    ]
