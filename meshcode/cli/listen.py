"""`mesh listen`: what happens on the nodes of the mesh, as it happens."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from meshcode.cli import output, plain
from meshcode.cli.options import DURATION, MOMENT, command
from meshcode.cli.session import session, tell_left_out
from meshcode.errors import WaitTimeout

if TYPE_CHECKING:
    from meshcode.client.adaptors import Adaptor

_LOST = "mesh: the link to the node is lost; nothing is heard until one answers again"
_BACK = "mesh: a node answers again; what happened meanwhile was not heard"
EXIT_ADAPTOR = 1  # The adaptor raised for at least one event.


def _complete_name(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    from meshcode.cli.session import names_of

    found = {name for kind in ("socket", "processor", "queue") for name in names_of(kind)}
    return sorted(name for name in found if name.startswith(typed))


@command()
@click.option(
    "-n", "--name", shell_complete=_complete_name,
    help="A socket, a processor, a queue, QUEUE.PROCESSOR, or a pattern; all when left out.",
)  # fmt: skip
@click.option(
    "-c", "--channel", type=click.Choice(["task", "log", "state", "queue", "stats"]),
    default="task", show_default=True,
    help="task: calls and results; log: what they print; state: objects; queue: what waits;"
    " stats: figures of each node.",
)  # fmt: skip
@click.option(
    "-a", "--adaptor", "adaptor_path", metavar="PKG.MOD.CLASS.METHOD",
    help="Make an object of this class and call its method with each event; nothing is printed.",
)  # fmt: skip
@click.option(
    "--since", type=MOMENT,
    help="First what is kept of calls accepted since: 2h, 2026-11-26T14:05. Channels task and log.",
)
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@click.option(
    "--timeout", type=DURATION,
    help="End after this time; with --count, status 124 when there were fewer.",
)  # fmt: skip
def listen(
    name: str | None, channel: str, adaptor_path: str | None, since: int | None,
    count: int | None, timeout: int | None,
) -> int:  # fmt: skip
    """Print what happens on all nodes, one JSON object a line, until Ctrl-C.

    Who reads too slowly misses events, and is told how many; calls never wait for it.

    Examples:
      mesh listen -n shop.clean
      mesh listen -n shop -c log | jq -r .text
      mesh listen -n q1.proc1 --count 1 --timeout 10s
      mesh listen -n shop --since 2h                  what happened, then what happens
      mesh listen -n shop --since 2h --timeout 0s     only what happened
      mesh listen -c queue
      mesh listen -n shop -a meshcode.client.adaptors.Influx.put
    """
    adaptor = None
    if adaptor_path is not None:
        from meshcode.client.adaptors import load

        adaptor = load(adaptor_path)
    end = None if timeout is None else time.monotonic() + timeout / 1000
    begin = None if since is None else datetime.fromtimestamp(since / 1000, UTC)
    try:
        seen, failures = _follow(name, channel, adaptor, begin, count, end)
    finally:
        if adaptor is not None:
            adaptor.close()
    if failures:
        output.say(f"mesh: the adaptor raised for {failures} of {seen} events; the others it has")
    if count is not None and seen < count:
        raise WaitTimeout(
            f"{seen} of {count} events came within {plain.length_of_time(timeout or 0)}"
        )
    return EXIT_ADAPTOR if failures else 0


def _follow(
    name: str | None, channel: str, adaptor: Adaptor | None, since: datetime | None,
    count: int | None, end: float | None,
) -> tuple[int, int]:  # fmt: skip
    """Hear events until enough came, or the time is over: how many, and how many failed."""
    seen = failures = 0
    away = False
    with session() as client, client.listen(name, channel, since=since) as events:
        tell_left_out(events.left_out)
        output.say(f"listening to {name or 'everything'}, channel {channel}")
        while count is None or seen < count:
            found = events.wait(None if end is None else end - time.monotonic(), away)
            if events.is_away != away:
                away = events.is_away
                output.say(_LOST if away else _BACK)
                continue
            if not found:
                break
            event = next(events, None)
            if event is None:
                break
            if event.get("channel") != "lost":
                seen += 1
            if adaptor is None:
                output.write(plain.to_json(event))
                if not events.has_next():
                    sys.stdout.flush()
            elif not _give(adaptor, event):
                failures += 1
    return seen, failures


def _give(adaptor: Adaptor, event: dict[str, Any]) -> bool:
    """Call the adaptor; whether it took the event."""
    try:
        adaptor.put(event)
    except BrokenPipeError:
        raise
    except Exception as error:
        which = f" for call {event['call']}" if event.get("call") else ""
        output.say(f"mesh: the adaptor raised{which}: {type(error).__name__}: {error}")
        return False
    return True
