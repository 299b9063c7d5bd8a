"""The client library: call functions that run in a mesh as if they were local.

    from meshcode import Socket, connect

    Socket("shop.clean")("some text")          # waits, returns the value or raises

    with connect() as client:
        call = client.socket("shop.report").submit(2026, month=11)
        print(call.id, call.result(timeout=30))

`docs/client.md` is the guide.  asyncio is imported only by `connect_async` and by awaiting a call,
flows (`pipeline`, `parallel`, `funnel`, `segment`) and `Executor` when one of their names is used.
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
    from meshcode.client.executor import Executor
    from meshcode.client.flows import Flow, funnel, parallel, pipeline, segment

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
    "pipeline",
    "parallel",
    "funnel",
    "segment",
    "Flow",
    "flow",
    "Executor",
]

_ASYNC = ("connect_async", "AsyncClient", "AsyncSocket", "AsyncCall")
_FLOWS = ("pipeline", "parallel", "funnel", "segment", "Flow")


def flow(flow_id: str | bytes) -> Flow:
    """A flow that was submitted earlier, by the process-wide client; see `Client.flow`."""
    return default_client().flow(flow_id)


if not TYPE_CHECKING:  # A module with it has every name, for a type checker.

    def __getattr__(name: str) -> Any:
        if name in _ASYNC:
            from meshcode.client import aio

            return getattr(aio, name)
        if name == "Executor":
            from meshcode.client.executor import Executor

            return Executor
        if name in _FLOWS:
            from meshcode.client import flows

            return getattr(flows, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
