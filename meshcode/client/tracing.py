"""Where a call comes from: the trace around it, and the call of the task that makes it.

    from meshcode.client.tracing import traced

    with traced("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"):
        Socket("shop.clean")("some text")

The trace of a call is the option `trace` of its socket; else that of `traced`; else the current
span of OpenTelemetry, when the program has that library loaded; else, inside a task, that of the
attempt which runs.  Nothing is imported here to find out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from meshcode.errors import BadRequest
from meshcode.ids import NO_ID
from meshcode.wire.traceparent import child_of, is_valid

current: ContextVar[str | None] = ContextVar("meshcode_traceparent", default=None)


class Origin(NamedTuple):
    """What a new call inherits; NO_ID and None when there is nothing to inherit."""

    flow: bytes  # Empty: the call is the root of a flow, which has its id.
    parent: bytes
    trace: str | None


NOWHERE = Origin(b"", NO_ID, None)


@contextmanager
def traced(traceparent: str) -> Iterator[None]:
    """Calls made inside of the block belong to this trace, in asyncio tasks begun there too.

    Raises:
        BadRequest: it is no W3C traceparent.
    """
    if not is_valid(traceparent):
        raise BadRequest(
            f"a W3C traceparent is 00-TRACE-SPAN-FLAGS in hex, not {traceparent!r:.80}"
        )
    token = current.set(traceparent)
    try:
        yield
    finally:
        current.reset(token)


def origin() -> Origin:
    """What a call made here and now inherits."""
    modules = sys.modules
    context = modules.get("meshcode.worker.context")
    staged = None if context is None else context.running_call()
    trace = current.get()
    if trace is None and "opentelemetry.trace" in modules:
        trace = _span(modules["opentelemetry.trace"])
    if staged is None:
        return NOWHERE if trace is None else Origin(b"", NO_ID, trace)
    row, frame, attempt = staged
    if trace is None and row.meta_at < row.body_at:
        from meshcode.wire.codec import unpack

        options = unpack(frame[row.meta_at : row.body_at])
        given = options.get("trace") if isinstance(options, dict) else None
        trace = child_of(given, row.id, attempt)
    return Origin(row.flow if row.flow != NO_ID else row.id, row.id, trace)


def _span(library: Any) -> str | None:
    """The traceparent of OpenTelemetry's current span; None when there is none."""
    try:
        context = library.get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
    except Exception:  # Half loaded, or of another version: no reason to lose a call.
        return None
