"""Threads of a task: they belong to the call that started them, and to none once it has ended."""

from __future__ import annotations

import pytest

from meshcode.limits import STREAM_WINDOW
from meshcode.wire.frame import envelope, frame
from meshcode.wire.kinds import Kind
from tests.worker.harness import MiniNode, Process

CODE = '''
import asyncio, threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from meshcode.worker.context import current_call

held, gone, seen = threading.Event(), threading.Event(), {}
pool = ThreadPoolExecutor(1)

def mine():
    """The call this code runs in; what it prints is that call's."""
    print("said here", flush=True)
    try: return current_call().id.hex()
    except RuntimeError: return "none"
def in_thread(found):
    thread = threading.Thread(target=lambda: found.append(mine()))
    thread.start()
    return thread
def hold():
    """Runs until the async call beside it has done its work."""
    held.clear()
    seen["holding"] = True
    return held.wait(20)
def beside(work):
    """An async task that does its work, beside `hold` when it is told to."""
    async def task(with_hold=False):
        while with_hold and not seen.pop("holding", False): await asyncio.sleep(0)
        try: return await work()
        finally: held.set()
    return task
async def executor(): return await asyncio.get_running_loop().run_in_executor(None, mine)
async def thread():
    found = []
    thread = in_thread(found)
    while thread.is_alive(): await asyncio.sleep(0)
    return found[0]
by_executor, by_thread = beside(executor), beside(thread)
by_to_thread = beside(lambda: asyncio.to_thread(mine))
by_own_pool = beside(lambda: asyncio.wrap_future(pool.submit(mine)))
async def keep_pool(): await asyncio.wrap_future(pool.submit(lambda: None)); await asyncio.sleep(60)
def by_nested_threads():
    found = []
    outer = threading.Thread(target=lambda: in_thread(found).join())
    outer.start(); outer.join()
    return found[0]
def by_pool(): return pool.submit(mine).result()
def by_map(): return list(pool.map(lambda _: mine(), range(2)))[1]
def by_thread_pool():
    with ThreadPool(1) as own: return own.apply(mine)
def by_loop(): return asyncio.run(by_executor())
def leaves_thread():
    gone.clear()
    def late():
        gone.wait(20)
        seen["late"] = mine()
        seen["later"] = []
        in_thread(seen["later"]).join()
    seen["thread"] = threading.Thread(target=late)
    seen["thread"].start()
async def leaves_task():
    gone.clear()
    async def late():
        while not gone.is_set(): await asyncio.sleep(0)
        seen["late"] = mine()
        seen["later"] = [await asyncio.to_thread(mine)]
    seen["task"] = asyncio.create_task(late())
def late():
    """Another call of the worker, in which what was left behind goes on."""
    gone.set()
    if "thread" in seen: seen.pop("thread").join()
    return [seen.pop("late"), *seen.pop("later")]
async def late_async():
    gone.set()
    await seen.pop("task")
    return [seen.pop("late"), *seen.pop("later")]
def items(count):
    """Its thread goes on while the generator stands between two items."""
    held.clear()
    def work():
        held.wait(20)
        seen["between"] = mine()
    seen["worker"] = threading.Thread(target=work)
    seen["worker"].start()
    yield from range(count)
def between():
    held.set()
    seen.pop("worker").join()
    return seen.pop("between")
'''

ASYNC = ["by_executor", "by_to_thread", "by_thread", "by_own_pool"]
PLAIN = ["by_nested_threads", "by_pool", "by_map", "by_thread_pool", "by_loop"]
OTHERS = [
    "hold", "keep_pool", "leaves_thread", "leaves_task", "late", "late_async", "items", "between",
]  # fmt: skip


@pytest.fixture
def worker(shared_node: MiniNode) -> Process:
    return shared_node.fresh(CODE, {f"s.{name}": name for name in [*ASYNC, *PLAIN, *OTHERS]})


def said_by(worker: Process, call_id: bytes) -> str:
    worker.outcome(call_id)
    return worker.output(call_id)


@pytest.mark.parametrize("name", ASYNC)
def test_a_thread_of_an_async_call_is_not_the_plain_calls_beside(worker: Process, name: str):
    own, plain = worker.start((f"s.{name}", (True,), {}), ("s.hold", (), {}))

    assert worker.outcome(own).value == own.hex()
    assert worker.output(own) == "said here\n"
    assert said_by(worker, plain) == ""
    assert worker.outcome(plain).value is True


@pytest.mark.parametrize("name", ASYNC + PLAIN)
def test_a_thread_belongs_to_the_call_that_starts_it(worker: Process, name: str):
    for _ in range(2):  # The second one finds threads that served the first.
        own = worker.call(f"s.{name}")

        assert worker.outcome(own).value == own.hex()
        assert set(said_by(worker, own).splitlines()) == {"said here"}


def test_work_in_a_pool_belongs_to_who_submits_it(worker: Process):
    """Although the thread was started by another call, which still goes on."""
    first = worker.call("s.keep_pool")
    worker.until_running(first)

    own = worker.call("s.by_own_pool")

    assert worker.outcome(own).value == own.hex()
    worker.cancel(first)
    assert said_by(worker, first) == ""


@pytest.mark.parametrize(
    ("leaves", "late"), [("leaves_thread", "late"), ("leaves_task", "late_async")]
)
def test_what_outlives_its_call_belongs_to_none(worker: Process, leaves: str, late: str):
    first = worker.call(f"s.{leaves}")
    worker.outcome(first)

    other = worker.call(f"s.{late}")

    assert worker.outcome(other).value == ["none", "none"]
    assert (worker.output(first), worker.output(other)) == ("", "")
    assert worker.log.read_text() == "said here\nsaid here\n"


def test_a_thread_of_a_generator_belongs_to_it_between_two_items(worker: Process):
    """It waits for credit, and another call of the worker runs."""
    [own] = worker.start(("s.items", (STREAM_WINDOW + 1,), {}), meta={"stream": True})
    worker.node.until(lambda: len(worker.kinds(Kind.ITEM, own)) == STREAM_WINDOW, "all it may send")

    other = worker.call("s.between")

    assert worker.outcome(other).value == own.hex()
    worker.send(frame([envelope(Kind.STREAM, id=own, attempt=1, number=2 * STREAM_WINDOW)]))
    assert said_by(worker, own) == "said here\n"
    assert worker.output(other) == ""
