"""What is different in a newer snapshot, as plain data, and the newer snapshot made from it.

    {"base": int, "number": int, "changes": [[kind, name, {option: value} or nil], ...]}

The changes lead from the snapshot numbered `base` to that numbered `number`; nil: deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshcode.model.kinds import PLURALS

Key = tuple[str, str]  # Kind, name.


def with_changes(
    snapshot: Mapping[str, Any], number: int, changes: Iterable[Iterable[Any]]
) -> dict[str, Any]:
    """The snapshot of that number: `snapshot`, which stays as it is, with these changes.

    Both share the maps of kinds that nothing was changed of, and all options of other objects.
    """
    found = {**snapshot, "number": number}
    for kind, name, options in changes:
        plural = PLURALS[kind]
        objects = found.get(plural) or {}
        if objects is snapshot.get(plural) or not objects:
            objects = found[plural] = dict(objects)
        if options is None:
            objects.pop(name, None)
        else:
            objects[name] = options
    return found


def keys_of(changes: Iterable[Iterable[Any]]) -> list[Key]:
    """Kind and name of each of the changes."""
    return [(kind, name) for kind, name, _options in changes]
