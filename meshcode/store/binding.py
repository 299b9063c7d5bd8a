"""Which twin does what the log needs of LMDB: our own C where it is, the Python package elsewhere.

Both give the same rows, the same errors and the same files.  `BINDING` says which one is in use:
`"c"` or `"py"`.  What chooses the framing chooses here (`meshcode.native`): MESHCODE_PURE=1, or no
compiler, and it is `"py"`; so it is where the package lmdb has not the LMDB that the C knows.
"""

from __future__ import annotations

from meshcode import native
from meshcode.store.engine import OpenEngine
from meshcode.store.engine_py import PyEngine

open_engine: OpenEngine = PyEngine
BINDING = "py"
if native.TWIN == "c":
    try:
        from meshcode.store.engine_c import NativeEngine
    except ImportError:
        pass  # Built without it, or for another LMDB: the twin does the same, slower.
    else:
        open_engine = NativeEngine
        BINDING = "c"
