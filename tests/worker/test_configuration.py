"""The file that tells a worker what it is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from meshcode.worker import configuration


def test_it_is_private_and_gone_when_it_was_read(tmp_path: Path):
    path = str(tmp_path / "config")
    told = {
        "worker": 3,
        "cpu": None,
        "import_path": ["/r\udce9pertoire", "/plain"],  # A folder whose name is not UTF-8.
        "overrides": {"a": [1.5, True, "\u00e4"]},
        "limits": {},
    }

    configuration.write(path, told)

    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert configuration.take(path) == told
    assert os.listdir(tmp_path) == []
