"""What nobody foresaw: an exception while something that came from outside was looked at.

One request or frame of a client, one message of a peer is where it ends: the client is told, the
message is left out, the traceback is in the node's log.  Two things pass through and end the node:
a log that cannot be trusted, and a step of the core that was left half done, since nobody can say
what is true after that; what was told before is in the log, and the next start goes on from there
(docs/decisions/0039-what-one-message-may-end.md).
"""

from __future__ import annotations

import sys
import time

from meshcode.errors import InternalError, LogSuspect, MeshError
from meshcode.node.turn import Turns

_TOLD_MAX = 1_000  # Places of which it is remembered that their traceback was written.


class Faults:
    """Counts them, and writes the traceback of each place once."""

    def __init__(self, turns: Turns) -> None:
        """None yet."""
        self._turns = turns
        self.counts: dict[str, int] = {}  # By what was being done.
        self._told: set[tuple[str, str, str, int]] = set()
        # Whose request is being answered, if one is: what is asked of peers for it goes on later.
        self.asking: tuple[int, bytes] | None = None

    def pass_on(self, error: Exception) -> None:
        """Raise what ends the node; all else is for the caller to deal with.

        Raises:
            Exception: `error` itself.
        """
        if self._turns.stepping or isinstance(error, LogSuspect):
            raise error

    def note(self, what: str, whose: str, error: Exception) -> None:
        """Count one, and write its traceback if it is the first of its place and sender.

        Args:
            what: was being done: "request status", "message of kind 46".
            whose: for people: "a client", "node two".
            error: which came of it.

        Raises:
            Exception: `error` itself, where it ends the node.
        """
        self.pass_on(error)
        self.counts[what] = self.counts.get(what, 0) + 1
        import traceback  # Late: it brings more, and most nodes never need it.

        place = traceback.extract_tb(error.__traceback__)[-1]
        key = (what, whose, place.filename, place.lineno or 0)
        if key in self._told or len(self._told) >= _TOLD_MAX:
            return
        self._told.add(key)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        print(f"{stamp} internal error: {what} of {whose}; the node goes on, and the same again is"
              " counted only", file=sys.stderr)  # fmt: skip
        traceback.print_exception(error, file=sys.stderr)
        sys.stderr.flush()

    def of_request(self, name: str, error: Exception) -> MeshError:
        """The error to answer a client's request with.

        Raises:
            Exception: `error` itself, where it ends the node.
        """
        self.pass_on(error)
        if isinstance(error, MeshError):
            return error
        self.note(f"request {name:.40}", "a client", error)
        return InternalError(
            f"internal error: {name:.40} failed at {type(error).__name__}, and whether it had"
            " changed something is not known; all calls and outcomes that were told of are kept,"
            " and the node goes on; look before you ask again; the node's log has the traceback"
        )
