"""One processor as a node has it; `processors.py` does the next step of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from meshcode.digest import blake2b

if TYPE_CHECKING:
    from meshcode.node.mounting import Mounting

# The fields of a processor that decide which code runs.
CODE_FIELDS = (
    "git", "branch", "commit", "tag", "module", "module_path", "requirements", "env", "restarted",
)  # fmt: skip
NOT_MOUNTED = "its code is not mounted yet"
DIGEST_BYTES = 16


def digest_of(code: Sequence[Any]) -> str:
    """What the model wants of a processor's code, in hexadecimal digits; on all nodes the same.

    Args:
        code: as `wanted_code`, or as the log gave it back; what is beyond CODE_FIELDS decides
            nothing of which commit runs.
    """
    packed = json.dumps(list(code[: len(CODE_FIELDS)]), sort_keys=True).encode()
    return blake2b(packed, digest_size=DIGEST_BYTES).hexdigest()


class Processor:
    """One processor on this node: wanted and actual."""

    def __init__(self, name: str) -> None:
        """Nothing is known of it yet."""
        self.name = name
        self.fields: dict[str, Any] = {}
        self.sockets: dict[str, str] = {}
        self.overrides: dict[str, str] = {}  # Code in the place of a task's.
        self.streams: list[str] = []  # Of these: whose generators stream, as they have plugs.
        self.declared = True  # In the model; else it is forgotten when nothing of it runs.
        self.elsewhere = False  # What is told of it is that it is deployed on other nodes.
        self.places = 0  # Of workers that belong here, also while it is stopped.
        self.count = 0  # Workers wanted here now.
        self.wanted_code: tuple[Any, ...] = ()
        self.mounted_code: tuple[Any, ...] = ()  # What `mount` was made from.
        self.mount: dict[str, Any] | None = None
        self.reason = NOT_MOUNTED
        self.refused = ""  # Why its repository may not be mounted, by the rules for repositories.
        self.problem = ""  # What went wrong last, also while older code keeps running.
        self.is_refused = False  # That is: what is fetched or named may not run.
        self.mounting: Mounting | None = None
        self.tried: tuple[Any, ...] = ()  # The code of the mount that runs, or ran last.
        self.retry_ms = 0
        self.held = ""  # The commit that a peer gave for the next mount.
        self.alone = False  # What others run could not be mounted here: the next try asks nobody.
        self.crashes = 0  # Workers in a row that died young.
        self.next_start_ms = 0

    def runs(self, code: str) -> str:
        """The commit that is mounted for a digest of code (`digest_of`), or "".

        Also "" where it is the newest of a mirror or of a peer, as the server could not be
        asked: nobody who can ask it should stay with that.
        """
        mount = self.mount
        if mount is None or mount.get("warning") or mount.get("held"):
            return ""
        return str(mount["commit"]) if digest_of(self.mounted_code) == code else ""
