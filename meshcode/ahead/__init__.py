"""The core compiled ahead of time: the same source, made into machine code by mypyc.

    python -m meshcode.ahead     compile; `./dev compile` in a checkout

A node calls `use` before it imports the core.  What was compiled is taken only where it was made
from the very source that lies here, by this Python; else the source itself runs, slower.  So a
changed file has its effect at once, and simulations and tests, which plant broken rules into the
source, never see the machine code.  MESHCODE_PURE=1 leaves it out.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from meshcode.digest import blake2b

ROOT = Path(__file__).resolve().parent.parent  # The folder of the package meshcode.
BUILT = Path(__file__).resolve().parent / "built"  # One folder in it, by `key`.
PACKAGES = ("router", "replica")  # What is compiled: pure, and where the node's time goes.
# What of the rest of meshcode the core imports: its constants and types are compiled into it.
LEAVES = (
    "digest.py", "errors.py", "ids.py", "limits.py", "marks.py", "native", "nearest.py", "schedule",
    "wire",
)  # fmt: skip
SHARED = "__mypyc"  # How the name of the library that holds all compiled modules ends.


def sources() -> list[Path]:
    """The files that are compiled, in one order."""
    return [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]


def key() -> str:
    """32 hex digits of the source of the core, all that it imports, and this Python."""
    leaves = [ROOT / name for name in LEAVES]
    files = sources()
    for leaf in leaves:
        files += [leaf] if leaf.is_file() else sorted(leaf.rglob("*.py"))
    state = blake2b(digest_size=16)
    state.update(f"{sys.version}\0{EXTENSION_SUFFIXES[0]}".encode())
    for path in files:
        data = path.read_bytes()
        state.update(f"\0{path.relative_to(ROOT)}\0{len(data)}\0".encode())
        state.update(data)
    return state.hexdigest()


def folder() -> Path | None:
    """Where the machine code of this source and Python is; None when it was not compiled."""
    if os.environ.get("MESHCODE_PURE", "") not in ("", "0") or not BUILT.is_dir():
        return None
    found = BUILT / key()
    return found if found.is_dir() else None


def is_used() -> bool:
    """Whether the core of this process is machine code."""
    core = sys.modules.get("meshcode.router.core")
    return core is not None and not str(core.__file__).endswith(".py")


def use() -> bool:
    """Have this process take the compiled core; before anything of the core is imported.

    Returns:
        Whether it does.  False: it was not compiled, it was compiled from other source, or the
        core was imported already; the source runs then, and does the same.
    """
    if "meshcode.router.core" in sys.modules:
        return is_used()
    found = folder()
    if found is None:
        return False
    for library in found.glob(f"*{SHARED}.*"):
        _load(library.name.partition(".")[0], library)
    for name in PACKAGES:
        package = importlib.import_module(f"meshcode.{name}")
        package.__path__.insert(0, str(found / "meshcode" / name))
    return True


def _load(name: str, path: Path) -> None:
    """The library that the compiled modules look up by its name, without a place in sys.path."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
