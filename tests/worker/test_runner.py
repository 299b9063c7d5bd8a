"""Worker processes: what goes in, what comes out, and what task code sees."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys

import numpy
import pytest

from meshcode.errors import from_data
from meshcode.ids import make_ids, text_of
from meshcode.limits import OUTPUT_BYTES_MAX
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import envelope, frame, index, seal_frame
from meshcode.wire.kinds import Flag, Kind, Outcome
from meshcode.worker.output import Capture
from tests.worker.harness import MiniNode

CODE = """
import logging, os, subprocess, sys, threading, time
from meshcode.worker.context import DoNotRetry, Route, current_call

class Final(DoNotRetry): pass
class Mine(Exception):
    do_not_retry = True
class Odd(Exception):
    def __str__(self): raise RuntimeError("no text")

def add(a, b=1): return a + b
def pair(*args, **kwargs): return [args, kwargs]
def boom(): raise ValueError("boom", 7)
def final(): raise Final("never again")
def mine(): raise Mine("nor this")
def odd(): raise Odd()
def leave(): sys.exit(5)
def ctrl_c(): raise KeyboardInterrupt()
def bad(): return {"a": [1, {2}]}
def huge(): return b"x" * (17 * 1024 * 1024)
def inner_type_error(): return len(5)
def who():
    call = current_call()
    return [call.id, call.attempt, call.socket, call.flow, call.key, call.id_text]
def who_in_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(who()))
    thread.start(); thread.join()
    return found[0]
def say(n):
    print("out", n); print("err", n, file=sys.stderr)
    logging.getLogger("x").warning("log %s", n)
    sys.stdout.buffer.write(b"raw"); sys.stdout.write("")
    return n
def direct():
    os.write(1, b"fd one\\n"); os.write(2, b"fd two\\n")
    subprocess.run(["echo", "from a child"], check=True)
    subprocess.run(["echo", "through stdout"], check=True, stdout=sys.stdout)
    return "ok"
def flood(n):
    for i in range(n): print("line", i, "x" * 90)
    return n
def nap(s): time.sleep(s); return s
def noop(): return None
def routed(*plugs): return Route({"n": 1}, list(plugs))
class Own:
    result, plugs = "mine", ("left",)
def own_router(): return Own()
def bad_router(): return Route(1, [5])
def squares(n):
    for i in range(n): yield i * i
def broken(n):
    yield from range(n)
    raise KeyError("late")
def unplain():
    yield 1
    yield {1}
def big_items():
    while True: yield b"x" * 4_000_000
def fork():
    if os.fork() == 0:
        return "child"
    os.wait()
    return "parent"
def fork_items():
    pid = os.fork()
    while pid == 0: yield "child"
    yield os.waitpid(pid, 0)[1]
class Tools:
    @staticmethod
    def deep(x): return x * 2
"""


def sockets_of(*names: str) -> dict[str, str]:
    return {f"s.{name}": name for name in names}


ALL = sockets_of(
    *("add", "pair", "boom", "final", "mine", "odd", "leave", "ctrl_c", "bad", "huge"),
    *("inner_type_error", "who", "who_in_thread", "say", "direct", "flood", "nap", "noop"),
    *("squares", "broken", "unplain", "big_items", "fork", "fork_items", "Tools.deep"),
    *("routed", "own_router", "bad_router"),
)


@pytest.fixture
def worker(shared_node: MiniNode):
    return shared_node.fresh(CODE, ALL)


def test_ready_says_who_it_is_and_what_it_can_run(node: MiniNode):
    worker = node.worker(CODE, {**sockets_of("add", "nap"), "s.gone": "no_such", "s.no": "Tools.x"})
    ready = worker.told[0]
    assert (ready.kind, ready.code) == (Kind.READY, 0)
    said = ready.value
    assert said["pid"] == worker.popen.pid == worker.page.pid
    assert (said["worker"], said["commit"], said["slots"]) == (0, "c" * 40, 1)
    assert said["sockets"] == ["s.add", "s.nap"]
    assert len(said["token"]) == 32


def test_arguments_and_results(worker):
    assert worker.result("s.add", 2) == 3
    assert worker.result("s.add", 2, b=40) == 42
    assert worker.result("s.add", "a", "b") == "ab"
    assert worker.result("s.pair", 1, b"two", x=None) == [(1, b"two"), {"x": None}]
    assert worker.result("s.Tools.deep", 4) == 8


def test_a_batch_is_run_in_order_and_reported_in_few_frames(worker):
    before = worker.frames
    ids = worker.start(*[("s.add", (n,), {}) for n in range(500)])
    worker.outcome(ids[-1])
    told = worker.kinds(Kind.OUTCOME)
    assert [t.id for t in told] == ids
    assert [t.value for t in told] == list(range(1, 501))
    assert {t.code for t in told} == {Outcome.DONE}
    assert worker.frames - before < 100


def test_a_router_gives_its_result_and_names_the_plugs_that_it_chose(worker):
    for socket, args, value, plugs in [
        ("s.routed", ("large", "late"), {"n": 1}, ["large", "late"]),
        ("s.routed", (), {"n": 1}, []),
        ("s.own_router", (), "mine", ["left"]),
    ]:
        told = worker.outcome(worker.call(socket, *args))
        assert (told.value, unpack(told.meta)["plugs"]) == (value, plugs)
        assert unpack(told.meta)["worker"], "who ran it is told, too"
    _, error = worker.error("s.bad_router")
    assert error["text"] == (
        "the plugs that a result chooses are a list of names, they are [5]; "
        "the call ran, its result was not kept"
    )


def test_attempts_are_told_back(worker):
    ids = worker.start(("s.add", (1,), {}), ("s.boom", (), {}), attempts=[4, 7])
    assert worker.outcome(ids[0]).attempt == 4
    assert worker.outcome(ids[1]).attempt == 7


def test_an_exception_is_a_failure_that_may_be_retried(worker):
    told, error = worker.error("s.boom")
    assert told.flags & Flag.RETRY
    assert (error["code"], error["text"]) == ("remote", "ValueError: ('boom', 7)")
    assert error["fields"]["args"] == ["boom", 7]
    lines = error["fields"]["traceback"].splitlines()
    assert lines[1].endswith("in boom"), "the worker's own frames are left out"
    with pytest.raises(ValueError, match="boom"):
        raise from_data(error)


@pytest.mark.parametrize("name", ["final", "mine"])
def test_task_code_can_say_that_retrying_is_no_use(worker, name):
    told, error = worker.error(f"s.{name}")
    assert not told.flags & Flag.RETRY
    assert error["fields"]["type"] == name.capitalize()


def test_an_exception_that_cannot_be_printed_is_still_reported(worker):
    _told, error = worker.error("s.odd")
    assert error["text"] == "Odd"
    assert error["fields"]["type"] == "Odd"


@pytest.mark.parametrize(
    ("name", "text"), [("leave", "SystemExit: 5"), ("ctrl_c", "KeyboardInterrupt")]
)
def test_leaving_is_a_failure_and_not_the_end_of_the_worker(worker, name, text):
    _told, error = worker.error(f"s.{name}")
    assert error["text"] == text
    assert worker.result("s.add", 1) == 2


def test_arguments_that_do_not_fit_are_not_retried(worker):
    told, error = worker.error("s.add", 1, 2, 3)
    assert error["code"] == "wrong_arguments"
    assert error["text"] == (
        "add() takes from 1 to 2 positional arguments but 3 were given;"
        " the function was not entered"
    )
    assert not told.flags & Flag.RETRY


def test_a_type_error_inside_the_function_is_its_own(worker):
    told, error = worker.error("s.inner_type_error")
    assert (error["code"], error["fields"]["type"]) == ("remote", "TypeError")
    assert told.flags & Flag.RETRY


def test_a_result_that_is_not_plain_data_names_the_place(worker):
    told, error = worker.error("s.bad")
    assert error["code"] == "bad_result"
    assert error["text"] == (
        'the result["a"][1] is a set, which is not plain data; use a list; '
        "the call ran, its result was not kept"
    )
    assert error["fields"] == {"path": 'the result["a"][1]', "type": "BadResult"}
    assert not told.flags & Flag.RETRY


def test_a_result_over_the_limit(worker):
    told, error = worker.error("s.huge")
    assert error["code"] == "bad_result" and "nothing was sent" not in error["text"]
    assert "17825797" in error["text"] and "16777216" in error["text"]
    assert not told.flags & Flag.RETRY


def test_a_socket_without_a_function(worker):
    told, error = worker.error("s.unknown")
    assert error["code"] == "mount_failed"
    assert "'s.unknown'" in error["text"]
    assert not told.flags & Flag.RETRY


def test_arguments_that_are_no_plain_data_do_not_break_the_worker(worker):
    call_id = make_ids(1)[0]
    bad = envelope(Kind.SUBMIT, id=call_id, flow=call_id, name=b"s.add", body=b"\xc1")
    worker.send(frame([envelope(Kind.START, body=b"\1\0\0\0"), bad]))
    assert worker.outcome(call_id).value["code"] == "bad_value"
    assert worker.result("s.add", 1) == 2


def test_an_array_for_code_without_numpy_is_the_callers_error(shared_node):
    code = "import sys\nsys.modules['numpy'] = None  # Not installed.\ndef add(n): return n\n"
    process = shared_node.fresh(code)
    told, error = process.error("s.add", numpy.arange(3))

    assert error["code"] == "wrong_arguments"
    assert "numpy, which the environment of processor 'proc' does not have" in error["text"]
    assert "add numpy to its requirements (`mesh update processor -n proc --req" in error["text"]
    assert not told.flags & Flag.RETRY
    assert process.result("s.add", 1) == 1


@pytest.mark.parametrize("name", ["who", "who_in_thread"])
def test_task_code_knows_its_call(worker, name):
    ids = make_ids(1)
    worker.start((f"s.{name}", (), {}), ids=ids, attempts=[3], meta={"key": "k1"})
    found = worker.outcome(ids[0]).value
    assert found == [ids[0], 3, f"s.{name}", ids[0], "k1", text_of(ids[0])]


def test_what_a_call_prints_is_its_own(worker):
    first, second = worker.start(("s.say", (1,), {}), ("s.say", (2,), {}))
    worker.outcome(second)
    assert worker.output(first, 1) == "out 1\nraw"
    assert worker.output(first, 2) == "err 1\nlog 1\n"
    assert worker.output(second, 1) == "out 2\nraw"
    kinds = [t.kind for t in worker.told if t.id == first]
    assert kinds[-1] == Kind.OUTCOME, "all output comes before the outcome"


def test_a_silent_call_sends_no_output(worker):
    worker.result("s.add", 1)
    assert worker.kinds(Kind.OUTPUT) == []


def test_what_is_written_to_descriptors_goes_to_the_workers_log(worker):
    assert worker.result("s.direct") == "ok"
    assert worker.result("s.add", 1) == 2
    assert worker.kinds(Kind.OUTPUT) == []
    lines = worker.log.read_text().splitlines()
    assert lines == ["fd one", "fd two", "from a child", "through stdout"]


def test_a_flood_of_output_keeps_its_tail(worker):
    call_id = worker.call("s.flood", 20_000)
    assert worker.outcome(call_id).value == 20_000
    text = worker.output(call_id)
    seconds = worker.outcome(call_id).number // 1_000_000
    assert len(text) <= (seconds + 2) * (OUTPUT_BYTES_MAX // 2 + 100)  # Head, tail, one a second.
    assert text.startswith("line 0 ")
    assert text.rstrip().splitlines()[-1].startswith("line 19999 ")
    assert "bytes of output left out here]" in text


@pytest.mark.parametrize("write_at_once", [False, True], ids=["lines", "at_once"])
def test_head_mark_and_tail_of_a_flood_are_no_more_than_a_node_keeps(write_at_once):
    """Else the first bytes would be lost there, and nothing would say so."""
    capture = Capture(lambda: None)
    call = ((0, 0, 0, 0, b"i" * 16), b"", 1)
    lines = [b"line %06d %s\n" % (n, b"x" * 78) for n in range(100_000)]
    drafts: list[bytes] = []
    for part in [b"".join(lines)] if write_at_once else lines:
        capture.write(call, 1, part)
        if part == lines[0]:
            capture.collect(drafts)  # The flusher looks whenever it likes.
    capture.end(b"i" * 16, 1, drafts)

    sent = seal_frame(drafts)
    text = b"".join(sent[row.body_at : row.end] for row in index(sent)[1])
    assert len(text) <= OUTPUT_BYTES_MAX
    assert text.startswith(lines[0]) and text.endswith(lines[-1])
    head, mark, tail = re.split(rb"\n\[(\d+) bytes of output left out here\]\n", text)
    assert len(head) + int(mark) + len(tail) == sum(map(len, lines))
    assert write_at_once or tail.startswith(b"line ")


def test_a_finished_call_is_reported_while_the_next_one_runs(worker):
    done, running = worker.start(("s.add", (1,), {}), ("s.nap", (0.6,), {}))
    told = worker.outcome(done)
    assert worker.kinds(Kind.OUTCOME, running) == []
    assert worker.page.current() is not None
    assert worker.outcome(running).at - told.at > 0.3


def test_a_long_call_streams_its_output(node: MiniNode):
    """Also when the flusher dozes, and the output is a flood's held tail."""
    worker = node.worker(
        "import sys, time\ndef f():\n    time.sleep(0.2)\n    print('half')\n    time.sleep(0.5)\n"
    )
    call_id = worker.call("s.f")
    node.until(lambda: worker.output(call_id) == "half\n", "the first line")
    assert worker.kinds(Kind.OUTCOME) == []
    worker.outcome(call_id)


def test_a_generator_streams_items_and_gives_the_list(worker):
    call_id = worker.call("s.squares", 5)
    assert worker.outcome(call_id).value == [0, 1, 4, 9, 16]
    items = worker.kinds(Kind.ITEM, call_id)
    assert [(t.number, t.value) for t in items] == [(0, 0), (1, 1), (2, 4), (3, 9), (4, 16)]


def test_a_generator_that_fails_late(worker):
    call_id = worker.call("s.broken", 2)
    told = worker.outcome(call_id)
    assert (told.code, told.value["text"]) == (Outcome.FAILED, "KeyError: 'late'")
    assert [t.value for t in worker.kinds(Kind.ITEM, call_id)] == [0, 1]


def test_items_have_limits_too(worker):
    _told, error = worker.error("s.unplain")
    assert error["code"] == "bad_result" and error["text"].startswith("item 1 is a set")
    assert "nothing was sent" not in error["text"]
    _told, error = worker.error("s.big_items")
    assert error["code"] == "bad_result"
    assert len([t for t in worker.kinds(Kind.ITEM) if len(t.body) > 1_000_000]) == 4


def test_a_process_forked_by_a_task_never_speaks_for_the_worker(worker):
    assert worker.result("s.fork") == "parent"
    assert worker.result("s.add", 1) == 2
    assert len(worker.kinds(Kind.OUTCOME)) == 2


def test_one_that_a_generator_forks_off_ends_when_it_yields(worker):
    assert worker.result("s.fork_items") == [0]


def test_stop_finishes_the_running_call_and_begins_no_other(worker):
    running, staged = worker.start(("s.nap", (0.3,), {}), ("s.add", (1,), {}))
    worker.until_running(running)
    assert worker.stop() == 0
    assert worker.outcome(running).value == 0.3
    assert worker.kinds(Kind.OUTCOME, staged) == []
    assert worker.page.running() == []


def test_setup_changes_the_sockets_of_a_running_worker(worker):
    body = pack({"sockets": {"s.sum": "add", "s.gone": "nothing"}})
    worker.spoiled = True
    worker.send(frame([envelope(Kind.SETUP, body=body)]))
    worker.node.until(lambda: len(worker.kinds(Kind.READY)) == 2, "the second READY")
    assert worker.kinds(Kind.READY)[1].value["sockets"] == ["s.sum"]
    assert worker.result("s.sum", 1) == 2
    assert worker.error("s.add", 1)[1]["code"] == "mount_failed"


def test_a_frame_that_is_none_is_dropped_whole(worker):
    worker.send(b"MESH and then nothing of it")
    worker.send(frame([envelope(Kind.START, body=b"\1\0\0\0" * 3)]))
    assert worker.result("s.add", 1) == 2
    log = worker.log.read_text()
    assert log.count("dropped what the node sent") == 2
    assert "START tells 3 calls, 0 follow" in log


def test_code_that_cannot_be_imported(node: MiniNode):
    worker = node.worker("import no_such_module_anywhere\n", {})
    ready = worker.told[0]
    assert (ready.kind, ready.code) == (Kind.READY, 1)
    error = ready.value["error"]
    assert error["code"] == "mount_failed"
    assert "No module named 'no_such_module_anywhere'" in error["text"]
    assert error["fields"]["traceback"].splitlines()[1].strip().startswith("File ")
    assert worker.wait() == 3


def test_sys_exit_at_import_is_a_failed_import(node: MiniNode):
    worker = node.worker("import sys\nsys.exit(0)\n", {})
    assert worker.told[0].code == 1
    assert worker.wait() == 3


def test_a_worker_killed_leaves_the_evidence(worker):
    done, running, staged = worker.start(
        ("s.add", (1,), {}), ("s.nap", (60,), {}), ("s.add", (1,), {})
    )
    worker.outcome(done)
    worker.until_running(running)
    worker.popen.kill()
    worker.wait()
    assert [r.id for r in worker.page.running()] == [running]
    assert staged not in [r.id for r in worker.page.running()]


def test_a_worker_dies_with_its_node(node: MiniNode):
    """A process between starts the worker, as a node does, and is killed."""
    read_end, write_end = os.pipe()
    between = os.fork()
    if not between:
        try:
            worker = node.worker(CODE, ALL, ready=False)
            os.write(write_end, str(worker.popen.pid).encode())
            signal.pause()
        finally:
            os._exit(1)
    try:
        assert select.select([read_end], [], [], 20)[0], "the worker's start"
        handle = os.pidfd_open(int(os.read(read_end, 20)))
        assert node.link.poll(20_000), "its READY: it is tied to its parent by now"
    finally:
        os.kill(between, signal.SIGKILL)
        os.waitpid(between, 0)
        os.close(read_end)
        os.close(write_end)

    assert select.select([handle], [], [], 20)[0], "the worker outlives its node"
    os.close(handle)


def test_a_worker_whose_node_died_before_it_was_tied_leaves(node: MiniNode):
    """Its parent is another process than the configuration says."""
    worker = node.worker(CODE, ALL, ready=False, parent=os.getppid())
    assert worker.wait() == 4
    assert worker.told == []


def test_isolation(node: MiniNode):
    """Its own group, no new privileges, one CPU, a scrubbed environment, an isolated Python."""
    cpu = min(os.sched_getaffinity(0))
    os.environ["MESH_TEST_SECRET"] = "canary"
    try:
        worker = node.worker(
            "import os, sys, signal\n"
            "def f():\n"
            "    status = open('/proc/self/status').read()\n"
            "    return [os.getpgrp() == os.getpid(), 'NoNewPrivs:\\t1' in status,\n"
            "        sorted(os.sched_getaffinity(0)), dict(os.environ), sys.flags.isolated,\n"
            "        sys.argv, signal.getsignal(signal.SIGINT) == signal.SIG_IGN]\n",
            env={"OWN": "1"},
            cpu=cpu,
        )
        group, no_new, cpus, environ, isolated, argv, no_sigint = worker.result("s.f")
    finally:
        del os.environ["MESH_TEST_SECRET"]
    assert (group, no_new, cpus, isolated, argv) == (True, True, [cpu], 1, ["proc"])
    assert no_sigint
    assert environ["OWN"] == "1"
    assert not [name for name in environ if name.startswith(("PYTHON", "MESH_TEST"))]
    assert worker.told[0].value["cpu"] == cpu


def test_the_token_does_not_stay_on_disk(node: MiniNode):
    worker = node.worker(CODE, ALL)
    assert not (node.folder / "config0.json").exists()
    with open(f"/proc/{worker.popen.pid}/cmdline", "rb") as file:
        assert worker.told[0].value["token"].encode() not in file.read()


def test_an_idle_worker_uses_no_cpu(worker):
    worker.result("s.add", 1)
    assert not worker.node.link.poll(300), "it has nothing to say"  # The flusher dozes by then.

    def used() -> int:
        with open(f"/proc/{worker.popen.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = used()
    assert not worker.node.link.poll(1_000)
    assert used() - before <= 1, "clock ticks of 10 ms"


def private_kib(pid: int) -> int:
    """Memory of a process that it shares with no other, in KiB."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        rows = [line.split() for line in file]
    return sum(int(row[1]) for row in rows if row[0] in ("Private_Clean:", "Private_Dirty:"))


def test_memory_before_user_code(node: MiniNode):
    """The budget of DESIGN.md 7 is for what is private; shared library pages count once a host.

    A Python that does nothing has 4.7 MiB of its own; pyzmq loads `inspect` in it from 3.13 on.
    """
    more = 5 * 1024 + 768 if sys.version_info < (3, 13) else 6 * 1024 + 256
    worker = node.worker("def f(): return None")
    wait = [sys.executable, "-I", "-X", "utf8", "-c", "print(flush=True); input()"]
    with subprocess.Popen(wait, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as bare:
        assert bare.stdout is not None
        bare.stdout.readline()
        nothing = private_kib(bare.pid)
        bare.communicate(b"\n")
    private = private_kib(worker.popen.pid)
    assert private < nothing + more, f"{private} KiB private, {nothing} of a bare Python"
    assert worker.told[0].value["resident"] < 24 * 1024 * 1024
