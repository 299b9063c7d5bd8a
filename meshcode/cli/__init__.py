"""The `mesh` command: one file per noun; parse, call, print."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

GC_THRESHOLD = (100_000, 50, 100)
_EXIT_INTERRUPTED = 130  # As `app.py` has it, which is not there yet when Ctrl-C comes this early.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `mesh` with these arguments, by default those of the process; return the exit status."""
    try:
        return _main(arguments)
    except KeyboardInterrupt:  # Before there is a command: while the modules of it are loaded.
        return _EXIT_INTERRUPTED


def _main(arguments: Sequence[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    # Scripts ask this often; it costs a bare Python and nothing more.
    if given == ["--version"] and sys.stdout is not None:
        from meshcode import __version__

        with suppress(OSError):  # Below, where that is told, it comes again.
            print(f"mesh {__version__}", flush=True)
            return 0
    if "_MESH_COMPLETE" in os.environ:  # A Tab: the script of `mesh completion` asks.
        from meshcode.cli.tab import main as tab

        return tab()
    from meshcode.cli.app import run

    if arguments is None:
        # A process of one command: a file of thousands of objects is read in half the time when
        # they are not looked through for cycles again and again.
        gc.set_threshold(*GC_THRESHOLD)
    return run(given)
