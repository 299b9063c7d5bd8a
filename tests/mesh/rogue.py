"""A node gone bad: it greets with odd things of itself, and says odd things when a link is up.

    python -m tests.mesh.rogue --home HOME
"""

from __future__ import annotations

import sys
from decimal import Decimal
from random import Random
from typing import Any

from meshcode.node import daemon, peerwords
from meshcode.node.mesh import Mesh
from meshcode.node.requests import FOR_PEERS
from meshcode.peers import greeting
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind

ABOUT = {"clients": 5, "addresses": 5, "names_many": [], "versions": {"a": 1}}
RELAYED: tuple[Any, ...] = (
    5, {"a": []}, {"a": {}}, {"q": -1, "op": "ask", "name": "status", "fields": {}},
    {"q": 1 << 70, "op": "ask"}, {"q": 5, "op": "ask", "name": [], "fields": {}},
    {"q": 5, "op": "ask", "name": "flow.get", "fields": {"id": 5}, "as": None},
    {"q": 5, "op": "ask", "name": "call.get", "fields": {"id": Decimal("sNaN")}},
    {"q": 5, "op": "feed", "want": {"task": [[]]}}, {"outcomes": [b"x", 5]},
    {"feed": {"n": 1, "events": [5, b"x"], "lost": {"task": 1 << 70}}}, {"feed": {"took": True}},
    {"q": 5, "op": "find", "ids": [[], b"x" * 16]}, {"q": Decimal("sNaN")},
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1 << 31, 1 << 70, 0.5, "", "x", b"", b"x" * 16, b"y" * 34, b"z" * 48, [],
    [b"x" * 16], {}, {"a": 1}, Decimal("sNaN"), (1, 2), [0, b"x" * 16, 1],
)  # fmt: skip
ENTRIES = 400


def said(rng: Random) -> list[bytes]:
    """All that it sends to a peer."""
    found = [envelope(Kind.RELAY, body=pack(message)) for message in RELAYED]
    for name in FOR_PEERS:
        fields = {key: rng.choice(ODD) for key in ("id", "ids", "from", "wanted", "cursor", "root")}
        message = {"q": 7, "op": "ask", "name": name, "fields": fields, "as": rng.choice(ODD)}
        found.append(envelope(Kind.RELAY, body=pack(message)))
    for kind in (Kind.SWIM, Kind.MODEL, Kind.CODE, Kind.ROSTER):
        found += [envelope(kind, body=pack(one)) for one in ODD]
    for _ in range(ENTRIES):
        kind = rng.randint(peerwords.FIRST_KIND, peerwords.LAST_KIND)
        entries = [[rng.choice(ODD) for _ in range(rng.randrange(9))] for _ in range(3)]
        found.append(envelope(kind, body=pack(entries)))
    return found


def main(arguments: list[str]) -> int:
    """Run the node."""
    real, pack_about = Mesh._hear_news, greeting.pack_about

    def hear_news(self: Mesh, item: tuple[Any, ...], now_ms: int) -> None:
        real(self, item, now_ms)
        if item[0] == "up":
            self.send(item[1], said(Random(1)))
            self.say("the rogue has said all it has to say")

    Mesh._hear_news = hear_news  # type: ignore[method-assign]
    greeting.pack_about = lambda hello: pack_about({**hello, **ABOUT})
    return daemon.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
