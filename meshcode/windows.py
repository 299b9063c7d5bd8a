"""Windows over what comes one after the other: by count, by time, by gaps.

For tasks and for readers of streams alike; plain Python without a node.  Each takes any iterable,
or an async one and gives an async one back, and holds no more than the window that is open.

    for batch in by_count(call.stream(), 100): ...
    for minute in by_time(readings, 60, key=lambda reading: reading["at"]): ...
    async for visit in by_gap(clicks, 1_800, key=lambda click: click.at): ...

`by_time` and `by_gap` look at the time when an item comes, so a window ends with the first item
after it, or with the last of all.  Without `key` the time is that of arrival; then windows of two
runs differ.  With `key` an item that is late, that is of a window which has ended, comes in the
window that is open: nothing is left out.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar, overload

T = TypeVar("T")


class _Windows(Protocol[T]):
    """What one kind of window does with each item."""

    def add(self, item: T) -> list[T] | None:
        """Take the next item; the window that ends before or with it, if any does."""

    def last(self) -> list[T] | None:
        """No more items come: what is open, if it was not given yet."""


@overload
def by_count(items: Iterable[T], size: int, step: int | None = None) -> Iterator[list[T]]: ...
@overload
def by_count(
    items: AsyncIterable[T], size: int, step: int | None = None
) -> AsyncIterator[list[T]]: ...
def by_count(items: Any, size: int, step: int | None = None) -> Any:
    """Lists of `size` items; the last one may be shorter.

    Args:
        items: an iterable, or an async one.
        size: items of one window, at least 1.
        step: items from the begin of one window to that of the next: less than `size` overlaps,
            more leaves some out.  None: `size`, each item is in one window.

    Raises:
        ValueError: `size` or `step` is less than 1.
    """
    for name, value in (("size", size), ("step", size if step is None else step)):
        if value < 1:
            raise ValueError(f"the {name} of a window is at least 1 item, not {value}")
    return _run(items, _ByCount(size, size if step is None else step))


@overload
def by_time(
    items: Iterable[T],
    seconds: float,
    clock: Callable[[], float] = ...,
    key: Callable[[T], float] | None = None,
) -> Iterator[list[T]]: ...
@overload
def by_time(
    items: AsyncIterable[T],
    seconds: float,
    clock: Callable[[], float] = ...,
    key: Callable[[T], float] | None = None,
) -> AsyncIterator[list[T]]: ...
def by_time(
    items: Any,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    key: Callable[[Any], float] | None = None,
) -> Any:
    """Lists of the items of `seconds` each, as the clock has them; empty windows are left out.

    Args:
        items: an iterable, or an async one.
        seconds: length of a window.  The first begins at a multiple of it, all follow each other.
        clock: gives the time of arrival in seconds; not looked at when there is a `key`.
        key: gives the time of an item in seconds; it should not go back, see the module's text.

    Raises:
        ValueError: `seconds` is not more than 0.
    """
    if not seconds > 0:
        raise ValueError(f"a window has more than 0 seconds, not {seconds}")
    return _run(items, _ByTime(seconds, key or (lambda _: clock())))


@overload
def by_gap(
    items: Iterable[T],
    seconds: float,
    clock: Callable[[], float] = ...,
    key: Callable[[T], float] | None = None,
) -> Iterator[list[T]]: ...
@overload
def by_gap(
    items: AsyncIterable[T],
    seconds: float,
    clock: Callable[[], float] = ...,
    key: Callable[[T], float] | None = None,
) -> AsyncIterator[list[T]]: ...
def by_gap(
    items: Any,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    key: Callable[[Any], float] | None = None,
) -> Any:
    """Sessions: lists of items with less than `seconds` from each to the next.

    Args:
        items: an iterable, or an async one.
        seconds: a gap of so much, or more, ends a session.
        clock: gives the time of arrival in seconds; not looked at when there is a `key`.
        key: gives the time of an item in seconds.

    Raises:
        ValueError: `seconds` is not more than 0.
    """
    if not seconds > 0:
        raise ValueError(f"a gap has more than 0 seconds, not {seconds}")
    return _run(items, _ByGap(seconds, key or (lambda _: clock())))


def _run(items: Any, windows: _Windows[Any]) -> Any:
    if hasattr(items, "__aiter__"):
        return _run_async(items, windows)
    return _run_sync(items, windows)


def _run_sync(items: Iterable[T], windows: _Windows[T]) -> Iterator[list[T]]:
    for item in items:
        window = windows.add(item)
        if window is not None:
            yield window
    window = windows.last()
    if window is not None:
        yield window


async def _run_async(items: AsyncIterable[T], windows: _Windows[T]) -> AsyncIterator[list[T]]:
    async for item in items:
        window = windows.add(item)
        if window is not None:
            yield window
    window = windows.last()
    if window is not None:
        yield window


class _ByCount:
    """Windows of so many items."""

    def __init__(self, size: int, step: int) -> None:
        self.size = size
        self.step = step
        self.open: deque[Any] = deque()
        self.skip = 0  # Items between two windows that are in none.
        self.fresh = 0  # Items of `open` that were in no window yet.

    def add(self, item: Any) -> list[Any] | None:
        if self.skip:
            self.skip -= 1
            return None
        self.open.append(item)
        self.fresh += 1
        if len(self.open) < self.size:
            return None
        window = list(self.open)
        self.fresh = 0
        for _ in range(min(self.step, self.size)):
            self.open.popleft()
        self.skip = max(0, self.step - self.size)
        return window

    def last(self) -> list[Any] | None:
        return list(self.open) if self.fresh else None


class _Timed:
    """The open window of those that end by the time of an item."""

    def __init__(self, seconds: float, time_of: Callable[[Any], float]) -> None:
        self.seconds = seconds
        self.time_of = time_of
        self.open: list[Any] = []
        self.until = -math.inf  # It takes items before this: a time, or a number of windows.

    def last(self) -> list[Any] | None:
        return self.open or None


class _ByTime(_Timed):
    """Windows of so many seconds."""

    def add(self, item: Any) -> list[Any] | None:
        number = math.floor(self.time_of(item) / self.seconds)
        if number < self.until:
            self.open.append(item)
            return None
        window, self.open, self.until = self.open, [item], number + 1
        return window or None


class _ByGap(_Timed):
    """Sessions."""

    def add(self, item: Any) -> list[Any] | None:
        at = self.time_of(item)
        if self.open and at < self.until:
            self.open.append(item)
            self.until = max(self.until, at + self.seconds)
            return None
        window, self.open, self.until = self.open, [item], at + self.seconds
        return window or None


__all__ = ["by_count", "by_gap", "by_time"]
