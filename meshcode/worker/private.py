"""Reading something secret from a file of this host, only if nobody else can read it."""

from __future__ import annotations

import os
import stat

BYTES_MAX = 16 * 1024


def read_private(path: str) -> str:
    """The text of a file, less the line break at its end.

    Raises:
        ValueError: it is not there, others may read or write it, it belongs to somebody else, or
            it is no text; never with anything of the content.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} is no regular file")
        if found.st_mode & 0o077:
            raise ValueError(
                f"{path} has mode {stat.S_IMODE(found.st_mode):04o}, so others can use it, and it"
                f" must be 0600; say `chmod 600 {path}`"
            )
        if found.st_uid not in (os.geteuid(), 0):
            raise ValueError(
                f"{path} belongs to user {found.st_uid} and the node runs as {os.geteuid()}"
            )
        data = file.read(BYTES_MAX + 1)
    if len(data) > BYTES_MAX:
        raise ValueError(f"{path} has more than {BYTES_MAX} bytes")
    try:
        text = data.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no UTF-8 text") from None
    if not text or "\0" in text:
        raise ValueError(f"{path} is empty, or has a NUL in it")
    return text


def read_variable(name: str) -> str:
    """The text of a variable of this process's environment.

    Raises:
        ValueError: it is not set, or empty.
    """
    text = os.environ.get(name, "")
    if not text:
        raise ValueError(f"${name} of the node's environment is empty or not set")
    return text


def read_source(source: str) -> str:
    """What `env:NAME` or `file:/PATH` stands for on this host.

    Raises:
        ValueError: as the two above.
    """
    how, _, name = source.partition(":")
    return read_variable(name) if how == "env" else read_private(name)
