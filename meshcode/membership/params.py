"""How patient a pair of nodes is with each other: three profiles, and the sums made from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Params:
    """One column of the table in docs/membership.md.  All times are milliseconds."""

    name: str  # "lan", "wan" or "edge"; a member may ask for one by `meta["timing"]`.
    probe_ms: int  # From one probe to the next.
    timeout_ms: int  # The least time a direct probe may take.
    indirect: int  # Members that are asked to probe when the direct one failed.
    suspicion_probes: int  # The least suspicion lasts so many probe intervals (times log10 n) ...
    suspicion_grows: bool  # ... whether it grows with log10 of the members.
    suspicion_factor_max: int  # ... and so many times longer while nobody confirms it.
    confirmations: int  # Further accusers that bring it down to the least.
    gossip_ms: int  # Between rounds of gossip, while there is news.
    sync_ms: int  # Between comparisons of the whole table with one member.
    reconnect_ms: int  # Between knocks at one of the dead.

    def suspicion_ms(self, live: int, accusers: int) -> int:
        """How long a suspicion lasts before it is a verdict.

        Args:
            live: members not known to be gone, this node included.
            accusers: members that found the suspect silent, at least 1.
        """
        scale = max(1.0, math.log10(max(live, 1))) if self.suspicion_grows else 1.0
        least = self.suspicion_probes * self.probe_ms * scale
        possible = min(self.confirmations, live - 2)  # Neither the suspect nor the first accuser.
        if possible <= 0:
            return round(least)
        most = least * self.suspicion_factor_max
        shrink = math.log(max(accusers, 1)) / math.log(possible + 1)
        return round(max(least, most - (most - least) * shrink))


LAN = Params("lan", 1_000, 500, 3, 4, True, 6, 2, 200, 30_000, 10_000)
WAN = Params("wan", 5_000, 3_000, 3, 6, True, 6, 2, 200, 60_000, 30_000)
# Whole tables travel on reconnect; the comparison every ten minutes is one small message.
EDGE = Params("edge", 15_000, 8_000, 1, 6, False, 4, 1, 1_000, 600_000, 60_000)

PROFILES = {params.name: params for params in (LAN, WAN, EDGE)}
KINDS = {"core": LAN, "witness": LAN, "edge": EDGE}
_PATIENCE = {"lan": 0, "wan": 1, "edge": 2}


def slower(one: Params, other: Params) -> Params:
    """The more patient of two profiles: what a pair of nodes uses."""
    return one if _PATIENCE[one.name] >= _PATIENCE[other.name] else other


def profile_of(kind: str, meta: dict[str, Any]) -> Params:
    """The profile of one member: by its kind, or a slower one that its meta asks for."""
    asked = meta.get("timing")
    own = KINDS.get(kind, EDGE)
    if type(asked) is str and asked in PROFILES:
        return slower(own, PROFILES[asked])
    return own


def retransmissions(live: int) -> int:
    """How often one piece of news is passed on by each node that has it."""
    return 4 * math.ceil(math.log10(live + 1)) if live > 0 else 0
