"""Passwords that a person types or a file holds.  They are never arguments: `ps` shows those."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from meshcode.cli.options import NONE

VARIABLE = "MESH_PASSWORD"
_OPTION = "--password"
_FILE_BYTES_MAX = 4_096


def password_options(decorated: Any) -> Any:
    """Add --password, which asks, and --password-file."""
    for option in (
        click.option("--password-file", type=click.Path(exists=True, dir_okay=False),
                     help="File whose first line is the password."),
        click.option("--password", "ask_password", is_flag=True,
                     help=f"Ask for the password; where nobody can be asked it is ${VARIABLE}."),
    ):  # fmt: skip
        decorated = option(decorated)
    return decorated


def new_password_options(decorated: Any) -> Any:
    """Add the same, and --no-password, to change what may have a password."""
    gone = click.option("--no-password", is_flag=True, help="Take the password away.")
    return password_options(gone(decorated))


def new_password(*, ask: bool, file: str | None, gone: bool = False) -> dict[str, Any]:
    """The field that sets a password, or takes it away; none when neither was asked for.

    Raises:
        click.UsageError: both were, or the password cannot be had.
    """
    if gone and (ask or file is not None):
        raise click.UsageError(
            f"give {_OPTION}, {_OPTION}-file or --no-password, not both", _context()
        )
    if gone:
        return {"password": NONE}
    if not ask and file is None:
        return {}
    return {"password": take_password(ask=ask, file=file, twice=True)}


def take_password(
    *, ask: bool, file: str | None, twice: bool = False, optional: bool = False,
    option: str = _OPTION, prompt: str = "Password", kept: bool = True,
) -> str | None:  # fmt: skip
    """The password: from the file, else the environment, else of the person who is there.

    Args:
        ask: ask who is there, although the environment may have one.
        twice: a new one, to be typed again.
        optional: None when nobody is there to be asked.
        option: who asks.
        kept: the environment may have it; of two passwords it has one.

    Raises:
        click.UsageError: there is none, or the file has none.
    """
    if file is not None:
        with open(file, encoding="utf-8", errors="surrogateescape") as opened:
            lines = opened.read(_FILE_BYTES_MAX).splitlines()
        if not lines or not lines[0]:
            raise click.UsageError(f"{file} has no password in its first line", _context())
        return lines[0]
    is_there = sys.stdin.isatty()
    found = os.environ.get(VARIABLE) if kept else None
    if found and not (ask and is_there):
        return found
    if is_there:
        return str(click.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True))
    if optional and not ask:
        return None
    also = f", or ${VARIABLE}" if kept else ""
    raise click.UsageError(
        f"nobody is here to type a password; give {option}-file{also}", _context()
    )


def unlock_options(decorated: Any) -> Any:
    """Add --unlock, which asks for the password of a locked processor, and --unlock-file."""
    for option in (
        click.option("--unlock-file", type=click.Path(exists=True, dir_okay=False),
                     help="File whose first line is the processor's password."),
        click.option("--unlock", is_flag=True, help="Ask for the processor's password; where"
                     f" nobody can be asked it is ${VARIABLE}."),
    ):  # fmt: skip
        decorated = option(decorated)
    return decorated


def unlocking(
    *, unlock: bool, unlock_file: str | None, kept: bool = True
) -> dict[str, str]:
    """The fields of a request that open a locked processor; none when neither was given.

    `kept`: the environment may have the password.
    """
    if not unlock and unlock_file is None:
        return {}
    found = take_password(
        ask=unlock, file=unlock_file, option="--unlock", prompt="Password of the processor",
        kept=kept,
    )
    return {} if found is None else {"unlock": found}


def _context() -> click.Context:
    return click.get_current_context()
