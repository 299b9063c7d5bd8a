"""One table from one run: meshcode beside what its users would pick instead.

    ./dev bench-peers [--only meshcode,celery-redis] [--rounds 3] [--seconds 1.5] [--out FILE]

In each round every system takes a turn, a whole life: started, called one by one, many at once, in
chains, fanned out, and stopped, so that a slow moment of the machine meets all and no system idles
beside another.  Then, for each, the syncs of acknowledged submits are counted, and its servers are
killed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import machine
from bench.peers import environment, roster, syncs, table, turn
from bench.peers.life import Life
from bench.peers.peer import Unavailable

WORKERS_MAX = 2
FAILURES_MAX = 2  # Turns that fail before a system is given up.
QUIET = 0.2  # CPUs that others may use in a quiet moment.
LOOK_S = 0.3
SHARED = (
    "caution    rates and times are of what others left, and Linux shares a full machine among "
    "sessions, of which stacks have from 1 to 17; CPU us/call is the figure least disturbed"
)


def python_for(name: str) -> str:
    """The Python that a system runs in.

    Raises:
        Unavailable: the peers' environment is not there.
    """
    if not roster.SYSTEMS[name].needs_environment:
        return sys.executable
    if not environment.python().exists():
        raise Unavailable(f"there is no {environment.folder().name}; run without --no-install")
    return str(environment.python())


def say(text: str) -> None:
    """Progress goes to stderr, the report to stdout."""
    print(f"bench-peers: {text}", file=sys.stderr, flush=True)


def wait_for_quiet(seconds: float) -> None:
    """Return in a moment when others of this machine are quiet, or after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        busy = turn.machine_busy_s()
        time.sleep(LOOK_S)
        if turn.machine_busy_s() - busy < QUIET * LOOK_S:
            return


def one_turn(row: table.Row, number: int, args: argparse.Namespace) -> None:
    """Measure it, or note why not."""
    try:
        with Life(row.name, python_for(row.name), args.workers, args.folder) as life:
            row.samples[number], row.facts = turn.take(life, args.seconds, args.width)
            row.reason = row.reason or row.samples[number].note
            say(f"round {number + 1}, {row.name}: {row.samples[number].rate:,.0f} calls/s")
    except Unavailable as error:
        row.reason = f"round {number + 1}: {error}"
        row.failures += 1
        say(f"{row.name}: {row.reason}")


def one_check(row: table.Row, args: argparse.Namespace) -> None:
    """Look at what it has on disk, or note why not."""
    try:
        with Life(row.name, python_for(row.name), args.workers, args.folder) as life:
            row.check = syncs.check(life, args.submits)
            if row.check.note:
                row.reason = row.check.note
            say(f"{row.name}: {table.synced_text(row.check)} synced a submit")
    except Unavailable as error:
        row.reason = f"what is on disk: {error}"
        say(f"{row.name}: {row.reason}")


def measure(args: argparse.Namespace) -> list[table.Row]:
    """All rounds, then the checks; a row for every system that was asked for."""
    rows = [table.Row(name) for name in roster.chosen(args.only)]
    for number in range(args.rounds):
        for row in rows if number % 2 == 0 else rows[::-1]:
            if row.failures < FAILURES_MAX:
                wait_for_quiet(args.wait)
                one_turn(row, number, args)
    for row in rows:
        if row.samples and args.submits:
            one_check(row, args)
    return rows


def head(args: argparse.Namespace) -> str:
    """Machine and moment, and how this run was made."""
    folder = args.folder or tempfile.gettempdir()
    return "\n".join([
        machine.describe(),
        f"run        {args.rounds} rounds of {args.seconds} s a part, {args.workers} worker "
        f"process(es) each; a turn waits {args.wait:.0f} s at most for quiet",
        f"disk       data under {folder}, a write and fdatasync there: "
        f"{machine.sync_ms(folder):.2f} ms",
    ])  # fmt: skip


def tail(rows: Sequence[table.Row], began: float) -> str:
    """What is known when it is over."""
    versions = {text: None for row in rows for text in row.facts.get("versions", [])}
    pss = all(s.idle.pss is not None for row in rows for s in row.samples.values())
    foreign = [sample.foreign for row in rows for sample in row.samples.values()]
    kept = f"{statistics.median(foreign):.1f} (at most {max(foreign):.1f})" if foreign else "?"
    return "\n".join([
        f"peers      {', '.join(versions) or 'none'}",
        f"memory     {'PSS (shared pages once)' if pss else 'RSS (shared pages each time)'}, "
        "all processes of a stack",
        f"others     kept {kept} of {os.cpu_count()} CPUs busy during the bulk calls "
        f"(the kernel's own work counts here); load {os.getloadavg()[0]:.1f} at the end; "
        f"{time.monotonic() - began:.0f} s in all",
        *([SHARED] if foreign and statistics.median(foreign) > QUIET else []),
    ])  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="./dev bench-peers", description=(__doc__ or "").splitlines()[0]
    )
    made.add_argument("--only", help=f"some of: {', '.join(roster.SYSTEMS)}")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--seconds", type=float, default=1.5, help="of each part of a turn")
    made.add_argument("--workers", type=int, default=1, choices=range(1, WORKERS_MAX + 1))
    made.add_argument("--width", type=int, default=turn.WIDTH, help="calls of the fan-out")
    made.add_argument(
        "--submits", type=int, default=syncs.SUBMITS,
        help="submits whose syncs are counted, and as many before the kill; 0: neither",
    )  # fmt: skip
    made.add_argument(
        "--wait", type=float, default=0.0,
        help="seconds that a turn waits at most for other users of the machine to be quiet",
    )  # fmt: skip
    made.add_argument("--folder", help="where the data goes: on the disk that is meant")
    made.add_argument("--out", type=Path, help="raw numbers: .json, or the report as .md")
    made.add_argument(
        "--install", action=argparse.BooleanOptionalAction, default=True,
        help="install what is missing: Python packages, and servers when root on Debian",
    )  # fmt: skip
    return made


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    args = parser().parse_args(arguments)
    began = time.monotonic()
    try:
        names = roster.chosen(args.only)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if args.install and any(roster.SYSTEMS[name].needs_environment for name in names):
        for missing in (*environment.install_packages(), *environment.install_servers()):
            say(f"could not install {missing}")
    top = head(args)
    rows = measure(args)
    top = f"{top}\n{tail(rows, began)}"
    print(table.report(rows, top))
    if args.out is not None:
        if args.out.suffix == ".md":
            args.out.write_text(table.report(rows, top, markdown=True))
        else:
            args.out.write_text(json.dumps(table.raw(rows, top), indent=1) + "\n")
        say(f"wrote {args.out}")
    return 0 if any(row.samples for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
