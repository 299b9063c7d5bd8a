"""Waiting for the result of a call, and printing it: for `run`, `task run` and `call get`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from meshcode.cli import output, plain, standard
from meshcode.cli.awaiting import left_alone, look, too_late, wait
from meshcode.cli.options import DURATION
from meshcode.errors import WaitTimeout

if TYPE_CHECKING:
    from meshcode.client import Call, Client

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


def wait_and_print(
    client: Client, call: Call, *, form: str, timeout: int | None, stream: bool
) -> None:
    """Wait for a call, at most `timeout` milliseconds, and print its result.

    Raises:
        WaitTimeout: it has not ended; the text has its id.
        MeshError: it failed, was refused or was cancelled.
    """
    seconds = None if timeout is None else timeout / 1000
    standard.holds(f"what call {call.id} gives is kept: `mesh call get {call.id}` prints it")
    try:
        if stream:
            for item in call.items():
                print_result(item, form if form != "auto" else "line")
            call.result(seconds)
            return
        wait(client, call, seconds)
    except WaitTimeout:
        raise WaitTimeout(
            too_late(call, look(client, call), plain.length_of_time(timeout or 0)), id=call.id
        ) from None
    except KeyboardInterrupt:
        output.say(f"mesh: {left_alone(call)}")
        raise
    print_result(named_stream(call.result(), call.id), form)


def named_stream(value: Any, id_text: str) -> Any:
    """A result, where it says whose items are calls of their own with that id as commands take it.
    """
    from meshcode.client.streams import is_streamed
    from meshcode.ids import parse_id

    return {**value, "stream": id_text} if is_streamed(parse_id(id_text), value) else value


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
