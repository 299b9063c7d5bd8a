"""Environments and worktrees that nobody mounts are removed; those in use never."""

from __future__ import annotations

import os
from pathlib import Path

from meshcode.worker.mount import clean_up

DAY_S = 86_400


def a_cache(folder: Path, ages_days: dict[str, int]) -> None:
    """A cache with one environment and one worktree for each name, last used so long ago."""
    for name, days in ages_days.items():
        environment = folder / "envs" / name
        tree = folder / "trees" / "repo" / name
        for part in (environment, tree):
            part.mkdir(parents=True)
        marks = (environment / "mesh-env.json", tree.with_name(f"{name}.whole"))
        for mark in marks:
            mark.write_text("{}")
            stamp = mark.stat().st_mtime - days * DAY_S
            os.utime(mark, (stamp, stamp))


def left(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the environments and worktrees that are there."""
    trees = [path.name for path in (folder / "trees" / "repo").iterdir() if path.is_dir()]
    return sorted(path.name for path in (folder / "envs").iterdir()), sorted(trees)


def test_what_was_not_mounted_for_a_month_is_removed(tmp_path: Path):
    """`old-used` is as old as `old`, but a processor runs it."""
    a_cache(tmp_path, {"old": 31, "old-used": 90, "young": 3, "now": 40})
    tree = str(tmp_path / "trees" / "repo")
    request = {
        "cache": str(tmp_path),
        "in_use": {"keys": ["old-used"], "worktrees": [f"{tree}/old-used"]},
    }

    removed = clean_up(request, {"key": "now", "worktree": f"{tree}/now"})

    assert removed == 2
    assert left(tmp_path) == (["now", "old-used", "young"], ["now", "old-used", "young"])


def test_a_mount_that_does_not_say_what_is_in_use_removes_nothing(tmp_path: Path):
    a_cache(tmp_path, {"old": 31})

    assert clean_up({"cache": str(tmp_path)}, {"key": "x", "worktree": "y"}) == 0
    assert left(tmp_path) == (["old"], ["old"])
