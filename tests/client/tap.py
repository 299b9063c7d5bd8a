"""A tap on the link between one client and a node: what goes up is passed on, and written down."""

from __future__ import annotations

import threading
from typing import Any

import zmq

from meshcode.wire.codec import unpack
from meshcode.wire.frame import index, name_of
from meshcode.wire.kinds import Kind


class Tap:
    """Between `address` and the node; in a `with`."""

    def __init__(self, node: str, address: str) -> None:
        self.address = address
        self.asked: list[tuple[str, dict[str, Any]]] = []  # Operation and fields of each request.
        self._context = zmq.Context()
        self._client = self._context.socket(zmq.ROUTER)
        self._client.bind(address)
        self._node = self._context.socket(zmq.DEALER)
        self._node.connect(node)
        self._stop = self._context.socket(zmq.PAIR)
        self._stop.bind("inproc://stop")
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        stop = self._context.socket(zmq.PAIR)
        stop.connect("inproc://stop")
        poller = zmq.Poller()
        for link in (self._client, self._node, stop):
            poller.register(link, zmq.POLLIN)
        who = b""
        while True:
            ready = dict(poller.poll())
            if self._client in ready:
                who, data = self._client.recv_multipart()
                self._write_down(data)
                self._node.send(data)
            if self._node in ready:
                self._client.send_multipart([who, self._node.recv()])
            if stop in ready:
                stop.close(0)
                return

    def _write_down(self, data: bytes) -> None:
        for row in index(data)[1]:
            if row.kind == Kind.ASK:
                fields = unpack(data[row.body_at : row.end])
                self.asked.append((name_of(data, row), fields))

    def __enter__(self) -> Tap:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.send(b"")
        self._thread.join()
        for link in (self._client, self._node, self._stop):
            link.close(0)
        self._context.term()
