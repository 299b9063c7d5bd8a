"""The kinds of envelope that the links themselves read; all others are passed on unread."""

from __future__ import annotations

from meshcode.wire.kinds import Kind

# Plain numbers: comparing enum members costs more than what is done with the envelope.
HELLO = int(Kind.PEER_HELLO)  # Opens a direction.  body: see `greeting.py`
CREDIT = int(Kind.PEER_CREDIT)  # number: the last sequence handled; id: the sender's newest commit
BYE = int(Kind.PEER_BYE)  # The session ends, or was refused.  body: {"code", "text", "statement"}
CHUNK = 67  # Part of a large envelope.  id: which; attempt: its bytes; number: offset; body: bytes

OF_LINKS = frozenset((HELLO, CREDIT, BYE, CHUNK))
