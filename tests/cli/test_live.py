"""The command against a real node: what a person types, what is printed, and the exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from meshcode.client import connect
from meshcode.paths import clients_address

MANY = 20_000  # Calls that are cancelled in some seconds.


def test_the_first_flow_of_the_original_guide(shell):
    out, _ = shell("task", "run", "--socket", "shop.do_this", "--data", "['some data']")

    assert out == "Do this: some data\n"


def test_tasks_can_be_piped_into_each_other(shell):
    out = shell.bash(
        "echo 'HI THERE!' | mesh task run -s shop.do_something"
        ' | echo "$(cat -) add some text" | mesh task run -s shop.do_this'
    )

    assert out == "Do this: Do something: HI THERE! add some text\n"


def test_only_the_last_newline_of_stdin_is_taken_away(shell):
    out, _ = shell("task", "run", "-s", "shop.do_this", "-o", "json", stdin=b"a\n\n")

    assert json.loads(out) == "Do this: a\n"


def test_stdin_that_is_no_text_is_refused(shell):
    _, err = shell("task", "run", "-s", "shop.do_this", stdin=b"ok\xff", status=2)

    assert err == "mesh: stdin is not UTF-8 text: byte 2 is 0xff; nothing was sent\n"


def test_stdin_can_be_json(shell):
    out, _ = shell("task", "run", "-s", "shop.add", "--json-stdin", stdin=b"[20, 1]")

    assert out == "21\n"


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["shop.add", "2", "3"], "5\n"),
        (["shop.add", "-5", "-.5"], '"not used"'),
        (["shop.add", "2", "3", "-k", "scale=10"], "50\n"),
        (["shop.add", "-k", "left=4"], "4\n"),
        (["shop.kind", "1", "x", "[1]", "null", "--", "-k", "--no"],
         '[["int", "str", "list", "NoneType", "str", "str"], {}]\n'),
        (["shop.kind", "--text", "1", "-k", "a=1"], '[["str"], {"a": "str"}]\n'),
        (["shop.do_this", "x"], "Do this: x\n"),
        (["shop.do_this", "x", "-o", "json"], '"Do this: x"\n'),
        (["shop.do_this", "x", "-o", "repr"], "'Do this: x'\n"),
        (["shop.kind", "-o", "yaml"], "- []\n- {}\n"),
        (["shop.upto", "3"], "[0, 1, 2]\n"),
        (["shop.upto", "3", "--stream"], "0\n1\n2\n"),
    ],
)  # fmt: skip
def test_run_reads_words_and_prints_the_result(shell, words, printed):
    if "-.5" in words:
        words, printed = ["shop.kind", "-5", "-.5", "-1e3"], '[["int", "str", "float"], {}]\n'

    assert shell("run", *words) == (printed, "")


def test_bytes_are_printed_as_they_are(shell):
    assert shell.run(["run", "shop.raw"]) == (0, b"\x00\xff", b"")


def test_a_task_that_raises_shows_its_traceback_on_stderr(shell):
    out, err = shell("run", "shop.boom", "no luck", status=1)

    assert out == ""
    assert "Traceback" in err
    assert "in boom" in err
    assert err.endswith("mesh: ValueError: no luck\n")


def test_what_is_not_there_is_3_and_the_nearest_name_is_told(shell):
    _, err = shell("run", "shop.ad", "1", status=3)
    assert "did you mean 'shop.add'?" in err
    _, err = shell("get", "socket", "shop.ad", status=3)
    assert "shop.add" in err
    _, err = shell("logs", "shop.ad", status=3)
    assert "did you mean 'shop.add'?" in err
    shell("ls", "call", "00000000", status=3)
    shell("call", "get", "00000000-0000-7000-8000-000000000000", status=3)


def test_wrong_arguments_are_2(shell):
    _, err = shell("run", "shop.add", "1", "2", "3", status=2)

    assert "add" in err or "argument" in err


def test_what_exists_is_6_unless_it_may(shell):
    _, err = shell("add", "queue", "-n", "shop.queue1", status=6)
    assert "shop.queue1" in err

    out, _ = shell("add", "queue", "-n", "shop.queue1", "-t", "direct", "--exists-ok")
    assert out == "queue shop.queue1 is there already and is unchanged\n"
    (item,) = shell.json("add", "queue", "-n", "shop.queue1", "--exists-ok")
    assert item["existed"] is True
    _, err = shell("add", "queue", "-n", "shop.queue1", "-t", "fanout", "--exists-ok", status=6)
    assert "has type 'direct', not 'fanout'; it is unchanged" in err
    assert "existed" not in shell.json("get", "queue", "shop.queue1")[0]


def test_an_object_is_added_changed_shown_and_deleted(shell):
    shell("add", "queue", "-n", "temporary", "--message-ttl", "1h", "--max-length-bytes", "64KiB")
    shell("update", "queue", "temporary", "--max-length", "7", "--message-ttl", "none")
    (item,) = shell.json("get", "queue", "temporary")
    shown, _ = shell("ls", "queue", "temporary")
    _, refused = shell("delete", "queue", "temporary", status=2)
    out, _ = shell("delete", "queue", "temporary", "-y")

    changed = ("max_length", "message_ttl_ms", "max_length_bytes")
    assert [item[field] for field in changed] == [7, None, 65_536]
    assert "max length" in shown
    assert "say -y" in refused
    assert out == "queue temporary deleted\n"
    shell("get", "queue", "temporary", status=3)


def test_what_is_in_use_is_not_deleted(shell):
    _, err = shell("delete", "queue", "shop.queue1", "-y", status=6)

    assert "shop.add" in err


def test_a_processor_can_bring_its_deployment(shell, repository):
    out, _ = shell(
        "add", "processor", "-n", "placed", "-g", repository.as_uri(), "-m", "shop.tasks",
        "-d", "-h", "elsewhere", "-cs", "3", "-rs", "stop", "--env", "A=1", "--env", "B=x=y",
    )  # fmt: skip
    (deployment,) = shell.json("get", "deployment", "placed")
    (processor,) = shell.json("get", "processor", "placed")
    shown = shell("get", "processor", "placed")[0]
    (row,) = [row for row in shell.json("ls", "processors") if row["name"] == "placed"]
    shell("proc", "remove", "placed", "-y")

    assert out == "deployment placed added\nprocessor placed added\n"
    assert (deployment["host"], deployment["cpus"]) == ("elsewhere", 3)
    assert processor["env"] == {"A": "1", "B": "x=y"}
    assert "workers (undeployed)" in shown  # Its own number; the deployment's counts.
    assert (row["workers"], row["ready"], row["wanted"], row["status"]) == (1, 0, 0, "stopped")
    assert shell("ls", "deployments", "-q") == ("", "")


def test_a_listing_of_processors_says_what_runs_and_what_is_wanted(shell, repository):
    """Their own number of workers is neither, where a deployment says how many."""
    where = ("-g", repository.as_uri(), "-m", "shop.tasks")
    shell("add", "processor", "-n", "counted", *where, "-d", "-cs", "3", "-rs", "stop")
    shell("run", "shop.add", "1")
    table, _ = shell("ls", "processors", "--columns", "name,ready,wanted")
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|")]
    head, *cells = [[cell.strip() for cell in row] for row in rows]
    stopped = shell.json("ls", "processor", "counted")[0]
    shell("proc", "start", "counted", "--wait")
    started = shell.json("ls", "processor", "counted")[0]
    shell("proc", "remove", "counted", "-y")

    assert head == ["Name", "Ready", "Wanted"]
    assert ["proc1", "2", "2"] in cells
    assert (stopped["workers"], stopped["ready"], stopped["wanted"]) == (1, 0, 0)
    assert (started["workers"], started["ready"], started["wanted"]) == (1, 3, 3)
    assert "| Ready | Wanted |" in shell("ls", "processors")[0].splitlines()[1]


def test_a_processor_and_its_deployment_come_together_or_not_at_all(shell, repository):
    words = ["add", "processor", "-n", "both", "-g", repository.as_uri(), "-m", "shop.tasks"]
    bad_out, bad = shell(*words, "-d", "-cs", "0", status=2)
    dry, _ = shell(*words, "-d", "-cs", "2", "-rs", "stop", "--dry-run")
    nothing = shell("ls", "processors", "-q")[0].split()
    (made,) = shell.json(*words, "-d", "-cs", "2", "-rs", "stop", "--label", "env=test")
    _, again = shell(*words, "-d", "-cs", "2", status=6)
    same, _ = shell(*words, "-d", "-cs", "2", "--exists-ok")
    _, differs = shell(*words, "-d", "-cs", "3", "--exists-ok", status=6)
    (deployment,) = shell.json("get", "deployment", "both")
    shell("proc", "remove", "both", "-y")

    assert bad_out == "" and "deployment 'both': cpus is 0" in bad
    assert dry.count("(dry run: nothing was changed)") == 2 and "both" not in nothing
    assert (made["name"], made["labels"], made["revision"]) == ("both", {"env": "test"}, 1)
    assert "processor 'both' exists already; it is unchanged" in again
    assert same == "".join(
        f"{kind} both is there already and is unchanged\n" for kind in ("deployment", "processor")
    )
    assert "deployment 'both' exists and has cpus 2, not 3; it is unchanged" in differs
    assert deployment["cpus"] == 2


def test_listings_in_all_formats(shell):
    names = [f"shop.{name}" for name in sorted(shell.names)]

    assert shell("ls", "sockets", "-q")[0].split() == names
    assert shell("ls", "sockets", "-o", "name")[0].split() == [f"socket/{n}" for n in names]
    assert [item["name"] for item in shell.json("ls", "sockets")] == names
    lines = shell("ls", "sockets", "-o", "jsonl")[0].splitlines()
    assert [json.loads(line)["name"] for line in lines] == names
    table = shell("ls", "sockets", "--columns", "task,name")[0].splitlines()
    assert table[1].split() == ["|", "Task", "|", "Name", "|"]
    assert len(table) == len(names) + 4
    yaml = pytest.importorskip("yaml")
    document = yaml.safe_load(shell("ls", "sockets", "-o", "yaml")[0])
    assert [item["name"] for item in document["items"]] == names


def test_an_unknown_column_is_2_and_names_the_known(shell):
    _, err = shell("ls", "sockets", "--columns", "colour", status=2)

    assert err.startswith("mesh: there is no column 'colour' here; the columns are ")
    assert "priority" in err


def test_one_call_from_its_id_to_its_details(shell):
    id = shell("run", "shop.talk", "hello", "--no-wait")[0].strip()
    result, _ = shell("call", "get", id)
    details, _ = shell("ls", "call", "--id", id[:18], "-r", "--output")
    (item,) = shell.json("ls", "call", id, "-r")
    (row, *_) = shell.json("ls", "calls", "-s", "shop.talk")

    assert len(id) == 36
    assert result == "5\n"
    wanted = [
        "shop.talk", id, "Provenance", "received", "prerun", "postrun", "Result\n5\n",
        "Output (stdout)\nhello\n", "Output (stderr)\nHELLO\n", "attempts: 1",
    ]  # fmt: skip
    assert [text for text in wanted if text not in details] == []
    assert (item["state"], item["result"], item["flow"]) == ("DONE", 5, id)
    assert (row["id"], row["socket"], row["page"], row["row"]) == (id, "shop.talk", 1, 1)


def test_calls_are_listed_in_pages(shell):
    ids = [shell("run", "shop.add", "1", "--no-wait")[0].strip() for _ in range(3)]
    for id in ids:
        shell("call", "get", id)

    first, _ = shell("ls", "calls", "-r", "2")
    newest = shell("ls", "calls", "-r", "3", "-i")[0].split()
    second = shell("ls", "calls", "-r", "2", "-p", "2", "-q")[0].split()
    oldest = shell("ls", "calls", "-r", "1", "-a", "-q")[0].split()

    total = int(first.split(" total records")[0].split()[-1])
    assert f"Page 1 of {-(-total // 2)} of {total} total records\n" in first
    pages = -(-total // 100)
    said = f"There is no page 99: {pages} page{'' if pages == 1 else 's'} of {total} total records"
    assert said in "".join(shell("ls", "calls", "-r", "100", "-p", "99"))
    for title in ("Page", "Row", "Name", "ID", "Last Updated", "Socket", "Started", "Finished"):
        assert title in first
    assert newest == ids[::-1]
    assert second[0] == ids[0]
    assert oldest != newest[:1]


def test_the_beginning_of_an_id_is_enough_for_the_calls_of_a_flow(shell):
    id = shell("run", "shop.add", "1", "--no-wait")[0].strip()
    shell("call", "get", id)

    assert shell("ls", "calls", "-f", id[:32], "-q")[0].split() == [id]
    assert shell("ls", "calls", "-f", id, "-q")[0].split() == [id]
    shell("ls", "calls", "-f", "ffffffff", status=3)


def test_a_flow_may_be_the_name_of_a_socket_alone(shell, tmp_path):
    assert shell("run", "--flow", "-", "1", stdin=b'"shop.add"\n') == ("1\n", "")
    _, err = shell("run", "--flow", "-", "1", stdin=b"[1]\n", status=2)
    _, model = shell("apply", "-f", "-", stdin=b'"shop.add"\n', status=2)

    assert "map of kinds" not in err
    assert "stdin is a str; it must be a map of kinds" in model


def test_branches_are_streamed_in_their_order(shell):
    document = b"parallel: [{call: shop.rest, args: [0.3]}, {call: shop.add, args: [1]}]"
    assert shell("run", "--flow", "-", "--stream", stdin=document)[0].splitlines()[1:] == ["1"]


def test_what_runs_does_not_expire(shell):
    shell("run", "shop.rest", "0.5", "--expires", "100ms")
    shell("proc", "pause", "proc1")
    try:
        assert "expire" in shell("run", "shop.rest", "0", "--expires", "100ms", status=5)[1]
    finally:
        shell("proc", "resume", "proc1")
    assert "has not begun within this; one that runs goes on" in " ".join(
        shell("run", "--help")[0].split()
    )


def test_a_timeout_is_124_and_the_call_goes_on(shell):
    _, err = shell("run", "shop.rest", "30", "--timeout", "300ms", status=124)
    id = err.split()[2]
    (row,) = shell.json("ls", "calls", "-u", "-s", "shop.rest")
    out, _ = shell("call", "cancel", id[:23])
    _, late = shell("call", "get", id, status=5)

    assert f"call {id} has not ended within 300ms; it goes on" in err
    assert (row["id"], row["finished_ms"]) == (id, None)
    assert out.startswith(f"call {id} ")
    assert "cancel" in late
    _, again = shell("call", "cancel", id, status=6)
    assert f"call {id} has ended: it is CANCELLED since " in again
    assert shell("ls", "calls", "-u", "-q") == ("", "")


def test_ctrl_c_is_130_and_names_the_call(shell):
    process = shell.start("run", "shop.rest", "30")
    shell.wait_until(lambda: shell.json("ls", "calls", "-u"))

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)

    assert (process.returncode, out) == (130, "")
    id = err.split()[2]
    assert err == f"mesh: call {id} goes on; `mesh call cancel {id}` stops it\n"
    shell("call", "cancel", id)
    shell("call", "get", id, status=5)


def test_a_delayed_call_can_be_started_now(shell):
    id = shell("run", "shop.add", "1", "--delay", "1h", "--no-wait")[0].strip()
    (row,) = shell.json("ls", "call", id)
    out, _ = shell("call", "retry", id)

    assert row["state"] == "DELAYED"
    assert out == f"call {id} waiting\n"
    assert shell("call", "get", id, "--timeout", "20s") == ("1\n", "")


def test_an_ended_call_is_tried_again_as_a_new_one(shell):
    id = shell("run", "shop.add", "5", "--no-wait")[0].strip()
    shell("call", "get", id)

    out, _ = shell("call", "retry", id)

    again = out.split()[1]
    assert out == f"call {again} submitted again, was {id}\n"
    assert again != id
    assert shell("call", "get", again) == ("5\n", "")


def test_what_was_tried_again_says_as_what_and_the_second_time_is_told(shell):
    id = shell("run", "shop.boom", "x", "--no-wait")[0].strip()
    shell("call", "get", id, status=1)
    other = shell("run", "shop.boom", "y", "--no-wait")[0].strip()
    shell("call", "get", other, status=1)

    out, err = shell("call", "retry", id, "0000000000000000", other, status=3)
    again, further = (line.split()[1] for line in out.splitlines())
    assert out == (
        f"call {again} submitted again, was {id}\ncall {further} submitted again, was {other}\n"
    )
    assert "before" not in err and "0000000000000000" in err
    shell("call", "get", again, status=1)
    shell("call", "get", further, status=1)

    def notes(id):
        events = shell.json("ls", "call", id)[0]["events"]
        return [event["note"] for event in events if event["name"] == "made again"]

    assert (notes(id), notes(other), notes(again)) == ([f"as {again}"], [f"as {further}"], [])
    out, err = shell("call", "retry", id)
    before = f"had been tried again before, as {again}: look with `mesh ls call`"
    assert err == f"mesh: call {id} {before}\n"
    assert notes(id) == [f"as {again}", f"as {out.split()[1]}"]
    assert "made again" in shell("ls", "call", id)[0]


def test_the_newest_call_of_a_socket_is_the_one_accepted_last(shell):
    """Also when it is an old one tried again, which lies beside that in listings."""
    ids = [shell("run", "shop.talk", f"word{n}", "--no-wait")[0].strip() for n in range(3)]
    for id in ids:
        shell("call", "get", id)
    assert shell.json("ls", "call", "-n", "shop.talk")[0]["id"] == ids[2]

    again = shell("call", "retry", ids[0])[0].split()[1]
    shell("call", "get", again)

    assert shell.json("ls", "calls", "-s", "shop.talk")[0]["id"] == ids[2]
    assert shell.json("ls", "call", "-n", "shop.talk")[0]["id"] == again


def test_a_plug_of_a_generator_says_what_callers_get_and_that_has_an_id_commands_take(shell):
    err = shell("add", "plug", "-n", "items", "-s", "shop.upto", "-t", "shop.raw", "--dry-run")[1]
    assert "shop.upto is a generator, whose items are calls of their own while it has a plug" in err
    shell("add", "plug", "-n", "items", "-s", "shop.upto", "-t", "shop.kind")
    try:
        id = shell("run", "shop.upto", "2", "--no-wait")[0].strip()
        assert json.loads(shell("call", "get", id)[0]) == {"items": 2, "stream": id}
        assert shell("call", "get", id, "--stream")[0] == "0\n1\n"
        assert shell.json("ls", "call", id, "-r")[0]["result"] == {"items": 2, "stream": id}
    finally:
        shell("delete", "plug", "-n", "items", "-y")
    err = shell("add", "plug", "-n", "e", "-s", "shop.add", "-t", "shop.kind", "--dry-run")[1]
    assert "generator" not in err


def test_a_paused_processor_parks_its_calls(shell):
    assert shell("proc", "pause", "-n", "proc1")[0] == "processor proc1 pauses\n"
    id = shell("run", "shop.add", "1", "--no-wait")[0].strip()
    (row,) = shell.json("ls", "call", id)
    shell("proc", "resume", "proc1")

    assert (row["state"], bool(row["reason"])) == ("PARKED", True)
    assert shell("call", "get", id, "--timeout", "20s") == ("1\n", "")
    shell("proc", "pause", "-n", "proc2", status=3)


def test_deleting_a_socket_tells_what_becomes_of_its_calls(shell):
    """Its queue and its processor have no such calls: they are not deleted while it uses them."""
    queue = shell.json("ls", "socket", "shop.add")[0]["queue"]
    words = ("add", "socket", "-n", "shop.late", "-q", queue, "-pn", "proc1", "-t", "add")
    shell(*words)
    id = shell("run", "shop.late", "1", "--delay", "1h", "--no-wait")[0].strip()

    dry = shell("delete", "socket", "shop.late", "--dry-run")
    _, asked = shell("delete", "socket", "shop.late", status=2)  # Nobody is here to be asked.
    deleted, told = shell("delete", "socket", "shop.late", "-y")
    kept = shell.json("ls", "call", id)[0]["state"]
    shell("call", "cancel", id)
    shell(*words)
    nothing = shell("delete", "socket", "shop.late", "-y")

    note = (
        "mesh: 1 call of socket shop.late has not ended: without it what waits stays parked until"
        " it is added again or is cancelled, what runs goes on; look with"
        " `mesh ls calls -u -s shop.late`\n"
    )
    assert dry == ("socket shop.late deleted (dry run: nothing was changed)\n", note)
    assert asked.startswith(note)
    assert (deleted, told) == ("socket shop.late deleted\n", note)
    assert kept in ("DELAYED", "PARKED")
    assert nothing == ("socket shop.late deleted\n", "")


def test_a_queue_is_purged_of_what_waits_in_it(shell):
    queue = shell.json("ls", "socket", "shop.add")[0]["queue"]
    shell("proc", "pause", "-n", "proc1")
    ids = [shell("run", "shop.add", str(n), "--no-wait")[0].strip() for n in range(3)]
    later = shell("run", "shop.add", "1", "--delay", "1h", "--no-wait")[0].strip()

    dry, _ = shell("queue", "purge", queue, "--dry-run")
    still = [shell.json("ls", "call", id)[0]["state"] for id in ids]
    shell("queue", "purge", queue, status=2)  # Nobody is here to be asked.
    said, _ = shell("queue", "purge", queue, "-y")
    shell("proc", "resume", "proc1")

    assert dry == f"queue {queue}: 4 calls cancelled (dry run: nothing was changed)\n"
    assert still == ["PARKED"] * 3
    assert said == f"queue {queue}: 4 calls cancelled\n"
    assert {shell.json("ls", "call", id)[0]["state"] for id in [*ids, later]} == {"CANCELLED"}
    assert shell("queue", "purge", queue, "-y")[0] == f"queue {queue}: 0 calls cancelled\n"
    shell("queue", "purge", "nowhere", "-y", status=3)


def test_a_purge_that_is_stopped_says_how_far_it_was_and_goes_on(shell):
    queue = shell.json("ls", "socket", "shop.add")[0]["queue"]
    shell("proc", "pause", "-n", "proc1")
    with connect(clients_address(shell.home)) as client:
        calls = [client.socket("shop.add").submit(n) for n in range(MANY)]
        assert calls[-1].wait_accepted(60)
        waiting = client.ask("status")["calls"]["open"]

        process = shell.start("queue", "purge", queue, "-y")
        shell.wait_until(lambda: client.ask("status")["calls"]["open"] < waiting)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)

        assert (process.returncode, out) == (130, "")
        cancelled = re.match(rf"queue {queue}: (\d+) calls are cancelled, and up to 512 more", err)
        assert cancelled, err
        assert "the same command goes on" in err
        left = client.ask("status")["calls"]["open"]
        assert 0 < left <= waiting - int(cancelled[1])  # Some it had asked for go yet.
        shell("queue", "purge", queue, "-y")
        assert client.ask("status")["calls"]["open"] == waiting - MANY
    shell("proc", "resume", "proc1")


def test_logs_show_what_was_printed_and_follow(shell):
    shell("run", "shop.talk", "before")
    process = shell.start("logs", "shop.talk", "-f", "-o", "jsonl", "--tail", "0")
    lines = []
    os.set_blocking(process.stdout.fileno(), False)

    def talk_and_look():  # A subscription that began later than a call does not see it.
        shell("run", "shop.talk", "live")
        lines.extend(json.loads(line) for line in process.stdout.readlines())
        return lines

    shell.wait_until(talk_and_look)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    text, _ = shell("logs", "shop.talk", "--tail", "1000")  # However often it was looked.
    assert process.returncode == 130
    assert {line["text"] for line in lines} <= {"live\n", "LIVE\n"}
    assert lines[0]["socket"] == "shop.talk"
    assert [line.split()[-1] for line in text.splitlines() if "before" in line.lower()]
    assert "LIVE" in text


def test_the_code_of_a_task_can_be_seen(shell):
    shell("run", "shop.add", "1")
    code, _ = shell("task", "code", "shop.add")
    shown, _ = shell("task", "show", "shop.add")
    (task,) = [item for item in shell.json("ls", "tasks") if item["name"] == "add"]
    (socket,) = shell.json("ls", "socket", "shop.add")

    assert code.startswith("def add(left, right=0, *, scale=1):\n")
    assert "(left, right=0, *, scale=1)" in shown
    assert "The sum of two numbers." in shown
    assert (task["module"], task["sockets"]) == ("shop.tasks", ["shop.add"])
    assert socket["signature"] == "(left, right=0, *, scale=1)"


def test_the_status_counts_and_names_its_workers(shell):
    (status,) = shell.json("status")
    text, _ = shell("status")
    workers = shell.json("ls", "workers")
    (node,) = shell.json("ls", "nodes")

    assert {"pid", "home", "boot", "version", "uptime_ms", "calls", "workers"} <= set(status)
    assert status["home"] == shell.home
    assert f"pid        {status['pid']}\n" in text or str(status["pid"]) in text
    assert [w["processor"] for w in workers] == ["proc1", "proc1"]
    assert (node["pid"], node["workers"]) == (status["pid"], 2)


def test_a_tab_completes_names_of_sockets(shell):
    environment = {
        **shell.environment, "_MESH_COMPLETE": "bash_complete", "COMP_WORDS": "mesh run shop.do",
        "COMP_CWORD": "2",
    }  # fmt: skip
    found = subprocess.run(
        [sys.executable, "-c", "from meshcode.cli import main; main([])"],
        check=False, capture_output=True, text=True, env=environment,
    )  # fmt: skip

    assert found.stdout.split() == ["plain,shop.do_something", "plain,shop.do_this"]


def test_the_doctor_finds_the_node_well(shell):
    _, out, _ = shell.run(["doctor", "-o", "json"])

    states = {item["name"]: item["state"] for item in json.loads(out)["items"]}
    assert states["node"] == "OK"
