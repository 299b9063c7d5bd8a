"""The verbs of the original system against a real node, and the table of docs/cli.md."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import click
import pytest

from meshcode.cli import app, original
from meshcode.model.rightnames import RIGHTS

DOC = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def table():
    """The rows of "The original system's commands": what it had, and what stands there now."""
    text = DOC.read_text().partition("## The original system's commands")[2].partition("\n## ")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line[:3] == "| `"]
    found = [(theirs.strip(), ours.strip()) for theirs, ours in rows]
    return [row for row in found if row[0] != "`flow`"]


def resolve(words):
    """The click command of `mesh WORDS...`, and what is left of the words."""
    group = app.root()
    context = click.Context(group, info_name="mesh")
    rest = list(words)
    while isinstance(group, click.Group) and rest and not rest[0].startswith("-"):
        found = group.get_command(context, rest[0])
        if found is None:
            return None, rest
        group, rest = found, rest[1:]
    return group, rest


def test_the_table_has_every_verb_of_the_original():
    have = " ".join(theirs for theirs, _ in table())

    for word in (
        "db", "login", "add queue", "add processor", "add socket", "add plug", "add argument",
        "add task", "add deployment", "add node", "add agent", "add network", "add scheduler",
        "add role", "add user", "add privilege", "add log", "update processor", "update task",
        "update socket", "update plug", "delete", "proc", "task run", "task show", "task code",
        "user add", "network add", "scheduler add", "agent start", "agent kill", "worker start",
        "ls nodes", "ls network", "ls calls", "ls call", "ls jobs", "listen", "compose", "api",
        "web", "node clone",
    ):  # fmt: skip
        assert f"`{word}" in have, word


@pytest.mark.parametrize(("theirs", "ours"), table(), ids=[theirs for theirs, _ in table()])
def test_each_row_names_commands_there_are_or_says_why_not(theirs, ours):
    """Each `mesh ...` in the second column is run up to its options."""
    if ours.startswith("not:"):
        assert len(ours) > 25, f"{theirs}: say why"
        return
    commands = re.findall(r"`mesh ([^`]+)`", ours)
    assert commands, f"{theirs}: {ours}"
    for text in commands:
        for line in spelled_out(text.replace("\\|", "|")):
            found, rest = resolve(line)
            assert found is not None and not isinstance(found, click.Group), line
            known = {flag for param in found.params for flag in param.opts}
            wrong = [word for word in rest if word.startswith("-") and word not in known]
            assert not wrong, f"{theirs}: mesh {' '.join(line)} has no {wrong}"


# What `flow` took: each command with its options.
INVENTORY = """
|--debug -d --db --backend --broker -a --api -u --user -p --password -i --ini -c --config
db init|-r --rls
db drop|-y
db rebuild|-y
db migrate|-d
db json|
db backup|
db restore|-f
login|-d
logout|
whoami|
add queue|-n -t
add processor|-n -m -g -h -w --workers -r --retries -c --commit -rs -b --beat -br -p -rq -e
add processor|--endpoint -a --api -cs --cpus -d --deploy -mp
add socket|-n -q -pn -t -i
add plug|-n -q -s -t
add argument|-p -t -a
add task|-n -m -c -r
add deployment|-n -d -h -c
add node|-n -h
add agent|-n -nd
add network|-n
add scheduler|-n -s
add role|-n
add user|-n -e -p
add privilege|-u -n -r
add log|-i -s -t
update processor|-n -m -h -w -g -c -b -r -br -p -co -ci -cv -mp
update task|-n -m -c
update socket|-n -q -i -pi -pn -t
update plug|-n -q -pi -pn
delete network|-n
delete deployment|-n
delete calls|
delete socket|-n
delete plug|-n
delete task|-n
delete agent|-n
delete processor|-n
delete user|--id
delete queue|-n
delete node|-n
delete role|-n
delete privilege|-n
delete scheduler|-n
delete worker|-n
proc remove|--id
proc pause|--id -n
proc stop|-n
proc start|-n
proc restart|-n
proc resume|-n
task run|-n -s -d -nd -a -f -sy
task show|-n -g
task code|-n
user add|-u -r -p
user remove|-u -r -p
network add|-n -nd
scheduler add|--id -n -nd
scheduler remove|-n -nd
scheduler start|-n -i -nd -c
agent start|-p --clean -b -r -n -c -q -u -po -cp -s -h -wp
agent kill|-n
agent stop|-n
worker start|-n -a -h -p -s --skip-venv -q
worker kill|-n
ls nodes|
ls networks|
ls agents|
ls workers|-n
ls processors|-g -c -m -o
ls deployments|
ls sockets|
ls plugs|
ls queues|
ls tasks|-g
ls schedulers|
ls users|
ls roles|-p -r -a
ls passwords|
ls network|-n -h -v
ls node|-n -t -h
ls processor|-n --id -g
ls socket|-n --id -g
ls task|-n -s -c -p -so
ls plug|-n
ls queue|-n --id -t
ls role|-n
ls user|-n
ls calls|-p -r -u -a -i -t -tk
ls call|--id -n -r -t -g -f
ls jobs|
ls job|
ls work|
ls worker|
ls scheduler|
ls stats|
ls cpus|
ls agent|
listen|-n -c -a
compose build|-f -d
compose kill|
api start|-ip -p
web start|-p
node clone|-t
ls files|
"""


@pytest.mark.parametrize("line", INVENTORY.strip("\n").splitlines())
def test_every_option_of_the_original_is_there_or_says_what_to_do_instead(line):
    words, _, options = line.partition("|")
    found, _ = (app.root(), []) if not words else resolve(words.split())
    path = f"mesh {words}".strip()
    if found is None or (words and isinstance(found, click.Group)):
        verb = path if original.of_command(path) else path.rpartition(" ")[0]
        assert original.of_command(verb), f"there is no {path}"
        return
    have = {flag for param in found.params for flag in (*param.opts, *param.secondary_opts)}
    for flag in options.split():
        assert (flag in have) != (original.of_option(path, flag) is not None), f"{path} {flag}"


@pytest.mark.parametrize("path", original.COMMANDS)
def test_a_command_that_is_not_here_says_what_to_do(shell, path):
    code, out, err = shell.run(path.split()[1:])

    assert (code, out) == (2, b"")
    assert f": {original.COMMANDS[path]}\n" in err.decode()


@pytest.mark.parametrize(
    ("path", "flag", "text"),
    [
        (path, flag, text)
        for path, rows in original.OPTIONS.items() for flags, text in rows.items() for flag in flags
    ],
)  # fmt: skip
def test_an_option_that_is_not_here_says_what_to_do(shell, path, flag, text):
    words = path.split()[1:]
    code, out, err = shell.run([*words, flag, *(["status"] if not words else [])])

    assert (code, out) == (2, b"")
    assert err.decode().startswith(f"mesh: {path} has no {flag}: {text}\n")


@pytest.mark.parametrize("text", [*original.COMMANDS.values(), *(
    text for rows in original.OPTIONS.values() for text in rows.values()
)])  # fmt: skip
def test_what_is_advised_exists(text):
    for line in re.findall(r"`mesh ([^`]+)`", text):
        words = [word for word in line.split() if word not in ("...", "|", "head")]
        while words and words[0].startswith("--"):
            words = words[2:] if "=" not in words[0] else words[1:]
        found, rest = resolve([w for w in words if not re.fullmatch(r"[A-Z|=]+", w)])
        assert found is not None, line
        known = {flag for param in found.params for flag in param.opts}
        assert not [w for w in rest if re.match(r"-[a-z-]", w) and w not in known], line


def test_a_setting_is_given_for_one_command(shell, tmp_path):
    assert shell.json("--set", "output=json", "ls", "queues") == shell.json("ls", "queues")
    assert "MESH_TIMEOUT" not in shell.environment
    code, _, err = shell.run(["--set", "outptu=json", "ls", "queues"])
    assert (code, b"--set: 'outptu' is no setting; did you mean 'output'?" in err) == (2, True)
    code, _, err = shell.run(["--set", "output", "ls", "queues"])
    assert (code, b"--set is NAME=VALUE, and this has no '=': 'output'" in err) == (2, True)
    code, _, err = shell.run(["--set", f"home={tmp_path}", "ls", "queues"])
    assert (code, str(tmp_path).encode() in err) == (7, True)


def spelled_out(text):
    """`ls nodes|agents -w` is two commands."""
    lines = [[]]
    for word in text.split():
        choices = word.split("|") if not word.startswith("-") else [word]
        lines = [[*line, choice] for line in lines for choice in choices]
    return lines


# Against a node.


@pytest.fixture(scope="module")
def flow(shell):
    """A network with a node, and two sockets with a plug between them."""
    for line in (
        "add network -n net --description ours", "network add -n net -nd n1",
        "add scheduler -n even", "scheduler add -n even -nd n1", "update node -n n1 -h localhost",
        "add queue -n net.q --network net", "add deployment -n proc1 -d here -h localhost -c 2",
        "add socket -n net.first -q net.q -pn proc1 -t do_something",
        "add plug -n edge -s net.first -t shop.do_this -a text", "add gate -n g -p edge -m open",
    ):  # fmt: skip
        shell(*line.split())
    yield shell
    for line in (
        "delete gate g", "delete plug edge", "delete socket net.first", "delete deployment here",
        "delete network net", "delete scheduler even",
    ):  # fmt: skip
        shell(*line.split(), "-y")


def test_trees_of_network_and_node(flow):
    out, _ = flow("ls", "network", "net", "-v", "--ascii")
    assert out.splitlines()[0] == "network net (ours)"
    assert "|-- node n1 (localhost)" in out
    assert "|   `-- deployment here (2 CPUs)" in out
    assert "`-- queue net.q" in out

    across = flow("ls", "network", "net", "-h", "--ascii")[0].splitlines()
    assert across[0].startswith("network net (ours) -+- node n1 (localhost) --- deployment here")
    assert flow("ls", "node", "n1", "-t", "--ascii")[0].startswith("node n1 (localhost)\n`-- dep")

    facts, _ = flow("ls", "network", "net")
    assert facts.split()[:2] == ["name", "net"]
    assert "network net (ours)" in facts


def test_trees_of_processor_socket_queue_and_task(flow):
    (item,) = flow.json("ls", "socket", "net.first", "-g")
    (plug,) = item["tree"]["below"]
    assert (plug["kind"], plug["name"], plug["note"]) == ("plug", "edge", "RESULT, fills text")
    assert [(b["kind"], b["name"]) for b in plug["below"]] == [
        ("gate", "g"), ("socket", "shop.do_this"),
    ]  # fmt: skip
    assert flow("ls", "socket", "net.first", "-g", "--ascii")[0].splitlines() == [
        "socket net.first", "`-- plug edge (RESULT, fills text)", "    |-- gate g (open)",
        "    `-- socket shop.do_this",
    ]  # fmt: skip
    out, _ = flow("ls", "processor", "proc1", "-g", "--ascii")
    assert "|-- deployment here (2 CPUs on localhost)" in out
    assert "-- socket shop.add" in out
    assert flow("ls", "queue", "net.q", "-g")[0].splitlines()[0] == "queue net.q"
    assert "socket net.first" in flow("ls", "task", "net.first", "-g")[0]


def test_a_tree_of_what_is_not_there_is_3(flow):
    assert "no network is named 'nett'" in flow("ls", "network", "nett", "-v", status=3)[1]
    assert flow("ls", "network", "net", "-h", "-v", status=2)


def test_nodes_join_and_leave_networks_and_schedulers(flow):
    assert flow.json("get", "node", "n1")[0]["scheduler"] == "even"
    flow("network", "remove", "-n", "net", "-nd", "n1")
    assert flow.json("get", "node", "n1")[0]["network"] is None
    flow("network", "remove", "-n", "net", "-nd", "n1", status=6)
    flow("network", "add", "-n", "nett", "-nd", "n1", status=3)
    flow("network", "add", "-n", "net", "-nd", "n1", "--dry-run")
    assert flow.json("get", "node", "n1")[0]["network"] is None
    flow("scheduler", "remove", "-n", "even", "-nd", "n1")
    flow("network", "add", "-n", "net", "-nd", "n1")
    flow("scheduler", "add", "-n", "even", "-nd", "n1")

    assert flow.json("get", "node", "n1")[0]["network"] == "net"


def test_live_counts_of_queues_and_sockets(shell):
    ids = [
        shell("run", "shop.rest", "30", "--no-wait")[0].strip() for _ in range(3 + 2)
    ]  # Two workers.
    shell.wait_until(lambda: _stat(shell)["running"] == 2)

    assert _stat(shell)["waiting"] == 3
    (queue,) = (q for q in shell.json("ls", "queues") if q["name"] == "shop.queue1")
    assert (queue["waiting"], queue["running"]) == (3, 2)
    assert queue["bytes"] > 3 * 80
    assert "shop.rest" in queue["sockets"]
    assert "3 waiting, 2 running" in shell("ls", "queue", "shop.queue1", "-g")[0]
    assert {c["id"] for c in shell.json("ls", "work")} <= set(ids)
    assert shell.json("ls", "jobs") == []
    busy = [c for c in shell.json("ls", "cpus") if c.get("processor") == "proc1"]
    assert len(busy) == 2
    for id in ids:
        shell("call", "cancel", id)
    shell.wait_until(lambda: not shell.json("ls", "calls", "-u"))


def _stat(shell):
    return next(s for s in shell.json("ls", "stats") if s["name"] == "shop.rest")


def test_a_worker_that_is_told_to_leaves_and_is_replaced(shell):
    before = shell.json("ls", "workers", "-n", "proc1")
    first, second = before[0], before[1]
    assert shell.json("ls", "worker", str(first["id"]))[0]["pid"] == first["pid"]

    shell("worker", "kill", str(first["id"]))
    shell("worker", "kill", "-n", str(second["id"]), "--now")

    def replaced():
        now = [w for w in shell.json("ls", "workers") if w["state"] == "ready"]
        pids = {w["pid"] for w in now}
        return len(pids) == 2 and not pids & {first["pid"], second["pid"]}

    shell.wait_until(replaced)
    assert "this node has no worker 4711" in shell("worker", "kill", "4711", status=3)[1]
    shell("worker", "start", "-n", "proc1", "--wait")


def test_pages_of_calls_reach_the_last_partial_one(shell):
    for number in range(7):
        shell("run", "shop.add", str(number))
    total = int(re.search(r"of (\d+) total", shell("ls", "calls", "-r", "3")[0])[1])
    pages = -(-total // 3)

    seen = []
    for page in range(1, pages + 1):
        seen += [c["id"] for c in shell.json("ls", "calls", "-p", str(page), "-r", "3", "-a")]

    assert len(seen) == len(set(seen)) == total
    assert len(shell.json("ls", "calls", "-p", str(pages), "-r", "3")) == (total % 3 or 3)
    assert shell.json("ls", "calls", "-p", str(pages + 1), "-r", "3") == []
    assert f"Page {pages} of {pages}" in shell("ls", "calls", "-p", str(pages), "-r", "3")[0]


def test_calls_with_flow_and_task_columns(shell):
    shell("run", "shop.add", "1")

    head = shell("ls", "calls", "-t", "-tk", "-r", "1")[0].splitlines()[1]
    (row,) = shell.json("ls", "calls", "-tk", "-r", "1", "-s", "shop.add")

    assert [t.strip() for t in head.split("|")][-3:-1] == ["Flow", "Task"]
    assert (row["task"], row["flow"]) == ("add", row["id"])
    drawn, _ = shell("ls", "call", row["id"], "-g", "--ascii")
    assert drawn == f"* shop.add (DONE, {row['id']})\n"
    assert [c["id"] for c in shell.json("ls", "call", row["id"], "-f")] == [row["id"]]


def test_calls_are_followed(shell):
    watching = shell.start("ls", "calls", "-w", "-o", "jsonl", "-s", "shop.talk", "-r", "5")
    try:
        shell("run", "shop.add", "1")  # Of another socket: not told.
        states = []
        shell("run", "shop.talk", "hi")
        while "DONE" not in states:
            row = json.loads(watching.stdout.readline())
            assert row["name"] == "shop.talk"
            states.append(row["state"])
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 130
    finally:
        watching.kill()
        watching.communicate()


def test_listen_prints_lines_of_json(shell):
    listening = shell.start("listen", "-n", "shop.add", "-c", "task")
    try:
        line = ""
        while not line:  # Whether it listens yet is seen by what it prints.
            shell("run", "shop.add", "5")
            if _readable(listening.stdout):
                line = listening.stdout.readline()
        assert json.loads(line)["socket"] == "shop.add"
    finally:
        listening.kill()
        listening.communicate()


def _readable(stream):
    import select

    return bool(select.select([stream], [], [], 0.2)[0])


def test_processors_and_tasks_with_the_columns_of_the_original(shell):
    head = shell("ls", "processors", "-g", "-m")[0].splitlines()[1]
    assert [t.strip() for t in head.split("|")[1:-1]] == ["Name", "Repository", "Module"]
    assert "Repository" in shell("ls", "tasks", "-g")[0].splitlines()[1]
    assert "git " in shell("task", "show", "shop.add", "-g")[0]
    assert "def add(" in shell("ls", "task", "shop.add", "-c")[0]


def test_agent_is_the_node(fresh):
    assert "pid " in fresh("agent", "start")[0]
    assert fresh.json("ls", "agents")[0]["state"] == "alive"
    assert fresh("agent", "stop")[0] == "the node is down\n"
    fresh("agent", "start")

    assert fresh("agent", "kill")[0] == "the node is down\n"


def test_a_processor_comes_with_its_deployment(shell, repository):
    shell(
        "add", "processor", "-n", "dep1", "-g", repository.as_uri(), "-m", "shop.tasks", "-d",
        "-h", "localhost", "-cs", "2", "--wait", "--timeout", "60s",
    )  # fmt: skip

    (item,) = shell.json("get", "deployment", "dep1")
    assert (item["processor"], item["host"], item["cpus"]) == ("dep1", "localhost", 2)
    assert len(shell.json("ls", "workers", "-n", "dep1")) == 2
    shell("proc", "remove", "dep1", "-y")


@pytest.mark.parametrize("right", sorted(original.RIGHTS))
def test_a_right_of_the_original_is_refused_with_what_to_give_instead(shell, right):
    assert right not in RIGHTS
    for word in re.findall(r"\b[A-Z]{2,}(?:_[A-Z]+)*\b", original.RIGHTS[right]):
        assert word in RIGHTS, "what is named instead is one"

    _, err = shell("add", "privilege", "-u", "joe", "-n", right.lower(), status=2)

    assert f"there is no right {right.lower()}: {original.RIGHTS[right]}" in err


@pytest.mark.parametrize(
    "words",
    [
        ("add", "user", "-n", "joe", "--password", "s3cret-word"),
        ("add", "user", "joe", "--password", "s3cret-word"),
        ("update", "user", "joe", "--password", "s3cret-word"),
        ("login", "-n", "joe", "--password", "s3cret-word"),
    ],
)
def test_a_password_given_as_a_word_is_refused_and_not_repeated(shell, words):
    _, err = shell(*words, status=2)

    assert "a password is never an argument" in err
    assert "s3cret-word" not in err
