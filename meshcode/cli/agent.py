"""The original system's words for nodes and workers: `mesh agent ...`, `mesh worker ...`.

An agent is the node of a host here.
"""

from __future__ import annotations

from typing import Any

import click

from meshcode.cli import node, objects, output
from meshcode.cli import processor as processors
from meshcode.cli.options import DURATION, command, styled
from meshcode.cli.output import Style
from meshcode.cli.session import session
from meshcode.cli.waiting import dry_option, wait_options
from meshcode.errors import UnknownObject


def _invoke(other: click.Command, **given: Any) -> None:
    click.get_current_context().invoke(other, **given)


@command()
@click.option("--foreground", is_flag=True, help="Become the node instead of starting one.")
@click.option("--timeout", type=DURATION, default="15s", show_default=True, help="Longest wait.")
def start(foreground: bool, timeout: int) -> None:
    """Start the node of this user: another name for `mesh up`.

    Examples:
      mesh agent start
      mesh --home /srv/mesh agent start --foreground
    """
    _invoke(node.up, foreground=foreground, timeout=timeout, output=None)


@command()
@click.option("--timeout", type=DURATION, default="30s", show_default=True, help="Longest wait.")
def stop(timeout: int) -> None:
    """Finish what runs and stop the node: another name for `mesh down`.

    Examples:
      mesh agent stop
    """
    _invoke(node.down, timeout=timeout, now=False)


@command()
@click.option("--timeout", type=DURATION, default="30s", show_default=True, help="Longest wait.")
def kill(timeout: int) -> None:
    """Stop the node without waiting for what runs: another name for `mesh down --now`.

    Calls that run are interrupted; they run again after the next start.

    Examples:
      mesh agent kill
    """
    _invoke(node.down, timeout=timeout, now=True)


# Workers.


@command()
@objects.one_name("processor")
@wait_options
@dry_option
@styled
def worker_start(name: str, wait: float | None, dry: bool, style: Style) -> None:
    """Start the workers of a processor: another name for `mesh proc start`.

    How many is declared: `mesh update processor -w N`, or by deployments.

    Examples:
      mesh worker start -n proc1 --wait
    """
    processors.act("start", name, style, "starts", dry=dry, wait=wait)


def _complete_worker(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    from meshcode.cli.session import COMPLETE_S

    try:
        with session(timeout=COMPLETE_S) as client:
            rows = client.ask("status").get("workers") or ()
        by_number = typed == "" or typed.isdigit()
        found = [str(row["id"]) if by_number else f"{row['processor']}/{row['id']}" for row in rows]
    except Exception:  # A Tab must never print a traceback into the line being typed.
        return []
    return [name for name in found if name.startswith(typed)]


class _Worker(click.ParamType[Any]):
    """A worker of this node by its number, or as a call names it: PROCESSOR/N."""

    name = "worker"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """The processor, empty when it is not said, and the number."""
        processor, slash, number = str(value).rpartition("/")
        if not (number.isascii() and number.isdigit()) or (slash and not processor):
            self.fail(f"{value!r} is no worker; write its number, or PROCESSOR/N as a call has it",
                      param, ctx)  # fmt: skip
        return processor, int(number)


def _workers(client: Any, wanted: tuple[str, int]) -> dict[int, dict[str, Any]]:
    """The workers of this node by number.

    Raises:
        UnknownObject: the wanted one is not among them, or is of another processor.
    """
    rows = {row["id"]: row for row in client.ask("status").get("workers") or ()}
    processor, id = wanted
    shown = f"{processor}/{id}" if processor else str(id)
    if id not in rows or processor not in ("", rows[id]["processor"]):
        have = ", ".join(f"{rows[one]['processor']}/{one}" for one in sorted(rows)) or "none"
        raise UnknownObject(f"this node has no worker {shown}; it has: {have}", kind="worker")
    return rows


@command()
@click.argument(
    "id_word", metavar="[WORKER]", type=_Worker(), required=False, shell_complete=_complete_worker
)
@click.option("-n", "--name", type=_Worker(), metavar="WORKER", help="Number, or PROCESSOR/N.")
@click.option("--now", is_flag=True, help="Do not wait for the call it runs.")
def worker_kill(
    id_word: tuple[str, int] | None, name: tuple[str, int] | None, now: bool
) -> None:  # fmt: skip
    """Let a worker of this node finish its call and end; a fresh one takes its place.

    With --now it is killed: its call goes back to its line, with an attempt counted.

    Examples:
      mesh worker kill 3
      mesh worker kill -n proc1/3 --now
    """
    if (id_word is None) == (name is None):
        text = "name one worker, as WORKER or with -n WORKER; `mesh ls workers` has them"
        raise click.UsageError(text)
    wanted = id_word or name
    assert wanted is not None
    with session() as client:
        if wanted[0]:
            _workers(client, wanted)  # Of that processor it is; the node knows numbers only.
        found = client.ask("worker.stop", id=wanted[1], now=now)
    output.write(f"worker {wanted[1]} of {found['processor']} {'is killed' if now else 'leaves'}")


@command()
@click.argument("worker", type=_Worker(), shell_complete=_complete_worker)
@styled
def ls_worker(worker: tuple[str, int], style: Style) -> None:
    """Show a worker of this node.

    Examples:
      mesh ls worker 3
      mesh ls worker proc1/3                 as `mesh ls call` names it
    """
    with session() as client:
        row = _workers(client, worker)[worker[1]]
    item = {**row, "name": str(row["id"])}
    output.show_facts("worker", item, objects.pairs_of(item), style)
