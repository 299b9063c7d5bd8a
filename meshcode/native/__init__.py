"""Framing in two twins: C where it was compiled, pure Python everywhere.

Both have the same functions (`index`, `index_plain`, `check`, `seal`, `scan`), and give the same
rows and the same faults for the same bytes.  `TWIN` says which one is in use: `"c"` or `"pure"`;
the environment variable MESHCODE_PURE=1 chooses pure at run time, and skips the C build at install
time.

The same library has the C that writes the log (staging.c); who uses it is `meshcode.store.binding`.
"""

from __future__ import annotations

import os

_PURE_WANTED = os.environ.get("MESHCODE_PURE", "") not in ("", "0")

try:
    if _PURE_WANTED:
        raise ImportError("MESHCODE_PURE is set")
    from meshcode.native.compiled import check, index, index_plain, scan, seal

    TWIN = "c"
except ImportError:  # Not wanted or not compiled here: the pure twin does the same, slower.
    from meshcode.native.pure import check, index, index_plain, scan, seal

    TWIN = "pure"

__all__ = ["TWIN", "index", "index_plain", "check", "seal", "scan"]
