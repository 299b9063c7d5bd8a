"""The `mesh` command: one file per noun; parse, call, print."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `mesh` with these arguments, by default those of the process; return the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["--version"]:  # Scripts ask this often; it costs a bare Python and nothing more.
        from meshcode import __version__

        print(f"mesh {__version__}")
        return 0
    if "_MESH_COMPLETE" in os.environ:  # A Tab: the script of `mesh completion` asks.
        from meshcode.cli.tab import main as tab

        return tab()
    from meshcode.cli.app import run

    return run(given)
