"""`mesh run`, and what it shares with `mesh task run`: the options of a call, and submitting it."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from meshcode.cli import output, standard
from meshcode.cli.data import parse_keyword, parse_word
from meshcode.cli.moment import MOMENT
from meshcode.cli.options import DURATION, command, complete, refuse_late
from meshcode.cli.result import result_options, wait_and_print
from meshcode.cli.session import session
from meshcode.errors import BadData, TooLarge
from meshcode.limits import BODY_BYTES_MAX, PRIORITY_MAX

_NUMBER = re.compile(r"-(\d|\.\d).*")


def call_options(command: Any) -> Any:
    """Add the options of one call; the command gets them as a dict `options` for Socket.options."""
    from functools import wraps

    @wraps(command)
    def with_options(*args: Any, **kwargs: Any) -> Any:
        options: dict[str, Any] = {}
        for name in ("delay", "expires", "retry_delay", "time_limit"):
            given = kwargs.pop(name)
            if given is not None:
                options[name] = given / 1000  # The client counts seconds.
        at = kwargs.pop("at")
        if at is not None:
            if "delay" in options:
                raise click.UsageError("a call begins --at a time or after a --delay; give one")
            options["eta"] = at
        if kwargs.pop("broadcast"):
            options["broadcast"] = True
        for name in ("priority", "retries", "key", "topic"):
            given = kwargs.pop(name)
            if given is not None:
                options[name] = given
        return command(*args, options=options, **kwargs)

    decorated: Any = with_options
    for flags, kind, text in reversed(
        [
            (
                ("--priority",),
                click.IntRange(0, PRIORITY_MAX),
                "9 runs first.  [default: the socket's]",
            ),
            (("--delay",), DURATION, "Begin no earlier than this from now."),
            (("--at",), MOMENT, "Begin no earlier: 18:00, 2026-12-24T18:00, or with Z or +02:00."),
            (
                ("--expires",),
                DURATION,
                "Cancel it when it has not begun within this; one that runs goes on.",
            ),
            (("--retries",), click.IntRange(0), "Further attempts when it fails."),
            (("--retry-delay",), DURATION, "First delay before a retry; it doubles."),
            (("--time-limit",), DURATION, "Longest run time of one attempt."),
            (("--key",), click.STRING, "Calls of one key share the socket's --key-concurrency."),
            (("--topic",), click.STRING, "Which sockets of a topic queue take it: order.new."),
        ]
    ):
        decorated = click.option(*flags, type=kind, help=text)(decorated)
    decorated = click.option(
        "--broadcast", is_flag=True, help="Run it on every worker, on every node."
    )(decorated)
    return click.option(
        "--no-wait", is_flag=True, help="Print the id when the call is safe, and do not wait."
    )(decorated)


class RunCommand(click.Command):
    """A command whose arguments may be negative numbers; a mistyped option is still refused."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let `-5` through; refuse `-x` unless it stands after `--`."""
        head = args[: args.index("--")] if "--" in args else args
        literal = len(args) - len(head) - 1 if "--" in args else 0
        rest = super().parse_args(ctx, args)
        words: Sequence[str] = ctx.params.get("words", ())
        if ctx.params.get("socket") is not None:
            words = (ctx.params["socket"], *words)
        for word in words[: len(words) - literal]:
            if word.startswith("-") and word != "-" and not _NUMBER.fullmatch(word):
                refuse_late(ctx, word)
                raise click.NoSuchOption(word, ctx=ctx)
        return rest


@command(cls=RunCommand, context_settings={"ignore_unknown_options": True})
@click.argument("socket", required=False, shell_complete=complete("socket"))
@click.argument("words", nargs=-1, metavar="[ARG]...", type=click.UNPROCESSED)
@click.option(
    "--flow", metavar="NAME|FILE", shell_complete=complete("flow"),
    help="Run a flow: a file with its document, or one that the model has; with --stream its"
    " branches are printed in order, each as soon as it is there.",
)
@click.option(
    "-k", "--keyword", "keywords", multiple=True, metavar="NAME=VALUE", help="Keyword argument."
)
@click.option("--text", is_flag=True, help="Every ARG and VALUE is a string.")
@call_options
@result_options
def run(
    socket: str | None,
    words: tuple[str, ...],
    flow: str | None,
    keywords: tuple[str, ...],
    text: bool,
    options: Mapping[str, Any],
    no_wait: bool,
    form: str,
    timeout: int | None,
    stream: bool,
) -> None:
    """Call a socket and print the result. Each ARG is a value when it is JSON, else a string; - is
    the text of stdin.

    Examples:
      mesh run shop.clean "some text"
      mesh run shop.add 2 3 -o json
      mesh run shop.report '[1, 2]' -k title=October -k top=5
      mesh run shop.clean --text 007          007 as a string, whatever it looks like
      cat page.html | mesh run shop.clean -
      mesh run shop.report --at 18:00 --no-wait
      mesh run shop.reload model-7 --broadcast   on every worker; prints what each of them said
      mesh run shop.slow --no-wait            prints the id; `mesh call get ID` waits for it
      mesh run --flow report.yaml October     the ARGs go to the first stage of the flow
    """
    if flow is not None and socket is not None:
        words = (socket, *words)
    elif flow is None and socket is None:
        raise click.UsageError("Missing argument 'SOCKET'. Give it, or --flow.")
    if (*words, flow).count("-") > 1:
        raise click.UsageError("stdin can be one argument only, and - is given twice")
    args = [read_stdin() if w == "-" else w if text else parse_word(w) for w in words]
    named = keyword_arguments(keywords, text=text)
    if flow is not None:
        from meshcode.cli.runflow import refuse_options, run_flow

        refuse_options(options)
        run_flow(
            flow, args, named, no_wait=no_wait, form=form, timeout=timeout, stream=stream
        )  # fmt: skip
        return
    assert socket is not None  # Else --flow was given.
    submit(socket, args, named, options, no_wait=no_wait, form=form, timeout=timeout, stream=stream)


def keyword_arguments(texts: Iterable[str], *, text: bool) -> dict[str, Any]:
    """The keyword arguments of `-k NAME=VALUE`s; a name given twice is refused."""
    found: dict[str, Any] = {}
    for given in texts:
        name, value = parse_keyword(given, words=text)
        if name in found:
            raise click.UsageError(f"-k {name} is given twice")
        found[name] = value
    return found


def submit(
    socket: str,
    args: Sequence[Any],
    named: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    no_wait: bool,
    form: str,
    timeout: int | None,
    stream: bool,
) -> None:
    """Make one call; print its id when it is safe, or its result when it has ended."""
    with session() as client:
        target = client.socket(socket)
        if options:
            target = target.options(**options)
        call = target.submit(*args, **named)
        if no_wait:
            call.wait_accepted()
            standard.holds(f"call {call.id} is safe: `mesh call get {call.id}` waits for it")
            output.write(call.id)
            return
        wait_and_print(client, call, form=form, timeout=timeout, stream=stream)


def has_stdin() -> bool:
    """Whether something was piped or redirected into this process; not for /dev/null."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def read_stdin() -> str:
    """The text of stdin without its last newline.

    Raises:
        BadData: it cannot be read, or is not UTF-8.
        TooLarge: it is longer than the arguments of one call may be.
    """
    data = standard.read_stdin(BODY_BYTES_MAX + 1)
    if len(data) > BODY_BYTES_MAX:
        raise TooLarge(
            f"stdin has more than {BODY_BYTES_MAX} bytes, the limit of the arguments of one call;"
            " nothing was sent; send the name of a file instead"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise BadData(
            f"stdin is not UTF-8 text: byte {error.start} is 0x{data[error.start]:02x};"
            " nothing was sent"
        ) from None
    return text.removesuffix("\n")
