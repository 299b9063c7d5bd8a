"""The shell around the router core: links, processes, disk, time.

`loop.py` is the one thread that owns the core and all links; `commits.py` says when the log is
written, and `committer.py` has it done.  `Node` embeds a node in another program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshcode.node.embedded import Node

__all__ = ["Node"]


def __getattr__(name: str) -> Any:
    if name == "Node":
        from meshcode.node.embedded import Node

        return Node
    raise AttributeError(f"module 'meshcode.node' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
