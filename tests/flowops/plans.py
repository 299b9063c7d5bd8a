"""Plans as docs/flows.md has them, written by hand, and flows submitted without the library."""

from __future__ import annotations

from typing import Any

from meshcode.client import connect
from meshcode.wire.codec import pack_call

WAIT_S = 30.0


def step(socket: str | None, *args: Any, feed: Any = None, **kwargs: Any) -> list[Any]:
    """One step; without a socket it gathers."""
    options = {"kw": list(kwargs)} if kwargs else None
    return [socket, len(args), pack_call(args, kwargs or None), feed, options]


def plan_of(*steps: list[Any], result: int | None = None) -> dict[str, Any]:
    """A plan whose result is its last step unless told otherwise."""
    return {"steps": list(steps), "result": len(steps) - 1 if result is None else result}


def submit(address: str, plan: dict[str, Any]) -> str:
    """Submit a flow and wait until it is accepted; its id."""
    with connect(address) as client:
        call = client.socket("@flow").submit(plan)
        call.wait_accepted(WAIT_S)
        return str(call.id)


def result_of(home: Any, id: str, seconds: float = WAIT_S) -> Any:
    """Wait for the result step of a flow, through any node; its value or error."""
    result = home.ask("flow.get", id=id, limit=0)["result"]
    with connect(home.address) as client:
        client.call(id).result(seconds)  # Before that it has no steps.
        return client.call(result).result(seconds)
