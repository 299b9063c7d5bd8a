"""Flows: calls composed of calls, submitted as one and durable as a whole.

    from meshcode import Socket, funnel, parallel, pipeline

    clean, count = Socket("shop.clean").p, Socket("shop.count").p
    flow = pipeline(clean("some text"), parallel(count("words"), count("lines")))()
    print(flow.id, flow.get(timeout=30))

A composition is made of signatures, which are sockets with arguments (`Socket.p`).  Calling it
submits it: the node has the whole flow or nothing of it, and the client may end at once.
`docs/flows.md` is the guide.
"""

from __future__ import annotations

from meshcode.client.flows.composition import (
    Composition,
    Signature,
    funnel,
    parallel,
    pipeline,
    segment,
)
from meshcode.client.flows.flow import Flow

__all__ = ["pipeline", "parallel", "funnel", "segment", "Composition", "Signature", "Flow"]
