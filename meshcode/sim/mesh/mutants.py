"""Rules of agreement broken on purpose; the seeds must catch each.

A mutant replaces one function, or a few that keep one rule, by a version without it, as a careless
change would leave it: `mutants_agreement` for `meshcode/replica`, `mutants_work` for the turn law,
the router and the fence, `mutants_flows` for flows, `mutants_plugs` for plugs, joins and
schedules, `mutants_casts` for broadcasts, `mutants_streams` for streams.  `python -m
meshcode.sim.mesh --mutants` tells the seeds each took.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from meshcode.sim import planting
from meshcode.sim.mesh import (
    mutants_agreement,
    mutants_casts,
    mutants_flows,
    mutants_plugs,
    mutants_streams,
    mutants_work,
    streams,
)

# Rules that these worlds reach too seldom to show within 5,000 seeds that they are needed, and why
# each is kept; `docs/simulation.md` has more.  A run of all mutants tries them too.
RARE = {
    "step-that-was-a-guest-forgets-what-it-was-fed": "caught at 788 in worlds of 2026-11-26, then "
    "not in 5,000: the owner of a step, which a peer runs, must die between feeding and end of it",
    "oldest-accepted-value-is-proposed": "caught at 746 before worlds had flows, now after 1,300",
    "what-is-told-with-its-value-is-heard-last": "caught at 135 while who had agreed was told "
    "again; since then not in 620",
    "keepers-are-told-of-a-value-once": "caught at 145 in worlds of before; then not in 1,000",
    "collector-that-moved-is-made-again": "caught at 2275 in worlds of before; not looked "
    "for since; tests/router/test_joins_between.py has it",
    "older-life-of-the-owner-counts": "perhaps equivalent: a claim is written before it is told",
    "moved-call-forgets-its-attempts": "needs a call that died twice, moved, and died again",
    "value-that-was-taken-over-goes-to-the-newest-collector": "not caught in 2,000: a new owner "
    "must claim with the counter of the first, after other values were named",
    "end-elsewhere-is-not-looked-up": "not caught in 150 worlds with generators: TOLD is repeated, "
    "so that only who is no voter of what an item causes has to ask",
    "report-counts-although-items-have-not-come": "a peer keeps its report until its items have "
    "been taken: this is a second lock",
    "outcome-that-was-just-filed-is-unknown-to-the-rest-of-the-answer": "caught at 300347 before "
    "what has run was looked at before it moves; tests/router/test_joins_between.py has it",
    "no-record-means-it-has-seen": "caught once, at seed 3,066, among failures of others",
    "generator-moves-away-from-its-items": "caught at 1004683 while all outcomes were told in two "
    "phases (decision 0037); tests/router/test_streams_between.py has it",
    "nobody-takes-the-place-of-a-generator-that-left": "caught at 1007691 in those worlds; "
    "tests/router/test_streams_between.py has it",
    "owner-that-knows-of-no-other-takes-items-for-new": "caught at 1002038 in those worlds",
    "three-who-make-a-tick-ask-nobody": "caught at 1005851 in those worlds; "
    "tests/router/test_ticking.py has it",
    "keeper-that-restarts-forgets-that-a-call-has-moved": "caught at 263 in those worlds; "
    "tests/router/test_joins_between.py has it",
    "proposal-leaves-before-anybody-has-answered": "needs a crash before the record that names the "
    "voters is on disk, and an outcome that they choose; tests/router/test_early.py",
}

MUTANTS = {
    **mutants_work.BROKEN.plants,
    **mutants_agreement.BROKEN.plants,
    **mutants_flows.BROKEN.plants,
    **mutants_plugs.BROKEN.plants,
    **mutants_casts.BROKEN.plants,
    **mutants_streams.BROKEN.plants,
}

BEGINS = dict.fromkeys(mutants_streams.BROKEN.plants, streams.FROM_SEED)  # Where to search.


def planted(name: str | None) -> AbstractContextManager[None]:
    """Break one rule while the block runs; None breaks none."""
    return planting.planted(MUTANTS, name)


__all__ = ["BEGINS", "MUTANTS", "RARE", "planted"]
