"""The settings of the whole mesh: what there is, its bounds, and what holds when nobody says it.

The settings of one machine (where its home is, how it prints) are in `meshcode/config.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshcode import limits
from meshcode.model.checks import QUEUE_BYTES_MAX, TIME_MS_MAX, near


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: a whole number in the unit that its name ends with."""

    least: int
    most: int
    default: int | None  # None: what the settings of each machine say (`mesh config`).
    text: str  # What nodes do with it.


# A node reads each of them when it takes over a snapshot: node/loop.py, `apply_snapshot`.
SETTINGS: dict[str, Setting] = {
    "retention_age_ms": Setting(
        60_000, TIME_MS_MAX, None, "outcomes and output are readable so long"
    ),
    "retention_calls": Setting(
        1_000, 1_000_000_000, None, "outcomes kept on one node; oldest go first"
    ),
    "retention_bytes": Setting(
        1 << 20, QUEUE_BYTES_MAX, None, "bytes of outcomes kept on one node; oldest go first"
    ),
    "worker_calls": Setting(
        1, limits.OPEN_CALLS_MAX, 1_000_000, "calls after which a worker is replaced"
    ),
    "worker_age_ms": Setting(
        1_000, TIME_MS_MAX, 24 * 3_600_000, "age at which a worker is replaced"
    ),
    "worker_bytes": Setting(
        16 << 20, QUEUE_BYTES_MAX, 2 << 30, "memory at which a worker is replaced"
    ),
    "stop_grace_ms": Setting(
        0, 24 * 3_600_000, 30_000, "a running call may take so long when its worker is to leave"
    ),
    "mount_retry_ms": Setting(
        1_000, 24 * 3_600_000, 30_000, "pause before a failed fetch of code is tried again"
    ),
    "import_ms": Setting(
        1_000, 3_600_000, limits.IMPORT_MS_MAX, "importing a processor's module may take so long"
    ),
    "mounts_max": Setting(1, 64, 8, "processors whose code one node fetches at once"),
}


def problem(name: str, value: int) -> str:
    """What is wrong with a setting of this name and value; empty when nothing is."""
    found = SETTINGS.get(name)
    if found is None:
        known = ", ".join(SETTINGS)
        return f"the mesh has no setting {name!r}{near(name, SETTINGS)}; it has: {known}"
    if not found.least <= value <= found.most:
        return (
            f"setting {name!r}: value is {value}; it must be a whole number from {found.least}"
            f" to {found.most}"
        )
    return ""


def values(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """All settings as a snapshot has them, with the defaults of those it does not say."""
    said = snapshot.get("settings") or {}
    return {
        name: said[name]["value"] if name in said else setting.default
        for name, setting in SETTINGS.items()
    }
