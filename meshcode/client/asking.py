"""The same question about many things, without waiting for one answer before the next is asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from meshcode.errors import MeshError

if TYPE_CHECKING:
    from meshcode.client.client import Client
    from meshcode.client.requests import Ask
    from meshcode.client.wake import Waiter

AHEAD: Final = 512  # Asked and not yet answered; what the node does for them shares its syncs.


def ask_each(
    client: Client,
    operation: str,
    each: Iterable[dict[str, Any]],
    *,
    timeout: float | None,
    ahead: int = AHEAD,
) -> Iterator[Any]:
    """What the node answers to each request, in their order.

    Args:
        client: whose node is asked.
        operation: as of `Client.ask`.
        each: the fields of each request; read as far as is asked ahead.
        timeout: seconds to wait for the answer that is next.
        ahead: how many may be without an answer.

    Returns:
        Answers; where the node refused, the `MeshError` as a value.  Who stops reading has had up
        to `ahead` more requests sent than were told.

    Raises:
        WaitTimeout: the node is there and did not answer in time.
    """
    asked: deque[tuple[Ask, Waiter]] = deque()
    for fields in each:
        asked.append(client._begin(operation, fields))
        if len(asked) >= ahead:
            yield _answer(client, *asked.popleft(), timeout)
    while asked:
        yield _answer(client, *asked.popleft(), timeout)


def _answer(client: Client, request: Ask, waiter: Waiter, timeout: float | None) -> Any:
    client._wait_for(request, waiter, timeout)
    try:
        return request.value()
    except MeshError as error:
        return error
