"""Waiting for the result of a call, and printing it: for `run`, `task run` and `call get`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from meshcode.cli import output, plain
from meshcode.cli.options import DURATION
from meshcode.errors import NotAllowed, UnknownCall, WaitTimeout

if TYPE_CHECKING:
    from meshcode.client import Call

TELL_WHY_S = 3.0  # A call that has not begun by then may wait for something a person can mend.
RESULT_FORMATS = ("auto", "json", "yaml", "raw", "repr")


def result_options(command: Any) -> Any:
    """Add what every command that waits for a result has: -o, --timeout, --stream."""
    decorated: Any = click.option(
        "--stream", is_flag=True, help="Print the items of a generator, one a line, as they come."
    )(command)
    decorated = click.option(
        "--timeout", type=DURATION, help="Give up waiting after this; the call goes on."
    )(decorated)
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(RESULT_FORMATS),
        default="auto",
        show_default=True,
        help="auto: strings as they are, anything else as JSON.",
    )(decorated)


def wait_and_print(call: Call, *, form: str, timeout: int | None, stream: bool) -> None:
    """Wait for a call, at most `timeout` milliseconds, and print its result.

    Raises:
        WaitTimeout: it has not ended; the text has its id.
        MeshError: it failed, was refused or was cancelled.
    """
    seconds = None if timeout is None else timeout / 1000
    try:
        if stream:
            for item in call.items():
                print_result(item, form if form != "auto" else "line")
            call.result(seconds)
            return
        value = _result(call, seconds)
    except WaitTimeout:
        found = _now(call)
        why = f"; it waits: {found['reason']}" if found.get("state") == "PARKED" else ""
        raise WaitTimeout(
            f"call {call.id} has not ended within {plain.length_of_time(timeout or 0)}{why}; it"
            f" goes on: `mesh call get {call.id}` waits for it, `mesh call cancel {call.id}` stops"
            " it",
            id=call.id,
        ) from None
    except KeyboardInterrupt:
        output.say(f"mesh: call {call.id} goes on; `mesh call cancel {call.id}` stops it")
        raise
    print_result(value, form)


def _result(call: Call, seconds: float | None) -> Any:
    """The call's result; a person who waits for a call that cannot begin is told why, once."""
    if seconds is None or seconds > TELL_WHY_S:
        try:
            return call.result(TELL_WHY_S)
        except WaitTimeout:
            found = _now(call)
            if found.get("state") == "DELAYED" and found.get("due_ms"):
                output.say(
                    f"mesh: call {call.id} begins at {plain.local_time(found['due_ms'])}; it is"
                    " safe; Ctrl-C stops this waiting only"
                )
            if found.get("state") == "PARKED":
                output.say(
                    f"mesh: call {call.id} waits: {found.get('reason')}; it is safe and begins when"
                    " it can; Ctrl-C stops this waiting only"
                )
        seconds = None if seconds is None else seconds - TELL_WHY_S
    return call.result(seconds)


def _now(call: Call) -> dict[str, Any]:
    """What the node knows of a call; nothing when it ends just now, or may not be seen."""
    try:
        return call.info()
    except (UnknownCall, NotAllowed):
        return {}


def print_result(value: Any, form: str) -> None:
    """Print a result in one of RESULT_FORMATS, or as one line of JSON for `line`."""
    if form == "json":
        output.write(plain.to_json(value, indent=2))
    elif form == "yaml":
        output.write_lines(plain.to_yaml(value).splitlines())
    elif form == "repr":
        output.write(repr(value))
    elif form == "line":
        output.write(plain.to_json(value))
        sys.stdout.flush()
    else:
        output.write_raw(value)
