"""Framing in two twins: C where it was compiled, pure Python everywhere.

Both have the same four functions (`index`, `check`, `seal`, `scan`) and give the same rows and the
same faults for the same bytes.  `TWIN` says which one is in use: `"c"` or `"pure"`; the environment
variable MESHCODE_PURE=1 chooses pure at run time, and skips the C build at install time.
"""

from __future__ import annotations

import os

from meshcode.native import pure

TWIN = "pure"
index = pure.index
check = pure.check
seal = pure.seal
scan = pure.scan

if os.environ.get("MESHCODE_PURE", "") in ("", "0"):
    try:
        from meshcode.native import compiled
    except ImportError:  # Not compiled here: the pure twin does the same, slower.
        pass
    else:
        TWIN = "c"
        index = compiled.index
        check = compiled.check
        seal = compiled.seal
        scan = compiled.scan

__all__ = ["TWIN", "index", "check", "seal", "scan"]
