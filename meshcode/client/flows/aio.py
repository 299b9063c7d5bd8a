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
        branches = await asyncio.to_thread(self.sync._watched_branches)
        for branch in branches:
            yield await _value_of(_wrapped(branch))

    async def steps(self) -> list[AsyncStep]:
        """As `Flow.steps`."""
        return [AsyncStep(step) for step in await asyncio.to_thread(lambda: self.sync.steps)]

    async def branches(self) -> list[Any]:
        """As `Flow.branches`."""
        return [_wrapped(branch) for branch in await asyncio.to_thread(self.sync.branches)]

    async def status(self) -> str:
        """As `Flow.status`, which is a property: here it is `await flow.status()`."""
        return await asyncio.to_thread(lambda: self.sync.status)

    async def progress(self) -> Progress:
        """As `Flow.progress`."""
        return await asyncio.to_thread(self.sync.progress)

    async def results(self, timeout: Seconds | None = None) -> list[tuple[AsyncStep, Any]]:
        """As `Flow.results`."""
        found = await asyncio.to_thread(self.sync.results, timeout)
        return [(AsyncStep(step), value) for step, value in found]

    async def graph(self, states: bool = False) -> Graph:
        """As `Flow.graph`."""
        return await asyncio.to_thread(self.sync.graph, states)

    async def retry(
        self, by: str | None = None, *, from_step: int | Step | AsyncStep | None = None
    ) -> AsyncFlow:
        """As `Flow.retry`."""
        given = from_step.sync if isinstance(from_step, AsyncStep) else from_step
        return AsyncFlow(await asyncio.to_thread(self.sync.retry, by, from_step=given))


class AsyncStep(AsyncCall):
    """One step of a flow for asyncio: `await step` gives its value or raises its error."""

    __slots__ = ()

    sync: Step

    @property
    def number(self) -> int:
        """In the plan, from 0."""
        return self.sync.number

    @property
    def flow(self) -> AsyncFlow:
        """The run that it is a step of."""
        return AsyncFlow(self.sync.flow)

    @property
    def parents(self) -> list[AsyncStep]:
        """The steps whose values it takes, in their order."""
        return [AsyncStep(step) for step in self.sync.parents]

    @property
    def children(self) -> list[AsyncStep]:
        """The steps that take its value."""
        return [AsyncStep(step) for step in self.sync.children]


def _wrapped(branch: Any) -> Any:
    """A branch, or those within it, for asyncio."""
    return [_wrapped(inner) for inner in branch] if isinstance(branch, list) else AsyncStep(branch)


async def _value_of(branch: Any) -> Any:
    if isinstance(branch, list):
        return [await _value_of(inner) for inner in branch]
    return await branch
