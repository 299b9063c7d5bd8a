"""What a composition means: its value, worked out in plain Python in this process.

The mesh gives the same value; tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshcode.client.flows.composition import (
    Composition,
    Funnel,
    Parallel,
    Pipeline,
    Segment,
    Signature,
)
from meshcode.errors import BadRequest, UnknownSocket


def evaluate(
    composition: Composition,
    functions: Mapping[str, Callable[..., Any]],
    *args: Any,
    **kwargs: Any,
) -> Any:
    """The value of a composition when its sockets are these functions, called one at a time.

    Args:
        functions: by the name of the socket.
        args: as for calling the composition.
        kwargs: the same.

    Raises:
        UnknownSocket: there is no function for a socket.
        BadRequest: a funnel has no body.
        Exception: whatever a function raised.
    """
    if isinstance(composition, Signature):
        function = functions.get(composition.socket.name)
        if function is None:
            raise UnknownSocket(f"there is no function for socket {composition.socket.name!r}")
        return function(*args, *composition.args, **{**composition.kwargs, **kwargs})
    if isinstance(composition, Segment):
        composition = composition.chunks()
    if isinstance(composition, Pipeline):
        first, *others = composition.parts
        value = evaluate(first, functions, *args, **kwargs)
        for stage in others:
            value = evaluate(stage, functions, value)
        return value
    assert isinstance(composition, Parallel | Funnel), "there is no other composition"
    values = [evaluate(part, functions, *args, **kwargs) for part in composition.parts]
    if isinstance(composition, Parallel):
        return values
    if composition.body is None:
        raise BadRequest("a funnel has no body; give it one: funnel([...], body)")
    return evaluate(composition.body, functions, values)
