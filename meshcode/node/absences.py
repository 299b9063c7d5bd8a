"""What people are told of members that go and come back, in the words of `mesh nodes`."""

from __future__ import annotations

from collections.abc import Set

AWAY = "away"  # What membership calls dead: it is never removed, and may come back.


class Absences:
    """Whom people were told to be gone, and not yet to be back."""

    def __init__(self) -> None:
        self._states: dict[bytes, str] = {}
        self._back: dict[bytes, str] = {}  # With the words for its return.

    @property
    def gone(self) -> Set[bytes]:
        """The nodes of which people were told so, and not yet that they are back."""
        return self._back.keys()

    def sentence(self, node: bytes, name: str, state: str, by: str = "") -> str:
        """What to say of a member that is in another state now; "" is nothing.

        Who dies is suspect first.  A member that answers here and is dead by the word of another
        one mostly lives: after a partition each side hears what the other one believed.

        Args:
            node: the member.
            name: of it.
            state: as membership has it.
            by: the name of the node that said so; "" when this one found out.
        """
        before, self._states[node] = self._states.get(node), state
        if state == "alive":
            back = self._back.pop(node, "")
            return f"node {name} is {back}" if back else ""
        if state not in ("dead", "left", "leaving"):
            return ""
        if state == "dead" and by and before == "alive":
            self._back[node] = "alive after all"
            return f"node {by} says that node {name} is {AWAY}, which answers here"
        self._back[node] = "alive again"
        return f"node {name} is {AWAY if state == 'dead' else state}"
