"""Call ids: 16 bytes that sort by the time they were made.

The layout is UUID version 7 (RFC 9562): 48 bits of Unix milliseconds, then random bits, so an id
prints as an ordinary UUID and neighbours in time are neighbours in the log.  Whoever makes a call
makes its id; repeating a submit with the same id is harmless.
"""

from __future__ import annotations

import os
import time

from meshcode.digest import blake2b

ID_BYTES = 16
NO_ID = bytes(ID_BYTES)
# Of the last 10 bytes: what may be anything, and version and variant of the UUID.
_RANDOM, _FORM = 0x0FFF_3FFF_FFFF_FFFF_FFFF, 0x7000_8000_0000_0000_0000


def unix_ms() -> int:
    """The wall clock, in Unix milliseconds: to compare with other machines, and for people."""
    return time.time_ns() // 1_000_000


def make_ids(count: int, made_ms: int | None = None) -> list[bytes]:
    """Make `count` fresh call ids in one go; reads the clock and the system's random source.

    Ids of one call are in ascending order, so a batch keeps its order in listings.  `made_ms`: when
    they are made, in Unix milliseconds; None: now.
    """
    head = (unix_ms() if made_ms is None else made_ms).to_bytes(6, "big")
    # rand_a (12 bits) and rand_b (62 bits) become one counter with a random start: ordered, unique.
    start = int.from_bytes(os.urandom(9), "big") >> 1
    ids = []
    for n in range(start, start + count):
        rand = n & ((1 << 74) - 1)
        high = 0x7000 | (rand >> 62)
        low = (1 << 63) | (rand & ((1 << 62) - 1))
        ids.append(head + high.to_bytes(2, "big") + low.to_bytes(8, "big"))
    return ids


def make_id() -> bytes:
    """Make one fresh call id."""
    return make_ids(1)[0]


def child_id(parent: bytes, edge: bytes) -> bytes:
    """The id of the call that `parent` causes along `edge`: always the same for the same two.

    It keeps the parent's time, so re-running a step after a crash meets its own children.
    """
    number = int.from_bytes(blake2b(edge, key=parent, digest_size=10).digest(), "big")
    return parent[:6] + (number & _RANDOM | _FORM).to_bytes(10, "big")


def numbered_ids(parent: bytes, count: int) -> list[bytes]:
    """What `child_id` gives for the edges `0`, `1` and so on, `count` of them, at half the price.

    All digests begin with the same key, so that is taken in once.
    """
    head, keyed, found = parent[:6], blake2b(key=parent, digest_size=10), []
    for edge in range(count):
        digest = keyed.copy()
        digest.update(b"%d" % edge)
        number = int.from_bytes(digest.digest(), "big")
        found.append(head + (number & _RANDOM | _FORM).to_bytes(10, "big"))
    return found


def unix_ms_of(call_id: bytes) -> int:
    """The Unix milliseconds at which the id was made, as its maker's clock had it."""
    return int.from_bytes(call_id[:6], "big")


def utc_of(unix_ms: int) -> str:
    """A time of an id, or of a clock it is held against, for people."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_ms // 1000))
    except (OverflowError, ValueError, OSError):  # No clock of a machine reaches that far.
        return f"{unix_ms} ms after 1970"


def text_of(call_id: bytes) -> str:
    """The id as people see it: `0192f3c1-....`, 36 characters."""
    h = call_id.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def parse_id(text: str) -> bytes:
    """Read an id as people write it, with or without dashes.

    Raises:
        ValueError: the text is not 32 hexadecimal digits.
    """
    digits = text.replace("-", "")
    if len(digits) != 2 * ID_BYTES:
        raise ValueError(f"a call id has 32 hexadecimal digits, this has {len(digits)}: {text!r}")
    return bytes.fromhex(digits)
