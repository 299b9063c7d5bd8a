"""Broken rules, and the seeds whose worlds notice them: those known first, then a search.

A rule may need one world in a thousand to show that it is needed.  So the seeds that caught each
mutant are kept beside the simulator (`caught.json`), and trying all mutants takes a world or two
each.  When the rules or the worlds have changed and none of its seeds notices a mutant any more,
it is searched for from seed 0 on, or from where its worlds begin, and the file is written anew
with `--learn`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

# The seeds from the first to before the second that fail with a mutant planted, and why.
Failures = Callable[[int, int, str | None], Iterator[tuple[int, str]]]
Catch = tuple[int, str]

SEARCHED = 5_000  # Seeds a mutant may take that its known ones do not catch.
LEARNT = 3  # Seeds kept for each mutant.


@dataclass(frozen=True)
class Hunt:
    """One simulator's mutants.

    Attributes:
        failures: runs its worlds.
        known: the file of the seeds that caught each mutant.
        rare: mutants that `searched` seeds may miss, with the reason why each is kept; they are
            searched for only on request (`learn`).
        begins: the seed from which on there are worlds that can notice a mutant, where not from 0.
        searched: seeds of a search.
    """

    failures: Failures
    known: Path
    rare: Mapping[str, str] = field(default_factory=dict)
    begins: Mapping[str, int] = field(default_factory=dict)
    searched: int = SEARCHED

    def catches(self, name: str) -> Iterator[Catch]:
        """The seeds that notice a mutant and nothing without it: known ones, then one after the
        other.
        """
        known, low = self.seeds().get(name, []), self.begins.get(name, 0)
        yield from self._known_catches(name)
        for catch in self._catches(low, low + self.searched, name):
            if catch[0] not in known:
                yield catch

    def _known_catches(self, name: str) -> Iterator[Catch]:
        for seed in self.seeds().get(name, []):
            yield from self._catches(seed, seed + 1, name)

    def _catches(self, low: int, high: int, name: str) -> Iterator[Catch]:
        for seed, text in self.failures(low, high, name):
            if text.startswith("TypeError") and "argument" in text:
                raise AssertionError(f"mutant {name} has other arguments than its rule: {text}")
            if not any(self.failures(seed, seed + 1, None)):
                yield seed, text

    def seeds(self) -> dict[str, list[int]]:
        """The seeds that are known to catch each mutant."""
        seeds: dict[str, list[int]] = json.loads(self.known.read_text())
        return seeds

    def run(self, names: Iterable[str], learn: list[str] | None) -> int:
        """Check all mutants, or learn some (all when the list is empty); 1 when one was missed."""
        if learn is None:
            return min(1, self.check(names))
        self.learn(learn or names)
        return 0

    def check(self, names: Iterable[str]) -> int:
        """Plant each mutant alone and tell what caught it; how many nothing did, rare ones not
        counted."""
        names, missed = list(names), 0
        for name in names:
            is_rare = name in self.rare
            catch = next(self._known_catches(name) if is_rare else self.catches(name), None)
            missed += catch is None and not is_rare
            print(f"{name:34} {self._told(name, catch)}", flush=True)
        print(f"{len(names)} mutants: {missed} not caught that should be")
        return missed

    def _told(self, name: str, catch: Catch | None) -> str:
        if catch is not None:
            return f"caught by seed {catch[0]}: {catch[1][:110]}"
        if name in self.rare:
            return f"not looked for: {self.rare[name]}"
        return f"NOT caught by {self.searched} seeds"

    def learn(self, names: Iterable[str]) -> None:
        """Find the seeds that catch each of these mutants, and write them down."""
        for name in names:
            found = [seed for seed, _ in islice(self.catches(name), LEARNT)]
            print(f"{name:34} {found}", flush=True)
            rows = sorted({**self.seeds(), name: found}.items())
            lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in rows)
            self.known.write_text(f"{{\n{lines}\n}}\n")


__all__ = ["Catch", "Failures", "Hunt"]
