"""Pages of a long history of ended calls: budget, under 100 ms each.

    python -m bench.growth.history [--ended 100k,1M] [--rows 10] [--rounds 7]

One node for each number; its calls are really made, one in a thousand of them to a second socket,
and one call, the first of all, to a third.  Pages are asked as `mesh ls calls` asks for them, and
take turns.  A page may need several requests (`meshcode.listing`); each is thought by the node's
one thread, so the longest of them is what calls wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any

from bench.growth.figures import amount, figure, told, whole_numbers
from bench.growth.plot import Bars
from bench.growth.report import Report, in_turns, options
from bench.world import MODULE, SOCKET, nop_node
from meshcode.client import Client, connect
from meshcode.listing import whole_page
from meshcode.node.paging import SCAN_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live.harness import Mesh

BUDGET_MS = 100.0
RARE, ONCE = f"{MODULE}.rare", f"{MODULE}.once"
RARE_EACH = 1_000  # Of so many calls one is to the rare socket.


def fill(client: Client, count: int) -> str:
    """Make so many calls; the id of one in the middle."""
    client.socket(ONCE)(0)
    made, middle = 1, ""
    while made < count:
        part = min(RARE_EACH - 1, count - made)
        made += sum(1 for _ in client.socket(SOCKET).map(repeat(None, part)))
        if made < count:
            call = client.socket(RARE).submit(made)
            call.result(60)
            made += 1
            if not middle and made >= count // 2:
                middle = call.id
    return middle


@contextmanager
def history_node(report: Report, count: int) -> Iterator[tuple[Mesh, Client, str]]:
    """A node whose history has so many calls."""
    with nop_node() as mesh, connect(mesh.address) as client:
        for name in (RARE, ONCE):
            mesh.add("socket", name, processor="bench", task="nop", queue="q")
        begin = time.perf_counter()
        middle = fill(client, count)
        took = time.perf_counter() - begin
        assert mesh.ask("status")["done"] == count
        report.say(f"filled     {count:,} ended calls in {took:.0f} s, {count / took:,.0f}/s")
        yield mesh, client, middle


def page_ms(client: Client, fields: dict[str, Any], shown: int, longest: list[float]) -> float:
    """Milliseconds until a page is whole; it must have so many calls.

    Args:
        longest: gets the milliseconds of the longest request of the page.
    """
    times: list[float] = []

    def ask(operation: str, **wanted: Any) -> Any:
        begin = time.perf_counter()
        found = client.ask(operation, **wanted)
        times.append((time.perf_counter() - begin) * 1e3)
        return found

    found = whole_page(ask, "mesh.calls", fields)
    assert len(found["calls"]) == shown, (fields, found)
    longest.append(max(times))
    return sum(times)


def pages(count: int, rows: int, middle: str) -> dict[str, tuple[dict[str, Any], int]]:
    """The pages to ask for, by name: fields, and how many calls each must have."""
    last = min(count, SCAN_MAX) // rows
    rare = min(rows, count // RARE_EACH)
    return {
        "first": ({}, rows),
        "second": ({"page": 2}, rows),
        f"page {last:,}, by its number": ({"page": last}, rows),
        "middle, from a call": ({"before": middle}, rows),
        "last, from the other end": ({"ascending": True}, rows),
        "first of 1,000 rows": ({"rows": 1_000}, min(1_000, count)),
        "a socket of nearly all": ({"socket": SOCKET}, rows),
        "a socket of 1 in 1,000": ({"socket": RARE}, rare),
        "a socket of 1 call, the oldest": ({"socket": ONCE}, 1),
        "a state of none": ({"state": "FAILED"}, 0),
        "none that is open": ({"unfinished": True}, 0),
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = options(__doc__)
    parser.add_argument("--ended", type=whole_numbers, default=[100_000, 1_000_000])
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args(arguments)
    report = Report("history", args.out)
    longest: dict[str, list[float]] = {}
    commands: dict[int, float] = {}
    with ExitStack() as stack:
        points: dict[str, Callable[[], float]] = {}
        names: dict[str, tuple[int, str]] = {}
        for count in args.ended:
            mesh, client, middle = stack.enter_context(history_node(report, count))
            for what, (fields, shown) in pages(count, args.rows, middle).items():
                name = f"{what} of {count}"
                names[name] = count, what
                whole = {"page": 1, "rows": args.rows, **fields}
                longest[name] = []
                points[name] = partial(page_ms, client, whole, shown, longest[name])
            begin = time.perf_counter()
            assert mesh.mesh("ls", "calls").returncode == 0
            commands[count] = time.perf_counter() - begin
        found = in_turns(points, args.rounds)
    waits = {name: values[-args.rounds :] for name, values in longest.items()}
    for title, kept in (
        (f"a page of {args.rows} rows", found), ("the longest request of each page", waits),
    ):  # fmt: skip
        series: dict[str, dict[str, list[float]]] = {}
        for name, values in kept.items():
            count, what = names[name]
            series.setdefault(f"of {amount(count)} ended calls", {})[what] = values
        report.show(Bars(title, "ms", series, BUDGET_MS))
    for count, took in commands.items():
        report.say(f"command    `mesh ls calls` of {count:,}: {took * 1e3:.0f} ms, start and all")
    for name, values in found.items():
        if figure(values).median > BUDGET_MS:
            count, what = names[name]
            report.say(f"MISSED     {what}, of {count:,}: {told(figure(values))} ms")
    report.save()


if __name__ == "__main__":
    main()
