"""Writing the files of the configuration: one line at a time, comments and order kept."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from meshcode import aside, config
from meshcode.errors import BadRequest, CallerError, NodeError


def set_values(path: str, values: dict[str, str | bool | None]) -> bool:
    """Change some settings of a file; None takes one away.  All of it or nothing is written.

    False: there was nothing to take away, and nothing was written.

    Raises:
        CallerError: a value is wrong, or the file is.
        NodeError: it cannot be written.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        text = ""
    except (OSError, ValueError) as error:
        raise CallerError(f"{path} cannot be read: {error}; nothing was changed") from None
    before = text
    for name, value in values.items():
        plain = value is None or name == config.CONTEXT
        text = edited(text, name, value if plain else config.check(name, value, path))
    _check(path, text, values)
    for problem in connection_problems(values, path):
        raise CallerError(f"{problem}; nothing was changed")
    if text == before and all(value is None for value in values.values()):
        return False
    write(path, text)
    return True


def connection_problems(values: Mapping[str, Any], where: str) -> Iterator[str]:
    """What of the settings `node` and `model` of a file no connection takes; `where` is in it."""
    node, model = (str(values.get(name) or "") for name in ("node", "model"))
    if node:
        from meshcode.client.seeds import seeds_of

        try:
            seeds_of(node)
        except BadRequest as error:
            yield f"{where}: node is {config.mask(error.text)}"
    if "://" in model:
        from meshcode.model.database import address_problem

        if problem := address_problem(model):
            yield f"{where}: model is {config.mask(model)!r}: {problem}"


def edited(text: str, name: str, value: str | bool | None) -> str:
    """The text with `name = value` instead of its line, at the end when it has none."""
    line = re.compile(rf"(?m)^[ \t]*{re.escape(name)}[ \t]*=.*(?:\n|\Z)")
    wanted = "" if value is None else f"{name} = {toml(value)}\n"
    if line.search(text):
        return line.sub(lambda _: wanted, text, count=1)
    return text + ("" if not text or text.endswith("\n") else "\n") + wanted


def toml(value: str | bool) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    import json

    return json.dumps(value)  # A basic string of TOML is one of JSON.


def _check(path: str, text: str, values: dict[str, str | bool | None]) -> None:
    """A line was replaced by its look: see that the file now says what was meant, and only that."""
    import tomllib

    try:
        found: dict[str, Any] = tomllib.loads(text)
    except ValueError as error:
        raise CallerError(f"{path} is no TOML: {error}; nothing was changed; mend it") from None
    folder = os.path.dirname(path)
    for name, raw in found.items():
        if name != config.CONTEXT:
            config.check(name, raw, path, folder)
        if path == config.SYSTEM_FILE and config.has_password(str(raw)):
            raise CallerError(
                f"{path} can be read by every user of this machine, and the address of {name} has"
                f" a password; nothing was changed; set it without --system for the user who runs"
                f" the node, or name a file with passfile=PATH in the address"
            )
    wrong = [n for n, v in values.items() if (n in found) != (v is not None)]
    if wrong:
        raise CallerError(
            f"{path} has {wrong[0]} in a form that is not one line; nothing was changed; edit it"
        )


def write(path: str, text: str) -> None:
    """Write a file whole.  That of the system is for everybody, any other for its owner only: a
    database's address may hold a password.

    Raises:
        NodeError: it cannot be written; what was there is there.
    """
    try:
        everybodys = path == config.SYSTEM_FILE
        _make_folder(os.path.dirname(path), everybodys=everybodys)
        aside.write(path, text.encode(), durable=True)
        if everybodys:
            os.chmod(path, 0o644)
    except OSError as error:
        raise NodeError(f"{path} cannot be written: {error.strerror}; it is as it was") from None


def _make_folder(folder: str, *, everybodys: bool) -> None:
    """See to it that the folder is there; of one for all users a narrow umask takes nothing."""
    new = not os.path.isdir(folder)
    os.makedirs(folder, mode=0o755 if everybodys else 0o700, exist_ok=True)
    # One of 0700 was made by a version that kept the system's file from its users.
    if everybodys and (new or stat.S_IMODE(os.stat(folder).st_mode) == 0o700):
        os.chmod(folder, 0o755)
