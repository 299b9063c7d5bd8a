"""What peers said and was not taken: counted, said to people once for each peer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshcode.errors import MeshError

if TYPE_CHECKING:
    from meshcode.node.mesh import Mesh

_COUNTS_MAX = 1_000  # What is counted apart: a peer must not fill the memory with names.


class NotTaken:
    """A peer may send any bytes; nothing of it ends this node or floods its log."""

    def __init__(self, mesh: Mesh) -> None:
        """Nothing yet."""
        self._mesh = mesh
        self.counts: dict[str, int] = {}  # By what it was; `mesh doctor` shows them.
        self._told: set[bytes] = set()  # Peers of which people were told.

    def count(self, what: str, times: int = 1) -> None:
        """So many were not taken."""
        if what in self.counts or len(self.counts) < _COUNTS_MAX:
            self.counts[what] = self.counts.get(what, 0) + times

    def entries(self, node: bytes, kind: int, times: int) -> None:
        """Entries that the core cannot read were left out."""
        self.count(f"kind {kind}: entries of a wrong shape", times)
        self._tell(node, f"{times} entries of kind {kind}, of a wrong shape, were left out")

    def message(self, node: bytes, kind: int, error: Exception) -> None:
        """A whole message was left out.

        Raises:
            Exception: `error` itself, where it ends the node (`Faults.pass_on`).
        """
        if isinstance(error, MeshError):
            self._mesh.loop.faults.pass_on(error)
            self.count(f"kind {kind}: {error.code}")
            self._tell(node, f"a message of kind {kind} was left out: {error.text:.300}")
        else:
            self.failed(node, f"a message of kind {kind}", error)

    def failed(self, node: bytes, what: str, error: Exception) -> None:
        """This node itself failed at it.

        Raises:
            Exception: as `message`.
        """
        name = self._mesh.name_of(node)
        self._mesh.loop.faults.note(what, f"node {name}", error)
        self.count(f"{what}: internal error")
        self._tell(node, f"{what} was left out: this node failed at it ({type(error).__name__})")

    def _tell(self, node: bytes, text: str) -> None:
        if node not in self._told:
            self._told.add(node)
            name = self._mesh.name_of(node)
            more = "what else is not taken of it is only counted, see `mesh doctor`"
            self._mesh.say(f"from {name}: {text}; {more}")
