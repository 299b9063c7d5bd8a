"""The search for seeds that notice a broken rule."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from meshcode.sim.hunt import Hunt


def failures(low: int, high: int, mutant: str | None) -> Iterator[tuple[int, str]]:
    """Worlds that fail without any mutant at 1003, and with one at each third seed."""
    failing = (seed for seed in range(low, high) if seed == 1003 or (mutant and seed % 3 == 0))
    return ((seed, "it failed") for seed in failing)


def test_seeds_are_searched_from_where_the_worlds_of_a_mutant_begin(tmp_path: Path):
    """Where a world fails without the mutant, too, it proves nothing."""
    known = tmp_path / "caught.json"
    known.write_text(json.dumps({"late": [1005]}))
    hunt = Hunt(failures, known, begins={"late": 1000})

    hunt.learn(["late", "early"])

    assert json.loads(known.read_text()) == {"early": [0, 3, 6], "late": [1005, 1002, 1008]}
