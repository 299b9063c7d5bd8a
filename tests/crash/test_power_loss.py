"""No cut of the power loses, halves or invents an acknowledged turn; images.py says how it is made.

More images: `python tests/crash/images.py --images 50000 --seed 2`.
"""

from __future__ import annotations

from pathlib import Path

import images
import pytest


@pytest.mark.parametrize("kind", images.LOGS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_image_holds_exactly_what_was_acknowledged(
    disk_library: Path, seed: int, kind: str
):
    result = images.run(disk_library, 100, seed=seed, kind=kind)

    assert result.images == 100
    assert not result.wrong


@pytest.mark.parametrize("control", list(images.CONTROLS))
def test_a_log_that_cheats_is_caught(disk_library: Path, control: str):
    """Without these the test above could be blind."""
    result = images.run(disk_library, 60, seed=1, control=control)

    assert sum(result.wrong.values()) >= 6
