"""Who gets in: the ZAP handler of this node's context, in a thread of its own.

libzmq asks here at every CURVE handshake.  One handler serves all domains of a context; a domain
without a policy lets nobody in.  A handler that ended or hangs lets nobody in either (option 93),
but a node that takes in no new peers and does not know it is no member of anything: so the handler
is asked through its own link whether it lives, and `alive` is what the node looks at.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import zmq

from meshcode import limits
from meshcode.peers.options import KEY_BYTES

ADDRESS = "inproc://zeromq.zap.01"
Policy = Callable[[bytes], "str | None"]
"""From a client's public key (32 raw bytes) to its user id, or None to refuse.

It runs on the handler's thread, so it may only read what other threads replace whole.
"""

_STOP = "inproc://meshcode.zap.stop"
_BEAT_DOMAIN = b"\x00beat"  # No link can have it: it is asked by `tick` alone.


class ZapHandler:
    """The ZAP handler of one context.  All methods belong to one thread."""

    def __init__(self, context: zmq.Context[Any], now_ms: int) -> None:
        """Bind and start; nobody gets in before `serve`.

        Raises:
            zmq.ZMQError: the context has a handler already.
        """
        self.counts: Counter[str] = Counter()
        self._policies: dict[bytes, Policy] = {}
        self._denied: dict[bytes, deque[tuple[bytes, str]]] = {}
        server = context.socket(zmq.ROUTER)
        server.setsockopt(zmq.LINGER, 0)
        server.bind(ADDRESS)
        stopper = context.socket(zmq.PAIR)
        stopper.bind(_STOP)
        self._stop_link = context.socket(zmq.PAIR)
        self._stop_link.setsockopt(zmq.LINGER, 0)
        self._stop_link.connect(_STOP)
        self._beat = context.socket(zmq.DEALER)
        self._beat.setsockopt(zmq.LINGER, 0)
        self._beat.setsockopt(zmq.SNDHWM, 8)
        self._beat.connect(ADDRESS)
        self._answered_ms = now_ms
        self._asked_ms: int | None = None
        self._thread = threading.Thread(
            target=self._run, args=(server, stopper), name="zap", daemon=True
        )
        self._thread.start()

    def serve(self, domain: bytes, policy: Policy) -> None:
        """Let in to links of `domain` whoever `policy` gives a user id."""
        self._denied.setdefault(domain, deque(maxlen=limits.PEER_REFUSALS_KEPT))
        self._policies = {**self._policies, domain: policy}

    def end(self, domain: bytes) -> None:
        """Let in nobody to links of `domain` any more."""
        self._policies = {d: p for d, p in self._policies.items() if d != domain}

    def take_denied(self, domain: bytes) -> list[tuple[bytes, str]]:
        """(key, address) of the handshakes refused since the last time; the oldest may be lost."""
        denied = self._denied.get(domain)
        found = []
        while denied:
            found.append(denied.popleft())
        return found

    def tick(self, now_ms: int) -> None:
        """Ask the handler's thread whether it lives, and read its answer; never blocks."""
        if self._beat.closed:
            return  # It was stopped.
        while True:
            try:
                self._beat.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._answered_ms = now_ms
            self._asked_ms = None
        if self._asked_ms is None and now_ms - self._answered_ms < limits.ZAP_BEAT_MS:
            return
        if self._asked_ms is None or now_ms - self._asked_ms >= limits.ZAP_BEAT_MS:
            try:
                request = [b"", b"1.0", b"beat", _BEAT_DOMAIN, b"", b"", b"CURVE", bytes(KEY_BYTES)]
                self._beat.send_multipart(request, zmq.NOBLOCK)
            except zmq.Again:
                pass  # Eight questions wait already: it is deaf, and `alive` will say so.
            if self._asked_ms is None:
                self._asked_ms = now_ms

    def alive(self, now_ms: int) -> bool:
        """Whether the thread runs and has answered in time; false = stop serving."""
        if not self._thread.is_alive():
            return False
        asked = self._asked_ms
        return asked is None or now_ms - asked < limits.ZAP_DEAD_MS

    def next_due_ms(self) -> int:
        """When `tick` has something to do."""
        return max(self._answered_ms, self._asked_ms or 0) + limits.ZAP_BEAT_MS

    def stop(self) -> None:
        """End the thread; from then on nobody gets in, and `alive` is false."""
        if not self._stop_link.closed:
            self._stop_link.send(b"", zmq.NOBLOCK)
            self._thread.join(5)
            self._stop_link.close()
            self._beat.close()

    def _run(self, server: zmq.Socket[bytes], stopper: zmq.Socket[bytes]) -> None:
        poller = zmq.Poller()
        poller.register(server, zmq.POLLIN)
        poller.register(stopper, zmq.POLLIN)
        try:
            while stopper not in dict(poller.poll()):
                parts = server.recv_multipart()
                server.send_multipart(self._answer(parts))
            for link, address in ((server, ADDRESS), (stopper, _STOP)):
                link.unbind(address)  # At once; `close` alone does it some time later.
        except zmq.ContextTerminated:
            pass
        finally:
            server.close()
            stopper.close()

    def _answer(self, parts: list[bytes]) -> list[bytes]:
        sender, request = parts[:2], parts[2:]
        if len(request) < 6 or request[0] != b"1.0":
            return [*sender, b"1.0", b"", b"500", b"not ZAP 1.0", b"", b""]
        _, id, domain, address, _, mechanism, *credentials = request
        if domain == _BEAT_DOMAIN:
            return [*sender, b"1.0", id, b"400", b"", b"", b""]
        policy = self._policies.get(domain)
        key = credentials[0] if mechanism == b"CURVE" and len(credentials) == 1 else b""
        user: str | None = None
        status, why = b"400", b"not a member"
        if policy is not None and len(key) == KEY_BYTES:
            try:
                user = policy(key)
            except Exception:  # Whatever the policy stumbled over, nobody got in by it.
                self.counts["policy_failed"] += 1
                status, why = b"500", b"the policy failed"
        if user is not None:
            self.counts["admitted"] += 1
            return [*sender, b"1.0", id, b"200", b"", user.encode(), b""]
        self.counts["denied"] += 1
        denied = self._denied.get(domain)
        if denied is not None:
            denied.append((key, address.decode(errors="replace")))
        return [*sender, b"1.0", id, status, why, b"", b""]
