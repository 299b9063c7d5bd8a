"""The login of this user: a token in a private file, shown to a node with every greeting.

The file is $MESH_LOGIN_FILE, else `login` in the home.  It is used over links that nobody else can
read only, and never when others may read it.
"""

from __future__ import annotations

import os

from meshcode import paths
from meshcode.errors import NotAllowed
from meshcode.wire.codec import pack

_CHARACTERS_MAX = 1_024


def login_file() -> str:
    """Where the login is kept."""
    return os.environ.get("MESH_LOGIN_FILE") or os.path.join(paths.home(), "login")


def read_login() -> str | None:
    """The login, or None.

    A file that others may read, or that cannot be read, counts as a login that does not hold: to
    go on without one could be more than the user may.
    """
    try:
        with open(login_file(), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_CHARACTERS_MAX).decode(errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError:
        return "unreadable"
    if mode & 0o170000 == 0o100000 and mode & 0o077:
        return "readable by others"
    return text or None


def write_login(text: str) -> str:
    """Keep a login, for this user only; returns where.

    Raises:
        NotAllowed: the file cannot be written.
    """
    from meshcode import aside  # Late: every client reads a login, and few write one.

    path = login_file()
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        aside.write(path, f"{text}\n".encode())
    except OSError as error:
        raise NotAllowed(
            f"the login cannot be kept in {path}: {error.strerror}; name another file with"
            " MESH_LOGIN_FILE",
            path=path,
        ) from None
    return path


def forget_login() -> bool:
    """Remove it; whether there was one."""
    try:
        os.unlink(login_file())
    except FileNotFoundError:
        return False
    return True


def hello_body(session_id: bytes) -> bytes:
    """The body of a HELLO, with the login if there is one.

    Args:
        session_id: of the client, the same over all its connections.
    """
    hello = {"version": 1, "session": session_id, "pid": os.getpid()}
    login = read_login()
    return pack(hello if login is None else {**hello, "login": login})
