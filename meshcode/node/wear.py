"""When a worker has run for long enough, so that another takes its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshcode.node.crew import WorkerProcess


def of_calls(worker: WorkerProcess, fields: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Why a worker is to be replaced for the number of its calls; "" when it is not.

    Args:
        worker: one that is ready.
        fields: of its processor; `recycle_*` go before the settings.
        settings: of the mesh.
    """
    calls = fields.get("recycle_calls") or settings["worker_calls"]
    if worker.calls < calls:
        return ""
    return f"recycled after {worker.calls} calls, the limit is {calls}"


def of_any_kind(
    worker: WorkerProcess, fields: Mapping[str, Any], settings: Mapping[str, Any], now_ms: int
) -> str:
    """The same for calls, age, memory, and sockets that want another number of calls at once."""
    age_ms = fields.get("recycle_age_ms") or settings["worker_age_ms"]
    resident = fields.get("recycle_bytes") or settings["worker_bytes"]
    assert worker.page is not None
    if why := of_calls(worker, fields, settings):
        return why
    if now_ms - worker.ready_ms >= age_ms:
        return f"recycled after {now_ms - worker.ready_ms} ms, the limit is {age_ms} ms"
    if worker.page.resident > resident:
        return f"recycled at {worker.page.resident} bytes of memory, the limit is {resident}"
    if worker.slots_now != worker.slots:  # Its first `async def` came, or the last went.
        return f"it runs {worker.slots} calls at once, its sockets allow {worker.slots_now}"
    return ""
