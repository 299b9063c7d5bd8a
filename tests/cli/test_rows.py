"""What going through the original's commands one by one on a real node has shown to be wrong."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from meshcode.cli.registry import COMMANDS

SECRET = "correct horse 17"


def processors(shell):
    """What each processor does, by name."""
    return {row["name"]: row["status"] for row in shell.json("ls", "processors")}


def on_terminal(shell, *words, typed):
    """`mesh WORDS` where a person types these lines: its exit status and all that was shown."""
    reader, writer = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "meshcode.cli", *words], stdin=writer, stdout=writer, stderr=writer,
        env=shell.environment, cwd="/", start_new_session=True,
    )  # fmt: skip
    os.close(writer)
    os.write(reader, "".join(f"{line}\n" for line in typed).encode())
    shown = b""
    while True:
        try:
            data = os.read(reader, 65_536)
        except OSError:  # As Linux says that nobody writes any more.
            break
        if not data:
            break
        shown += data
    os.close(reader)
    return child.wait(60), shown.decode()


@pytest.fixture
def other(shell, repository):
    """A processor `other` that a test may spoil."""
    words = ["-g", repository.as_uri(), "-m", "shop.tasks", "-br", "main"]
    shell("add", "processor", "-n", "other", *words, "--wait", "--timeout", "60s")
    yield "other"
    shell.run(["delete", "processor", "other", "-y"])


def test_a_processor_is_well_again_when_what_failed_is_not_wanted_any_more(shell, other):
    shell("update", "processor", other, "--tag", "no-such-tag")
    shell.wait_until(lambda: processors(shell)[other] == "failed")

    shell("update", "processor", other, "--tag", "none", "--wait")

    assert processors(shell)[other] == "running"


def test_a_processor_with_deployments_on_others_only_is_elsewhere(fresh):
    """It is not idle: a listing here cannot know what it does there, and says where to look."""
    fresh("up")
    text = b"""
schedulers: {even: {}}
processors:
  far: {git: file:///nowhere, module: m}
  spread: {git: file:///nowhere, module: m}
deployments:
  far1: {processor: far, host: another, cpus: 2}
  spread1: {processor: spread, scheduler: even, cpus: 2}
"""
    fresh("apply", "-f", "-", stdin=text)  # At once: without a deployment they would run here.

    def found():
        return {row["name"]: row["status"] for row in fresh.json("ls", "processors")}

    assert found() == {"far": "elsewhere", "spread": "idle"}  # No node is there to spread it over.
    fresh("add", "node", "-n", "another", "--scheduler", "even")
    assert found() == {"far": "elsewhere", "spread": "elsewhere"}


def test_a_task_is_found_by_its_name_and_called_by_socket_and_task_together(shell):
    wanted = shell.json("ls", "task", "shop.do_this")

    assert shell.json("ls", "task", "do_this") == wanted
    assert shell.json("ls", "task", "-n", "proc1.do_this") == wanted
    assert shell.json("task", "show", "do_this")[0]["task"] == "do_this"
    assert "def do_this" in shell("task", "code", "do_this")[0]
    shell("ls", "task", "do_nothing", status=3)
    called = ("task", "run", "-n", "do_this", "-s", "shop.do_this", "-a", "text", "-d", "'hello'")
    assert shell(*called)[0] == "Do this: hello\n"
    assert shell("task", "run", "shop.add", "-d", "[2, 3]")[0] == "5\n"
    err = shell("task", "run", "-n", "add", "-s", "shop.do_this", "-nd", status=2)[1]
    assert "socket shop.do_this calls the task 'do_this', not 'add'" in err


def test_the_words_of_the_original_are_taken_or_explained(shell, repository):
    words = ["add", "processor", "-n", "p9", "-g", repository.as_uri(), "-m", "shop.tasks"]
    said = shell(*words, "-c", "5", status=2)[1]
    assert "5 is no commit, which has 7 digits or more; how many workers there are" in said
    assert "`-w 5`" in said
    for given, kept in (("stopped", "stop"), ("ready", "start"), ("paused", "pause")):
        shell(*words, "-rs", given, "--recycle-bytes", "64MiB")
        (row,) = shell.json("get", "processor", "p9")
        assert (row["requested_status"], row["recycle_bytes"]) == (kept, 64 * 1024 * 1024)
        shell("delete", "processor", "p9", "-y")
    assert "requested_status is 'gone'" in shell(*words, "-rs", "gone", status=2)[1]
    said = shell("add", "socket", "-n", "s9", "-c", "5", status=2)[1]
    assert "add socket has no -c: how many of its calls may run at once is --concurrency" in said
    said = shell("proc", "--id", "7", "stop", status=2)[1]
    assert "mesh proc has no --id: it is of the command behind it: `mesh proc stop -n NAME`" in said
    said = shell("scheduler", "-n", "even", "add", "-nd", "n1", status=2)[1]
    assert "mesh scheduler has no -n: it is of the command behind it" in said


def test_a_node_that_is_not_declared_points_to_the_list_of_those_that_are(shell):
    said = shell("delete", "node", "nope", "-y", status=3)[1]
    assert said.endswith("; `mesh ls nodes --declared` shows none\n")


def test_only_an_environment_is_named_as_written_in_clear(shell, repository):
    shell("add", "node", "-n", "lab", "--label", "zone=eu")
    shell("add", "processor", "-n", "p9", "-g", repository.as_uri(), "-m", "m", "-rs", "stop",
          "--env", "TOKEN=x", "--label", "a=b")  # fmt: skip
    try:
        assert shell("export", "nodes")[1] == ""
        assert shell("export", "processors")[1] == (
            "note: the environment of processor 'p9' is written in clear\n"
        )
    finally:
        shell("delete", "processor", "p9", "-y")
        shell("delete", "node", "lab", "-y")


def test_a_deleted_processor_is_forgotten_by_its_node(shell, other):
    def known():
        return {row["name"] for row in shell.json("status")[0]["processors"]}

    assert other in known()
    shell("delete", "processor", other, "-y")

    shell.wait_until(lambda: other not in known())
    assert "no processor is named 'other'" in shell("proc", "start", other, status=3)[1]


def test_the_password_of_a_processor_is_typed_in_a_file_or_in_the_environment(shell, repository):
    words = ["add", "processor", "-g", repository.as_uri(), "-m", "shop.tasks", "-rs", "stop", "-n"]
    said = shell(*words, "lock", "--password", status=2)[1]
    assert "nobody is here to type a password; give --password-file, or $MESH_PASSWORD" in said
    shell.environment["MESH_PASSWORD"] = SECRET
    try:
        shell(*words, "lock", "--password")
        shell(*words, "open")  # Who has it for logins does not lock what it declares.
        shell("update", "processor", "lock", "-w", "2", "--unlock")
        shell("proc", "stop", "lock", "--unlock")
        both = shell("update", "processor", "lock", "--password", "--unlock", status=2)[1]
    finally:
        del shell.environment["MESH_PASSWORD"]
    assert "give --unlock-file\n" in both  # Of two passwords it is the new one.
    said = shell("proc", "stop", "lock", "--unlock", status=2)[1]
    assert "give --unlock-file, or $MESH_PASSWORD" in said
    locked = {row["name"]: row["password"] for row in shell.json("ls", "processors")}
    assert (locked["lock"], locked["open"]) == (True, False)
    for name in ("lock", "open"):
        shell("delete", "processor", name, "-y")


def test_a_password_is_taken_away(shell, repository):
    """A processor that had one was deleted and added again to be rid of it."""
    shell.environment["MESH_PASSWORD"] = SECRET
    try:
        shell("add", "processor", "-n", "lock", "-g", repository.as_uri(), "-m", "shop.tasks",
              "-rs", "stop", "--password")  # fmt: skip
        shell("add", "user", "-n", "lea", "--password")
        both = shell("update", "processor", "lock", "--password", "--no-password", status=2)[1]
        assert "give --password, --password-file or --no-password, not both" in both
        shell("update", "processor", "lock", "--unlock", "--no-password")
        shell("update", "user", "lea", "--no-password")
        refused = shell("login", "-n", "lea", "--password", status=4)[1]
    finally:
        del shell.environment["MESH_PASSWORD"]
    assert "no enabled user lea with this password" in refused
    for kind in ("processor", "user"):
        names = {row["name"]: row["password"] for row in shell.json("ls", f"{kind}s")}
        assert names["lock" if kind == "processor" else "lea"] is False
    shell("update", "processor", "lock", "-w", "2")
    shell("delete", "processor", "lock", "-y")
    shell("delete", "user", "lea", "-y")


def test_a_backup_is_restored_by_its_name_alone(fresh, tmp_path):
    path = str(tmp_path / "model-1.db")
    fresh("db", "init")
    fresh("db", "backup", path)

    assert "name one file" in fresh("db", "restore", status=2)[1]
    assert "name one file" in fresh("db", "restore", path, "-f", path, status=2)[1]
    assert "0 objects of" in fresh("db", "restore", path)[0]
    assert "0 objects of" in fresh("db", "restore", "-f", path)[0]


def test_a_setting_of_one_command_is_a_flag(fresh):
    (row,) = fresh.json("--set", "timeout=7s", "config", "explain", "timeout")

    assert (row["value"], row["level"], row["where"]) == ("7s", "flag", "--set timeout")


def test_asking_for_settings_and_keeping_all_writes_nothing(fresh, tmp_path):
    fresh.environment["XDG_CONFIG_HOME"] = str(tmp_path / "config")

    status, shown = on_terminal(fresh, "config", "init", typed=[""] * 5)

    assert status == 0
    assert "every setting stays as it is; nothing was written" in shown
    assert not (tmp_path / "config").exists()


def test_a_processor_is_asked_for_option_by_option(shell, other):
    typed = [*[""] * 7, "3", *[""] * 8]

    status, shown = on_terminal(shell, "update", "processor", other, "-p", typed=typed)

    assert status == 0, shown
    assert "module (Python module with the tasks: pkg.module) [shop.tasks]" in shown
    assert "workers (Worker processes without deployments) [1]" in shown
    (row,) = (row for row in shell.json("ls", "processors") if row["name"] == other)
    assert (row["workers"], row["module"]) == (3, "shop.tasks")


def test_a_role_and_a_right_are_given_and_taken_together(shell):
    shell("add", "role", "-n", "dev")
    shell("add", "user", "-n", "joe")
    assert "a role with -r, a right with -p, or both" in shell("user", "add", "joe", status=2)[1]

    out, _ = shell("user", "add", "joe", "-r", "dev", "-p", "RUN_TASK")
    assert out == "privilege joe/RUN_TASK added\nuser joe has role dev\n"
    (item,) = shell.json("user", "add", "joe", "-r", "dev", "-p", "RUN_TASK")
    assert (item["kind"], item["roles"]) == ("user", ["dev"])
    assert "RUN_TASK" in shell("ls", "user", "joe")[0]

    for words, text in (
        (("-p", "RUN_TSK"), "has no RUN_TSK of its own; did you mean 'RUN_TASK'?"),
        (("-p", "ALL", "-r", "dev"), "has no ALL of its own; nothing was changed; `mesh ls user"),
        (("-r", "dve", "-p", "RUN_TASK"), "has no role 'dve', it has dev; nothing was changed"),
    ):
        assert f"user 'joe' {text}" in shell("user", "remove", "joe", *words, status=6)[1]
    said = shell("ls", "user", "joe")[0]
    assert "RUN_TASK" in said and "dev" in said

    (item,) = shell.json("user", "remove", "joe", "-r", "dev", "-p", "RUN_TASK")
    assert (item["kind"], item["roles"]) == ("user", [])

    assert shell.json("ls", "privileges") == []
    said = shell("add", "privilege", "-n", "RUN_TASK", status=2)[1]
    assert "give a user with -u, or a role with -ro; one of the two" in said
    shell("delete", "user", "joe", "-y")
    shell("delete", "role", "dev", "-y")


def test_a_user_is_shown_what_it_has_and_what_is_revoked_says_who_can_end_that(fresh, tmp_path):
    (tmp_path / "pw").write_text(SECRET)
    fresh("up")
    fresh("add", "user", "-n", "joe", "--password-file", str(tmp_path / "pw"))
    fresh("user", "add", "joe", "-p", "LS_USERS")
    fresh("add", "privilege", "-u", "joe", "-n", "RUN_TASK", "--revoke")
    fresh("login", "-n", "joe", "--password-file", str(tmp_path / "pw"))

    out, err = fresh("ls", "user", "joe")

    assert "name " in out and "LS_USERS" in out and "RUN_TASK" in out and not err
    said = fresh("run", "x", "1", status=4)[1]
    assert "user joe may not RUN_TASK on socket 'x': it is revoked" in said
    assert "who has DELETE_PRIVILEGE can end that" in said
    assert "mesh add privilege" not in said


def test_a_node_that_runs_is_shown_as_an_agent_although_nobody_declared_it(shell):
    (row,) = shell.json("ls", "agents")

    (item,) = shell.json("ls", "agent", row["node"][:8])
    assert (item["name"], item["state"], item["pid"]) == (row["name"], "alive", row["pid"])
    shell("add", "node", "-n", row["name"])
    (item,) = shell.json("ls", "agent", "-n", row["name"])
    assert (item["runs"]["state"], item["tree"]["kind"]) == ("alive", "node")
    shell("delete", "node", row["name"], "-y")
    assert "no node is named 'nobody'" in shell("ls", "agent", "nobody", status=3)[1]


def test_calls_of_a_node_that_is_not_there_are_not_all_calls(shell):
    assert "in no mesh" in shell("ls", "calls", "-n", "nosuchnode", status=3)[1]


def test_a_task_is_not_a_socket_and_the_text_says_what_to_write(shell):
    said = shell("task", "run", "-n", "shop.add", "-d", "1", status=3)[1]
    assert "no socket has the task 'shop.add'; that is a socket: -s shop.add" in said
    said = shell("task", "run", "-n", "ad", "-d", "1", status=3)[1]
    assert "no socket has the task 'ad'; did you mean 'add'?" in said
    assert shell("task", "run", "-n", "add", "-d", "1")[0] == "1\n"


def test_a_plug_to_an_argument_that_is_not_there_is_told(shell):
    shell("run", "shop.add", "1")  # The code is known.
    edge = ("-s", "shop.do_this", "-t", "shop.add")

    err = shell("add", "plug", "-n", "e", *edge, "-a", "lefft")[1]
    assert "shop.add(left, right=0, *, scale=1) has no argument 'lefft' as its code is now" in err
    for argument in ("left", "scale"):
        assert shell("update", "plug", "e", "-a", argument)[1] == ""
    err = shell("update", "plug", "e", "-t", "shop.upto")[1]
    assert "shop.upto(count) has no argument 'scale'" in err
    assert shell("update", "plug", "e", "-t", "shop.kind")[1] == ""  # It takes any keyword.
    shell("delete", "plug", "e", "-y")


def test_whoever_gave_a_call_no_time_is_told_why_it_waits(shell):
    shell("proc", "pause", "proc1")

    err = shell("run", "shop.add", "1", "--timeout", "200ms", status=124)[1]

    assert "has not ended within 200ms; it waits: processor proc1 is paused" in err
    shell("proc", "resume", "proc1")
    shell.wait_until(lambda: not shell.json("ls", "calls", "-u"))


def test_one_word_goes_to_several_tasks_through_tee(shell):
    out = shell.bash(
        "cd $(mktemp -d); echo hey | tee >(mesh task run -s shop.do_this > a)"
        " >(mesh task run -s shop.do_something > b) > c;"
        " wait $!; until [ -s a ] && [ -s b ]; do read -rt 0.05 <> <(:); done; cat a b c"
    )

    assert out == "Do this: hey\nDo something: hey\nhey\n"


def test_the_data_are_the_argument_of_that_name(shell):
    assert shell("task", "run", "-s", "shop.add", "-d", "4", "-a", "left")[0] == "4\n"
    assert shell("task", "run", "-s", "shop.do_this", "-a", "text", stdin=b"hey\n")[0] == (
        "Do this: hey\n"
    )
    words = ("task", "run", "-s", "shop.add", "-d", "[4, 3]", "-k", "scale=2")
    assert shell(*words)[0] == "14\n"
    err = shell("task", "run", "-s", "shop.do_this", "-d", '"hey"', "-a", "txet", status=2)[1]
    assert "shop.do_this(text) has no argument 'txet'; the call was not accepted" in err


def test_a_call_that_waited_longer_than_its_queue_says_has_expired(shell):
    shell("update", "queue", "shop.queue1", "--message-ttl", "300ms")
    shell("proc", "pause", "proc1")
    id = shell("run", "shop.add", "1", "--no-wait")[0].strip()

    err = shell("call", "get", id, status=5)[1]

    assert "mesh: not run: it expired after waiting " in err
    shell("proc", "resume", "proc1")
    shell("update", "queue", "shop.queue1", "--message-ttl", "none")


def test_what_can_be_added_can_be_changed_shown_listed_and_deleted():
    added, *others = (
        set(COMMANDS[verb].entries) for verb in ("add", "update", "delete", "get", "ls")
    )

    for there in others:
        assert added - there == set()
