"""Keeps the model's database of this node level with the model of the mesh.

The model process costs 48 MiB and is not started because a peer changed something: the node acts
on the merged model at once, with or without it.  The database adopts that model when the process
runs anyway, and always before a request of a client is done on it.

    level    the database has the merged model, or nobody needs it to
    saving   what it is to adopt is on its way to this node's log (`ModelShare.offer` says why)
    asked    it was told, and has not answered

A refusal means that somebody changed the database meanwhile.  That change came before the refusal,
was stamped and merged, and the result is offered next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from meshcode.errors import MeshError, TooLarge
from meshcode.model.pipe import ADOPT_ID
from meshcode.node.modelshare import Change, ModelShare
from meshcode.node.series import Series
from meshcode.store.contract import Op

Message = dict[str, Any]


class Process(Protocol):
    """What is needed of `meshcode.model.client.ModelProcess`."""

    @property
    def pid(self) -> int | None:
        """Of the process, while one runs."""

    def request(self, request: Mapping[str, Any]) -> None:
        """Ask it something."""

    def adopt(
        self, snapshot: Mapping[str, Any], base: int, changes: list[list[Any]] | None = None
    ) -> None:
        """Make its database equal to a snapshot."""


class Adopter:
    """Between the share of a node and its model process."""

    def __init__(self, share: ModelShare, process: Process, kept: Series) -> None:
        """The process is not started by this; `kept` is what the log has of the share."""
        self.share = share
        self.process = process
        self._kept = kept
        self._state = "level"
        self._offer: tuple[dict[str, Any], int, list[list[Any]] | None] = ({}, 0, None)
        self._failed = (0, 0)  # The numbers of the last offer that was refused.
        self._waiting: list[Message] = []  # Requests behind an offer that is being saved.
        self._unsaved = False
        self._serial = 0  # Of the record last given out.
        self._offer_serial = 0  # Of the record with the offer in it.

    def request(self, request: Message) -> None:
        """Ask the process for a client, once its database is level.

        Raises:
            Busy, BadData, TooLarge: see `ModelProcess.request`.
        """
        self.level(start=True)
        if self._state == "saving":
            self._waiting.append(request)
        else:
            self.process.request(request)

    def changed(self, change: Change) -> None:
        """The share was changed by a message of a peer."""
        self._unsaved |= change.save
        self.level()

    def hear(self, message: Message) -> Change | None:
        """Look at a message of the process; what changed when it brought a snapshot.

        Call with every message, in order, before anything else is done with it.
        """
        change = None
        if message.get("snapshot") is not None:
            change = self.share.local_changed(message["snapshot"], message.get("delta"))
            self._unsaved = True
        if message.get("id") == ADOPT_ID:
            self._state = "level"
            if message.get("ok"):
                self.share.adopted()
                self._unsaved = True
            else:
                self._failed = (self._offer[0]["number"], self._offer[1])
        self.level()
        return change

    def level(self, *, start: bool = False) -> None:
        """Begin to bring the database up to the merged model, if it is not.

        Args:
            start: also when no process runs, and when the same was refused before.
        """
        share = self.share
        if self._state != "level" or not share.behind:
            return
        failed = (share.number, share.base_number) == self._failed
        if not start and (self.process.pid is None or failed):
            return
        self._offer = share.offer()
        self._state = "saving"
        self._unsaved = True
        self._offer_serial = self._serial + 1  # The next record has it.

    def record(self) -> tuple[int, list[Op]] | None:
        """What is to be written to the log now, with a serial; None: nothing new."""
        if not self._unsaved:
            return None
        self._unsaved = False
        self._serial += 1
        change = self.share.pack_change()
        added = None if change is None else self._kept.add(change)
        if added is None:
            added = self._kept.replace(self.share.pack())
        return self._serial, added

    def synced(self, serial: int) -> list[Message]:
        """That record is on disk.  Gives failed answers of requests, as the process would."""
        if self._state != "saving" or serial < self._offer_serial:
            return []
        self._state = "asked"
        failed: list[Message] = []
        try:
            self.process.adopt(*self._offer)
        except TooLarge:  # Requests must stay possible: how else would anything be deleted?
            self._state = "level"
            self._failed = (self._offer[0]["number"], self._offer[1])
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            try:
                self.process.request(request)
            except MeshError as error:
                failed.append({"id": request["id"], "ok": False, "error": error.to_data()})
        return failed
