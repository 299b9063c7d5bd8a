"""meshcode: durable calls of functions from git repositories, on a mesh without a broker.

The public names are loaded when they are first used, so that `import meshcode` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshcode.client import (
        Call,
        Socket,
        connect,
        connect_async,
        funnel,
        parallel,
        pipeline,
        segment,
    )
    from meshcode.node import Node
    from meshcode.worker.context import current_call

__version__ = "0.1.0"

_PUBLIC = {
    "connect": "meshcode.client",
    "connect_async": "meshcode.client",
    "Socket": "meshcode.client",
    "Call": "meshcode.client",
    "pipeline": "meshcode.client",
    "parallel": "meshcode.client",
    "funnel": "meshcode.client",
    "segment": "meshcode.client",
    "Node": "meshcode.node",
    "current_call": "meshcode.worker.context",
}

__all__ = [
    "__version__", "connect", "connect_async", "Socket", "Call", "pipeline", "parallel", "funnel",
    "segment", "Node", "current_call",
]  # fmt: skip


if not TYPE_CHECKING:  # A module with it has every name, for a type checker.

    def __getattr__(name: str) -> Any:
        module = _PUBLIC.get(name)
        if module is None:
            raise AttributeError(f"module 'meshcode' has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(module), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
