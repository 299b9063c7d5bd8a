"""A run of a flow for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from meshcode.client.aio import AsyncCall
from meshcode.client.call import deadline_of, seconds_of
from meshcode.client.flows.flow import Flow, Progress, Step

if TYPE_CHECKING:
    from meshcode.client.flows.graph import Graph
    from meshcode.client.options import Seconds


class AsyncFlow(AsyncCall):
    """A handle of one run for asyncio: `await flow` gives its value or raises its error."""

    __slots__ = ()

    sync: Flow

    async def result(self, timeout: Seconds | None = None, propagate: bool = True) -> Any:
        """As `Flow.result`."""
        if propagate:
            return await super().result(timeout)
        seconds = seconds_of(timeout)
        deadline = deadline_of(seconds)
        await super().result(seconds, propagate=False)
        return await asyncio.to_thread(self.sync._told, deadline, seconds)

    async def __aiter__(self) -> AsyncIterator[Any]:
        """The values of its branches, in order, each as soon as it is there."""
        for branch in await self.branches():
            yield await _value_of(branch)

    async def steps(self) -> list[Step]:
        """As `Flow.steps`; a step can be awaited."""
        return await asyncio.to_thread(lambda: self.sync.steps)

    async def branches(self) -> list[Any]:
        """As `Flow.branches`; a step can be awaited."""
        return await asyncio.to_thread(self.sync.branches)

    async def status(self) -> str:
        """As `Flow.status`, which is a property: here it is `await flow.status()`."""
        return await asyncio.to_thread(lambda: self.sync.status)

    async def progress(self) -> Progress:
        """As `Flow.progress`."""
        return await asyncio.to_thread(self.sync.progress)

    async def results(self, timeout: Seconds | None = None) -> list[tuple[Step, Any]]:
        """As `Flow.results`."""
        return await asyncio.to_thread(self.sync.results, timeout)

    async def graph(self, states: bool = False) -> Graph:
        """As `Flow.graph`."""
        return await asyncio.to_thread(self.sync.graph, states)

    async def retry(
        self, by: str | None = None, *, from_step: int | Step | None = None
    ) -> AsyncFlow:
        """As `Flow.retry`."""
        return AsyncFlow(await asyncio.to_thread(self.sync.retry, by, from_step=from_step))


async def _value_of(branch: Any) -> Any:
    if isinstance(branch, list):
        return [await _value_of(inner) for inner in branch]
    return await branch
