"""`mesh update task`: other code in the place of a task's, without a commit."""

from __future__ import annotations

from typing import Any

import click

from meshcode.cli import objects
from meshcode.cli.kept import read_bytes
from meshcode.cli.options import command, styled
from meshcode.cli.output import Style
from meshcode.cli.secret import unlock_options, unlocking
from meshcode.cli.session import model, session
from meshcode.cli.task import socket_of
from meshcode.cli.waiting import dry_option, wait_options
from meshcode.errors import BadData, ObjectExists, UnknownObject

KIND = "override"


@command(name="task")
@objects.one_name("socket")
@click.option("--code", "path", metavar="FILE", help="Python that defines it anew; - is stdin.")
@click.option("--no-code", "gone", is_flag=True, help="Take the override away.")
@unlock_options
@wait_options
@dry_option
@styled
def update(
    name: str, path: str | None, gone: bool, unlock: bool, unlock_file: str | None,
    wait: float | None, dry: bool, style: Style,
) -> None:  # fmt: skip
    """Put other code in the place of a task's, on every node, without a commit; NAME is
    PROCESSOR.TASK, a socket, or a task. Workers are replaced when the code was seen to load, and
    calls show `COMMIT+override`. The repository is what lasts: take the override away when it has
    the fix.

    Examples:
      mesh update task shop.clean --code fix.py --wait
      mesh task code shop.clean > fix.py; $EDITOR fix.py; mesh update task shop.clean --code fix.py
      mesh update task shop.clean --no-code
    """
    if (path is None) != gone:
        raise click.UsageError(
            "give --code FILE, or --no-code to take it away", click.get_current_context()
        )
    opening = unlocking(unlock=unlock, unlock_file=unlock_file)
    code = None if path is None else _text_of(path)
    with session() as client:
        processor, task = resolve(client, name)
        key = f"{processor}.{task}"
        if code is None:
            answer, verb = model(client, "delete", KIND, key, dry=dry, **opening), "taken away"
        else:
            answer, verb = _put(client, processor, task, code, dry, opening), "put in place"
        objects.done(KIND, key, verb, answer, style, dry=dry)
        item = {"processor": processor}
        objects.wait_for(client, "deployment", item, None if dry else wait)


def resolve(client: Any, name: str) -> tuple[str, str]:
    """The processor and the task that a person means.

    Raises:
        UnknownObject: there is no such socket or task, and no processor that the name begins with.
        UnknownSocket: several processors have a task of the name.
    """
    processor, dot, task = name.rpartition(".")
    try:
        if dot:
            model(client, "get", "processor", processor)
            return processor, task
    except UnknownObject:
        pass  # Then it is a socket with a dot in its name.
    found = objects.one(client, "socket", socket_of(client, name))
    return str(found["processor"]), str(found["task"])


def _put(
    client: Any, processor: str, task: str, code: str, dry: bool, opening: dict[str, Any]
) -> Any:
    key = f"{processor}.{task}"
    try:
        return model(client, "add", KIND, key, dry=dry, processor=processor, task=task, code=code,
                     **opening)  # fmt: skip
    except ObjectExists:
        return model(client, "update", KIND, key, dry=dry, code=code, **opening)


def _text_of(path: str) -> str:
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise BadData(f"{path} is not UTF-8 text: byte {error.start}") from None
