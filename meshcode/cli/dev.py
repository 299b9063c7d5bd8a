"""`mesh dev`: a node in this terminal that other shells find, and that leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import click

from meshcode import aside, paths
from meshcode.cli import output, process
from meshcode.cli.options import command
from meshcode.cli.session import listens
from meshcode.errors import NodeError, WrongState


@command()
@click.option("--data", metavar="DIR", help="Keep the data in this folder.  [default: thrown away]")
def dev(data: str | None) -> None:
    """Run a throw-away node in this terminal; other shells find it by themselves.

    Examples:
      mesh dev
      mesh dev --data ./mesh-data             keeps what it does
    """
    refuse_if_up()
    home = os.path.abspath(data) if data else tempfile.mkdtemp(prefix="mesh-dev-")
    with contextlib.ExitStack() as stack:
        if not data:
            stack.callback(shutil.rmtree, home, ignore_errors=True)
        log = stack.enter_context(process.open_log(home))
        # What is thrown away must not reach the database of $MESH_MODEL.
        more = {} if data else {"MESH_MODEL": ""}
        child = process.spawn_node(home, log, follow_parent=True, more=more)
        signals = stack.enter_context(_signals_to(child))
        stack.callback(_end, child)
        try:
            process.wait_until_answers(home, child)
        except NodeError:
            if signals:  # Ctrl-C before it was up.
                click.get_current_context().exit(128 + signals[0])
            raise
        stack.enter_context(announced(home))
        kept = (
            f"data is kept in {home}" if data else "data is thrown away at the end, --data keeps it"
        )
        output.write(f"node   {paths.clients_address(home)}, pid {child.pid}; Ctrl-C ends it")
        output.write(
            "first  mesh add queue -n q1        (in another shell; `mesh --help` has more)"
        )
        output.write(f"log    {paths.log_file(home)}")
        output.write(f"note   {kept}")
        sys.stdout.flush()
        code = child.wait()
        if not signals and code != 0:
            output.say(
                "\n".join([f"mesh: the node ended with status {code}:", *process.log_tail(home)])
            )
    if signals:
        click.get_current_context().exit(128 + signals[0])
    click.get_current_context().exit(1 if code else 0)


def refuse_if_up() -> None:
    """Leave a running node alone.

    Raises:
        WrongState: a node answers where other shells look.
    """
    address = paths.clients_address(paths.home())
    if listens(address):
        raise WrongState(
            f"a node is up already at {address}; use it, stop it with `mesh down`, or give this one"
            " another place: MESH_HOME=/tmp/other mesh dev"
        )


@contextmanager
def announced(home: str) -> Iterator[None]:
    """Let the run folder of this user name the node of `home`, so that other shells find it."""
    usual = paths.home()
    if os.path.realpath(usual) == os.path.realpath(home):
        yield
        return
    os.makedirs(paths.run_dir(usual), mode=0o700, exist_ok=True)
    file = paths.ipc_path_file(usual)
    named = paths.ipc_dir(home)
    aside.write(file, f"{named}\n".encode())
    try:
        yield
    finally:
        if paths.ipc_dir(usual) == named:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)


@contextmanager
def _signals_to(child: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Pass the wish to stop on to the node: the first drains it, the second stops it now."""
    seen: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        seen.append(number)
        if len(seen) <= 2:
            child.terminate()
        else:
            child.kill()

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, pass_on) for number in wanted}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(child: subprocess.Popen[bytes]) -> None:
    """See that the node is gone, also after an error of our own."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
