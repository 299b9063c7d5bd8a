"""The client library: call functions that run in a mesh as if they were local.

    from meshcode import Socket, connect

    Socket("shop.clean")("some text")          # waits, returns the value or raises

    with connect() as client:
        call = client.socket("shop.report").submit(2026, month=11)
        print(call.id, call.result(timeout=30))

`docs/client.md` is the guide.  asyncio is imported only by `connect_async` and by awaiting a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode.client.call import Call
from meshcode.client.client import Client, connect
from meshcode.client.default import default_client
from meshcode.client.listening import Listening, listen
from meshcode.client.socket import Socket

if TYPE_CHECKING:
    from meshcode.client.aio import AsyncCall, AsyncClient, AsyncSocket, connect_async

__all__ = [
    "connect",
    "connect_async",
    "default_client",
    "Client",
    "Socket",
    "Call",
    "listen",
    "Listening",
    "AsyncClient",
    "AsyncSocket",
    "AsyncCall",
]

_ASYNC = ("connect_async", "AsyncClient", "AsyncSocket", "AsyncCall")


def __getattr__(name: str) -> Any:
    if name not in _ASYNC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from meshcode.client import aio

    return getattr(aio, name)
