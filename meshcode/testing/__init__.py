"""Tests of functions and flows, for the programs of users: see `docs/testing.md`.

`plugin.py` gives pytest the fixtures `mesh`, a `LocalMesh`: one real node; and `mesh_world`, a
`World`: a simulated mesh.  Both classes are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshcode.testing.node import LocalMesh
    from meshcode.testing.world import World

__all__ = ["LocalMesh", "World"]

if not TYPE_CHECKING:  # A module with it has every name, for a type checker.

    def __getattr__(name: str) -> Any:
        if name == "LocalMesh":
            from meshcode.testing.node import LocalMesh

            return LocalMesh
        if name == "World":
            from meshcode.testing.world import World

            return World
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
