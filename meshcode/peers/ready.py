"""Whether a message waits at a link, for less than half of what it takes to try and be refused."""

from __future__ import annotations

from typing import Any, Final

import zmq

_EVENTS: Final = int(zmq.EVENTS)  # Arithmetic on members of an enum takes as long as all the rest.
_POLLIN: Final = int(zmq.POLLIN)


def has_message(link: zmq.Socket[Any]) -> bool:
    """Whether a message can be received from a link at once."""
    return int(link.getsockopt(_EVENTS)) & _POLLIN != 0
