"""Asking a real model process as a node does."""

from __future__ import annotations

import select
import struct
import time
from collections.abc import Callable
from typing import Any

from meshcode.model.client import ModelProcess

WAIT_S = 20.0  # Far beyond what anything here takes on a busy machine.


class Asker:
    """Waits on the descriptor, as a node's poller does, and keeps what came."""

    def __init__(self, process: ModelProcess) -> None:
        self.process = process
        self.seen: list[dict[str, Any]] = []
        self.last_id = 0

    def until(self, done: Callable[[], Any]) -> None:
        end = time.monotonic() + WAIT_S
        while not done():
            assert time.monotonic() < end, self.seen
            select.select([self.process.fileno()], [], [], 0.2)
            self.seen += self.process.receive()

    def post(
        self, do: str, kind: str | None = None, name: str | None = None, **fields: Any
    ) -> bytes:
        self.last_id += 1
        request: dict[str, Any] = {"id": struct.pack("<I", self.last_id), "do": do}
        request |= {"fields": fields} | ({"kind": kind} if kind else {})
        self.process.request(request | ({"name": name} if name else {}))
        return request["id"]

    def answer(self, request_id: bytes) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [m for m in self.seen if m.get("id") == request_id]

        self.until(found)
        return found()[0]

    def ask(self, do: str, kind: str | None = None, name: str | None = None, **fields: Any) -> Any:
        answer = self.answer(self.post(do, kind, name, **fields))
        assert answer["ok"], answer
        return answer["data"]

    def snapshots(self) -> list[dict[str, Any]]:
        return [m["snapshot"] for m in self.seen if "snapshot" in m]

    def shop(self) -> None:
        self.ask("add", "queue", "orders")
        self.ask("add", "processor", "shop", git="/srv/shop", module="shop.tasks")
        self.ask("add", "socket", "shop.clean", processor="shop", task="clean", queue="orders")
