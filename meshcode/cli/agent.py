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
            found = [str(row["id"]) for row in client.ask("status").get("workers") or ()]
    except Exception:  # A Tab must never print a traceback into the line being typed.
        return []
    return [name for name in found if name.startswith(typed)]


@command()
@click.argument(
    "id_word", metavar="[ID]", type=int, required=False, shell_complete=_complete_worker
)
@click.option("-n", "--name", type=int, metavar="ID", help="Id of the worker.")
@click.option("--now", is_flag=True, help="Do not wait for the call it runs.")
def worker_kill(id_word: int | None, name: int | None, now: bool) -> None:
    """Let a worker of this node finish its call and end; a fresh one takes its place.

    With --now it is killed: its call goes back to its line, with an attempt counted.

    Examples:
      mesh worker kill 3
      mesh worker kill -n 3 --now
    """
    if (id_word is None) == (name is None):
        raise click.UsageError("name one worker, as ID or with -n ID; `mesh ls workers` has them")
    wanted = id_word if id_word is not None else name
    with session() as client:
        found = client.ask("worker.stop", id=wanted, now=now)
    output.write(f"worker {wanted} of {found['processor']} {'is killed' if now else 'leaves'}")


@command()
@click.argument("worker", type=int, shell_complete=_complete_worker)
@styled
def ls_worker(worker: int, style: Style) -> None:
    """Show a worker of this node.

    Examples:
      mesh ls worker 3
    """
    with session() as client:
        rows = {row["id"]: row for row in client.ask("status").get("workers") or ()}
    if worker not in rows:
        have = ", ".join(map(str, sorted(rows))) or "none"
        raise UnknownObject(f"this node has no worker {worker}; it has: {have}", kind="worker")
    item = {**rows[worker], "name": str(worker)}
    output.show_facts("worker", item, objects.pairs_of(item), style)
