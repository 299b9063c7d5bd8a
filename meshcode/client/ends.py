"""Why nothing more will be heard of a call or a request: the errors, in one place."""

from __future__ import annotations

from meshcode.errors import NodeError, NoNode, UnknownCall, WrongState
from meshcode.ids import text_of


def closed() -> WrongState:
    """The error of everything that is asked of a closed client."""
    return WrongState(
        "the client is closed; what was acknowledged goes on at the node; "
        "connect again and use client.call(id) to ask for it"
    )


def forked() -> WrongState:
    """The error of a parent's client in a forked child."""
    return WrongState(
        "this process was forked from the one whose client this is; "
        "connect again here, and use client.call(id) to ask for the parent's calls"
    )


def thread_ended(error: Exception) -> NodeError:
    """The error of a client whose I/O thread met one that it does not know."""
    why = NodeError(
        f"the client's I/O thread ended: {type(error).__name__}: {error}; what was "
        "acknowledged goes on at the node; connect again to ask for it by id"
    )
    why.__cause__ = error
    return why


def unknown_call(call_id: bytes, patience_s: float) -> UnknownCall:
    """The error of a call that the node does not know, also not after so many seconds."""
    text = text_of(call_id)
    if not patience_s:
        why = "it was never accepted there, or its result was kept for its time and is gone"
        return UnknownCall(f"the node knows no call {text}: {why}", id=text)
    return UnknownCall(
        f"the node knows no call {text}, although it was asked for {patience_s:g} s after the one "
        "before it was gone; if that one comes back, ask again with client.call(id)",
        id=text,
    )


def not_to_be_sent(what: str, instead: str) -> TypeError:
    """The error of pickling what belongs to a link of this process."""
    return TypeError(
        f"{what} belongs to a link of this process, and that cannot go to another one; {instead}"
    )


def went_away(operation: str) -> NoNode:
    """The error of a request that cannot be repeated safely."""
    return NoNode(
        f"the node went away while it was asked to do {operation!r}: it may have been done or "
        "not; look before asking again",
        operation=operation,
    )
