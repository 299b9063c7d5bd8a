"""One member as this node knows it, and the order in which claims about it beat each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from meshcode.membership.params import LAN, Params

RTT_GAIN = 1 / 8  # Weight of a new round trip; TCP's choice.
RTT_SIGMAS = 4  # A direct probe waits for the mean and so many standard deviations.
TIMEOUT_FACTOR_MAX = 5  # However slow a link was: at most so many times its profile's timeout.


class State(IntEnum):
    """What is believed of a member.  At equal boot and incarnation the larger number wins."""

    ALIVE = 0
    LEAVING = 1  # It said that it will be back soon; it is not accused in that time.
    SUSPECT = 2
    DEAD = 3  # Shown to people as AWAY.  Never removed.
    LEFT = 4  # It said goodbye.
    EVICTED = 5  # By the roster alone; nothing beats it.

    @property
    def word(self) -> str:
        """As it is told to the rest of the node: "alive", "suspect", ..."""
        return _WORDS[self]


_WORDS = {state: state.name.lower() for state in State}

# What claims are compared by: boot, incarnation, state.  The largest claim is the truth, so the
# order in which claims arrive does not matter, nor whether they arrive twice.
Key = tuple[int, int, int]


@dataclass(slots=True)
class Member:
    """One row of the table."""

    node: bytes
    kind: str = "core"
    rotation: str = ""  # In which it is probed; empty when it is not.
    params: Params = LAN  # The slower profile of the pair: this node and the member.
    state: State = State.SUSPECT  # Until something is heard.
    boot: int = 0  # 0: nothing was ever heard.
    incarnation: int = 0
    meta: dict[str, Any] = field(default_factory=dict)
    meta_bytes: int = 1  # Upper bound of its packed size.
    meta_version: tuple[int, int] = (0, 0)  # boot, counter
    since_ms: int = 0  # When this state began, as seen from here.
    suspected_ms: int = 0  # Like since_ms, less the time this node did not watch.
    leaving_until_ms: int = 0
    accusers: tuple[bytes, ...] = ()  # Of a SUSPECT; each found it silent by itself.
    rtt_mean_ms: float | None = None
    rtt_variance: float = 0.0
    last_seq: int = 0  # Of the newest probe sent to it.
    last_sent_ms: int = 0
    pushed_ms: int | None = None  # When it was last sent the whole table.

    @property
    def key(self) -> Key:
        """What a claim must exceed to be believed."""
        return self.boot, self.incarnation, int(self.state)

    @property
    def live(self) -> bool:
        """Whether it is not known to be gone."""
        return self.state <= State.SUSPECT

    def measure(self, rtt_ms: int) -> None:
        """Count one round trip of a direct probe."""
        if self.rtt_mean_ms is None:
            self.rtt_mean_ms = float(rtt_ms)
            self.rtt_variance = (rtt_ms / 2) ** 2
            return
        error = rtt_ms - self.rtt_mean_ms
        self.rtt_mean_ms += RTT_GAIN * error
        self.rtt_variance = (1 - RTT_GAIN) * (self.rtt_variance + RTT_GAIN * error * error)

    def timeout_ms(self) -> int:
        """How long a direct probe of it may take: its profile's least, or mean + 4 sigma."""
        least = self.params.timeout_ms
        if self.rtt_mean_ms is None:
            return least
        wanted = self.rtt_mean_ms + RTT_SIGMAS * self.rtt_variance**0.5
        return int(min(max(least, wanted), TIMEOUT_FACTOR_MAX * least))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a listing."""

    node: bytes
    kind: str
    state: str
    since_ms: int
    rtt_ms: float | None  # None: never measured.
    boot: int
    incarnation: int
    meta: dict[str, Any]
