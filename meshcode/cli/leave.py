"""What a command does beside the node of its home: by leave of the node, and into its audit log.

Stopping the node and the database of the model as a whole need no node.  Whoever is logged in is a
user all the same, so the node is asked first what that user may; the owner is asked nothing.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any

from meshcode import paths
from meshcode.cli import output
from meshcode.cli.session import listens, refuse_home_of_others, who
from meshcode.errors import BadRequest, NoNode, NotAllowed, WaitTimeout

ANSWER_S = 5.0  # A node that does not answer for so long cannot say what a user may.


def ask(home: str, operation: str, *, audited: bool, **fields: Any) -> bool:
    """Ask the node of a home whether this shell may do what it then does by itself.

    Args:
        audited: the node writes it into its audit log, so the owner asks as well.

    Returns:
        Whether nothing more is to be said: a node was asked, or there was nothing to ask.

    Raises:
        NotAllowed: the user who is logged in may not, or nobody is there to say so.
    """
    from meshcode.client import connect
    from meshcode.client.login import login_file, read_login

    refuse_home_of_others(home)
    address = paths.clients_address(home)
    logged_in = read_login() is not None
    if not logged_in and not audited:
        return True
    if listens(address):
        try:
            with connect(address, timeout=ANSWER_S) as client:
                client.ask(operation, **fields, by=who())
            return True
        except BadRequest:  # A node of an older version, which knows no such question.
            if logged_in:
                raise
        except (NoNode, WaitTimeout):
            pass
    if logged_in:
        raise NotAllowed(
            f"a login is kept in {login_file()}, and no node of {home} answers to say what its user"
            " may; nothing was done; start the node with `mesh up`, or forget the login with"
            " `mesh logout`"
        )
    return False


def tell(do: str, on: str) -> None:
    """Have what this command does to the mesh in the audit log of the node of this home.

    Args:
        do: one of `auditlog.BESIDE`.
        on: whom or what it is done to.

    Raises:
        NotAllowed: the user who is logged in may not.
    """
    home = paths.home()
    if not ask(home, "node.may", audited=True, do=do, name=on):
        write_down(home, f"node.{do}", on)


def write_down(home: str, what: str, object_: str) -> None:
    """Write the line of the audit log that the node would have written; none is up."""
    from meshcode.node.auditlog import AuditLog

    if not os.path.isdir(home):
        return
    lock = _lock(Path(home))
    if lock is None:
        output.say("mesh: this is not in the audit log: a node that does not answer has it open")
        return
    try:
        log = AuditLog(Path(home))
        now_ms = time.time_ns() // 1_000_000
        log.add(now_ms, f"owner ({who()})", what, via="local", object=object_, outcome="allowed")
        log.close()
    except OSError as error:
        output.say(f"mesh: the audit log cannot be written: {error.strerror or error}")
    finally:
        if lock >= 0:
            os.close(lock)


def _lock(home: Path) -> int | None:
    """Keep a node from starting meanwhile: a descriptor, -1 where none ever was, None: one runs."""
    try:
        lock = os.open(home / "data" / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
