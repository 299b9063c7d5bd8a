"""What is not as it should be with code that runs: no failure, and so nothing else tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshcode.node.processor import Processor

NAMED_MAX = 5


def warnings_of(processor: Processor) -> list[str]:
    """For people; of the code that is mounted, so the next mount clears or renews them."""
    mount = processor.mount
    if mount is None:
        return []
    found = []
    if mount.get("warning"):
        found.append(
            f"its code may be an old one: {mount['warning']}; `mesh proc restart -n"
            f" {processor.name}` fetches it when the remote answers again"
        )
    absent = mount.get("absent") or ()
    sockets = [name for name, task in sorted(processor.sockets.items()) if task in absent]
    if sockets:
        tasks = sorted({repr(processor.sockets[name]) for name in sockets})
        found.append(
            f"the module {mount['module']!r} of commit {mount['commit'][:12]} has no function"
            f" {_some(tasks)}, which {_some(sockets)} calls: such calls fail; commit the function,"
            f" or `mesh update socket -n NAME -t TASK`"
        )
    return found


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more
