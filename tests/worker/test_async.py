"""`async def` tasks: many at once, beside plain ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshcode.limits import ASYNC_CALLS_MAX
from meshcode.wire.kinds import Flag, Kind, Outcome
from tests.worker.harness import MiniNode, Process

CODE = '''
import asyncio, functools, os, time
from meshcode.worker.context import current_call

started = []
gate = None

async def meet(n):
    """Ends when n calls have begun."""
    global gate
    gate = gate or asyncio.Event()
    started.append(n)
    if len(started) >= n: gate.set()
    await gate.wait()
    return len(started)

async def nap(s):
    await asyncio.sleep(s)
    return s
async def who():
    before = current_call().id
    print("my id", before.hex())
    await asyncio.sleep(0.01)
    print("still", current_call().id.hex())
    return before
async def boom(): raise ValueError("async boom")
async def cancelled(): raise asyncio.CancelledError()
async def bad(): return {1}
async def items(n):
    for i in range(n):
        await asyncio.sleep(0.001)
        yield i
async def forever():
    try:
        while True:
            await asyncio.sleep(0.01)
            yield "tick"
    finally:
        started.append("closed")
async def deaf():
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "went on"
def add(a): return a + 1
def wait(s): time.sleep(s); return s
def count(): return started
async def fork(how="return"):
    """The exit status of the process that it forks off."""
    pid = os.fork()
    if pid == 0 and how == "return": return "child"
    if pid == 0 and how == "raise": raise ValueError("child")
    if pid == 0 and how == "sleep": await asyncio.sleep(60)
    if pid == 0: await asyncio.sleep(0)
    return os.waitpid(pid, 0)[1]
async def fork_items():
    pid = os.fork()
    if pid == 0:
        while True: yield "child"
    yield os.waitpid(pid, 0)[1]
async def after(path, forks):
    """Says in which process it goes on; all that wait go on in one round of the loop."""
    await gate.wait()
    if forks: return await fork("yield")
    with open(path, "a") as file: print(os.getpid(), file=file)
    return os.getpid()
async def make_gate():
    global gate
    gate = asyncio.Event()
async def open_gate(): gate.set()
def wrapped(): return nap(0.001)
@functools.wraps(nap)
def decorated(*args): return nap(*args)
'''


@pytest.fixture
def worker(shared_node: MiniNode) -> Process:
    return shared_node.fresh(CODE)


def test_ready_tells_how_many_run_at_once(node: MiniNode):
    assert node.worker(CODE).told[0].value["slots"] == ASYNC_CALLS_MAX
    assert node.worker(CODE, {"s.add": "add"}).told[0].value["slots"] == 1
    assert node.worker(CODE, {"s.d": "decorated"}).told[0].value["slots"] == ASYNC_CALLS_MAX


def test_many_run_at_once(node: MiniNode):
    """Each waits for all others: one after the other they would never end."""
    worker = node.worker(CODE)
    ids = worker.start(*[("s.meet", (50,), {})] * 50)
    assert [worker.outcome(i).value for i in ids] == [50] * 50
    # An outcome is sent before the page says so; each is there once to make it, once to run it.
    node.until(lambda: worker.page.finished >= 100, "the page to say that all have ended")
    assert worker.page.running() == []
    assert worker.page.begun == worker.page.finished == 100


def test_no_more_than_the_limit_run_at_once(node: MiniNode):
    worker = node.worker(CODE, limits={"ASYNC_CALLS_MAX": 3})
    ids = worker.start(*[("s.nap", (0.2,), {})] * 7)
    node.until(lambda: worker.page.finished >= 7, "the main thread to have handed over all")
    assert len(worker.page.running()) <= 3
    assert [worker.outcome(i).code for i in ids] == [Outcome.DONE] * 7


def test_plain_calls_go_on_beside(worker: Process):
    slow = worker.call("s.nap", 0.5)
    worker.until_running(slow)
    assert worker.result("s.add", 1) == 2
    assert worker.kinds(Kind.OUTCOME, slow) == []
    assert worker.outcome(slow).value == 0.5


def test_async_calls_go_on_beside_a_plain_one(worker: Process):
    plain = worker.call("s.wait", 0.6)
    worker.until_running(plain)
    first, second = worker.start(("s.nap", (0.01,), {}), ("s.add", (1,), {}))
    worker.outcome(second)
    assert worker.outcome(first).code == Outcome.DONE


def test_each_knows_itself_and_keeps_its_output(worker: Process):
    ids = worker.start(*[("s.who", (), {})] * 10)
    assert [worker.outcome(i).value for i in ids] == ids
    for call_id in ids:
        assert worker.output(call_id) == f"my id {call_id.hex()}\nstill {call_id.hex()}\n"


def test_failures(worker: Process):
    told, error = worker.error("s.boom")
    assert error["text"] == "ValueError: async boom"
    assert error["fields"]["traceback"].count("File ") == 1
    assert told.flags & Flag.RETRY
    assert worker.error("s.cancelled")[1]["fields"]["type"] == "CancelledError"
    assert worker.error("s.bad")[1]["code"] == "bad_result"


def test_functions_that_return_a_coroutine_count_too(worker: Process):
    assert worker.result("s.wrapped") == 0.001


def test_an_async_generator_streams(worker: Process):
    call_id = worker.call("s.items", 4)
    assert worker.outcome(call_id).value == [0, 1, 2, 3]
    assert [(t.number, t.value) for t in worker.kinds(Kind.ITEM, call_id)] == [
        (0, 0), (1, 1), (2, 2), (3, 3),
    ]  # fmt: skip


def test_running_ones_are_cancelled(worker: Process):
    nap, ticks = worker.start(("s.nap", (60,), {}), ("s.forever", (), {}))
    worker.node.until(lambda: worker.kinds(Kind.ITEM, ticks), "a tick")
    worker.until_running(nap)
    worker.cancel(nap, "time limit")
    worker.cancel(ticks)
    told = worker.outcome(nap)
    assert (told.code, told.value["code"]) == (Outcome.FAILED, "time_limit")
    assert worker.outcome(ticks).code == Outcome.CANCELLED
    assert worker.result("s.count")[-1] == "closed"


@pytest.mark.parametrize("reason", ["cancel", "time limit"])
def test_one_that_ignores_its_cancel_has_its_result_reported(worker: Process, reason: str):
    call_id = worker.call("s.deaf")
    worker.until_running(call_id)
    worker.cancel(call_id, reason)
    told = worker.outcome(call_id)
    assert (told.code, told.value) == (Outcome.DONE, "went on")


def test_waiting_ones_are_cancelled(node: MiniNode):
    worker = node.worker(CODE, limits={"ASYNC_CALLS_MAX": 1})
    first, second = worker.start(("s.nap", (60,), {}), ("s.nap", (60,), {}))
    node.until(lambda: worker.page.finished == 2, "the main thread to have handed over both")
    worker.cancel(second)
    assert worker.outcome(second).value["text"] == "the call was cancelled before it began"
    worker.cancel(first)
    assert worker.outcome(first).code == Outcome.CANCELLED
    assert worker.result("s.add", 1) == 2


def test_stop_lets_the_running_ones_end(node: MiniNode):
    worker = node.worker(CODE, limits={"ASYNC_CALLS_MAX": 2})
    ids = worker.start(*[("s.nap", (0.3,), {})] * 4)
    worker.until_running(ids[0])
    worker.until_running(ids[1])
    assert worker.stop() == 0
    assert [t.id for t in worker.kinds(Kind.OUTCOME)] == ids[:2]
    assert worker.log.read_text() == "", "no warning about coroutines never awaited"


def test_a_killed_worker_tells_all_that_ran(worker: Process):
    ids = worker.start(*[("s.nap", (60,), {})] * 5)
    for call_id in ids:
        worker.until_running(call_id)
    worker.popen.kill()
    worker.wait()
    assert {r.id for r in worker.page.running()} == set(ids)


def test_asyncio_is_loaded_for_the_first_coroutine_only(node: MiniNode):
    worker = node.worker(
        "import sys\ndef f(): return 'asyncio' in sys.modules\nasync def g(): return f()\n"
    )
    assert worker.result("s.f") is False
    assert worker.result("s.g") is True


def test_a_cancel_at_any_instant_is_answered_once(worker: Process):
    """Before the hand-over, while it waits, before its first step, while it runs, at its end."""
    total = 0
    for round_number in range(20):
        ids = worker.start(*[("s.nap", (0.002 * (n % 3),), {}) for n in range(20)])
        for call_id in ids[round_number % 5 :: 5]:
            worker.cancel(call_id)
        total += len(ids)
        for call_id in ids:
            worker.outcome(call_id)
    told = worker.kinds(Kind.OUTCOME)
    assert len(told) == len({t.id for t in told}) == total
    assert {t.code for t in told} <= {Outcome.DONE, Outcome.CANCELLED}
    assert worker.page.running() == []


@pytest.mark.parametrize("how", ["return", "raise", "sleep", "yield"])
def test_a_process_that_a_coroutine_forks_off_ends_with_it(worker: Process, how: str):
    """It is a copy of the worker with its loop, and would go on with both."""
    assert worker.result("s.fork", how) == 0
    assert worker.result("s.add", 1) == 2
    assert len(worker.kinds(Kind.OUTCOME)) == 2


def test_one_that_an_async_generator_forks_off_ends_when_it_yields(worker: Process):
    assert worker.result("s.fork_items") == [0]


def test_no_other_call_goes_on_in_a_forked_process(worker: Process, tmp_path: Path):
    """It would do twice what it does."""
    path = str(tmp_path / "went-on")
    worker.result("s.make_gate")
    forks, writes = worker.start(("s.after", (path, True), {}), ("s.after", (path, False), {}))
    worker.until_running(forks)
    worker.until_running(writes)

    worker.result("s.open_gate")

    assert worker.outcome(forks).value == 0
    pid = worker.outcome(writes).value
    assert Path(path).read_text() == f"{pid}\n"
