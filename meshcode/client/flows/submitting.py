"""Submitting a composition: which client, one envelope, one handle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode.client.flows.compiling import compile_flow
from meshcode.client.flows.flow import Flow
from meshcode.client.flows.plan import FLOW_SOCKET
from meshcode.client.tracing import NOWHERE, Origin, origin
from meshcode.errors import BadRequest
from meshcode.wire.codec import pack
from meshcode.wire.kinds import Flag, Kind
from meshcode.wire.mold import Mold, mold_of

if TYPE_CHECKING:
    from meshcode.client.client import Client
    from meshcode.client.flows.composition import Composition
    from meshcode.client.flows.plan import Plan

_ROOT = mold_of(Kind.SUBMIT, name=FLOW_SOCKET.encode(), flags=int(Flag.FRESH), argc=1)


def submit(
    composition: Composition,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    client: Client | None = None,
) -> Flow:
    """Submit one run of a composition; see `Composition.__call__`.

    Args:
        composition: what is run.
        args: come first in the arguments of the first stage.
        kwargs: go with them.
        client: without it that of the composition's sockets, else the process-wide one.
    """
    flow, data = prepare_run(composition, args, kwargs, client)
    flow._client.session.outbox.put(flow, data)
    return flow


def prepare_run(
    composition: Composition,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    client: Client | None,
) -> tuple[Flow, bytes]:
    """As `submit`, with the envelope not handed over yet."""
    taken = composition.taking(args)
    plan = compile_flow(taken, args if taken is composition else args[1:], kwargs)
    return prepare(plan, client or client_of(taken))


def submit_plan(plan: Plan, client: Client) -> Flow:
    """Submit a plan as it is."""
    call, data = prepare(plan, client)
    client.session.outbox.put(call, data)
    return call


def prepare(plan: Plan, client: Client) -> tuple[Flow, bytes]:
    """A new flow and its envelope, not handed over yet."""
    body = plan.body()
    call_id, whence = client.fresh_id(), origin()
    data = _mold(whence)(call_id, whence.flow or call_id, body, 0, 0)
    return Flow(client, call_id, plan), data


def _mold(whence: Origin) -> Mold:
    """For the call of a flow; begun inside of a task it belongs to the flow of that."""
    if whence is NOWHERE:
        return _ROOT
    return mold_of(
        Kind.SUBMIT,
        name=FLOW_SOCKET.encode(),
        meta=pack({"trace": whence.trace}) if whence.trace else b"",
        flags=int(Flag.FRESH),
        argc=1,
        parent=whence.parent,
    )


def client_of(composition: Composition) -> Client:
    """The client that the sockets of a composition call through.

    Raises:
        BadRequest: they have several: a flow is submitted to one node.
        NoNode: none of them has one, and no node answers at the default address.
    """
    found: Client | None = None
    for signature in composition.signatures():
        mine = signature.socket._client
        if mine is None or mine is found:
            continue
        if found is not None:
            raise BadRequest(
                f"the sockets of this flow have 2 clients, of the nodes at {found.address} and"
                f" {mine.address}; nothing was sent; use one client for all of them"
            )
        found = mine
    if found is not None:
        return found
    from meshcode.client.default import default_client

    return default_client()
