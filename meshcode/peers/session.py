"""One peer as this node knows it: the greeting, the fence, the credit, and what waits.

Pure: bytes, `now_ms` (node time) and `unix_ms` (wall clock) come in; `next_frame` says what is to
be sent, `news` and `bye` what is to be told.  A simulator can use it as it is.

    own link up -> HELLO -> (HELLO of the peer, and a frame of it that knows our boot) -> up

A session is *up* when our link to the peer stands, the peer's direction is open, and the peer has
shown that it knows our boot.  Only then is anything of the caller's sent.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from meshcode import limits
from meshcode.errors import BadFrame, BadValue
from meshcode.ids import ID_BYTES
from meshcode.peers import greeting, kinds
from meshcode.peers.channel import Channel
from meshcode.peers.chunks import WHOLE_BYTES_MAX, Assembly
from meshcode.peers.credit import Owed, Window
from meshcode.peers.greeting import Me
from meshcode.peers.memory import Known, PeerMemory
from meshcode.peers.outbox import Outbox
from meshcode.wire.frame import (
    ENVELOPE_HEADER_BYTES,
    FRAME_HEADER_BYTES,
    FrameHead,
    Row,
    envelope,
    frame,
)

News = tuple[str, bytes, Any]
"""("up", node, hello), ("down", node, why), ("refused", node, why), ("skew", node, text)."""

Delivery = tuple[list[Row], bytes]
"""The envelopes of one frame, and the bytes their offsets refer to."""


_OVERHEAD_BYTES = FRAME_HEADER_BYTES + ENVELOPE_HEADER_BYTES  # The frame's own, and a CREDIT.


class Session:
    """One peer."""

    def __init__(
        self, me: Me, node: bytes, memory: PeerMemory, channel: Channel | None = None
    ) -> None:
        """Nothing is sent or heard yet.

        Args:
            memory: shared by all sessions of this node.
            channel: of an earlier session with the peer in this boot: its sequences go on.
        """
        self.node = node
        self.channel = Channel(me.boot) if channel is None else channel
        self.is_up = False
        self.connected = False  # Our link to the peer stands.
        self.hello: greeting.Hello | None = None  # The newest of the peer.
        self.came_from = ""  # The IP address that the newest greeting came from, if it is known.
        self.place = ""  # Where the peer was that is greeted here, for people.
        self.knocked: greeting.Hello | None = None  # A greeting meant for an older boot of ours.
        self.news: list[News] = []  # The caller takes them.
        self.bye = b""  # An answer to the peer's newest frame, if any; the caller takes it.
        self.counts: Counter[str] = Counter()
        self.refused = ""  # Why the peer was refused last; empty again when it is up.
        self.commit = me.commit  # This node's newest transaction, as the caller tells it.
        self._commit_told = 0  # The newest that was told in this session.
        self.outbox = Outbox()
        self.window = Window()
        self._me = me
        self._memory = memory
        self._owed = Owed()
        self._assembly = Assembly()
        self._known = False  # The peer has shown that it knows our boot.
        self._said = False  # Our HELLO went out on this link, in this session.
        self._hello_due_ms: int | None = None
        self._hello_wait_ms = limits.PEER_HELLO_MS_MIN
        self._asked_ms: int | None = None  # Since when a stalled peer was asked and said nothing.
        self._bad_in_row = 0

    # What the link tells.

    def link_up(self, now_ms: int) -> None:
        """Our link to the peer stands: greet."""
        self.connected = True
        self._said = False
        self._hello_due_ms = now_ms
        self._hello_wait_ms = limits.PEER_HELLO_MS_MIN

    def link_down(self, why: str, now_ms: int) -> None:
        """Our link to the peer is gone, and what libzmq held for it."""
        self.connected = False
        self.down(why, now_ms)
        self._hello_due_ms = None

    def down(self, why: str, now_ms: int) -> None:
        """The session ends; what waited is dropped and counted, the callers send again."""
        self.counts["dropped_down"] += self.outbox.clear()
        self.window.clear()
        self._known = self._said = False
        self._commit_told = 0
        self._asked_ms = None
        if self.connected:
            self._hello_due_ms = now_ms + self._hello_wait_ms
        if self.is_up:
            self.is_up = False
            self.counts["downs"] += 1
            self.news.append(("down", self.node, why))

    def shut(self, why: str, now_ms: int) -> None:
        """Take nothing more of this peer until it greets again."""
        self.channel.shut()
        self._assembly.drop()
        self._owed.told()
        self.down(why, now_ms)

    # What comes in.

    def hear(
        self, head: FrameHead, rows: list[Row], data: bytes, now_ms: int, unix_ms: int
    ) -> list[Delivery]:
        """Take one checked frame of this peer; what of it is for the caller."""
        if rows and rows[0].kind == kinds.HELLO:
            self._greeted(head, data[rows[0].body_at : rows[0].end], now_ms, unix_ms)
            return []
        if not self.channel.accepts(head):
            return []
        self._asked_ms = None
        self._known = True
        self._maybe_up()
        try:
            found = self._sort(rows, data, now_ms)
        except (BadFrame, BadValue) as error:
            self.bad(error.text, now_ms)
            return []
        self._bad_in_row = 0
        return found

    def _sort(self, rows: list[Row], data: bytes, now_ms: int) -> list[Delivery]:
        """Keep what is for the links, return the rest."""
        for_links = [row for row in rows if row.kind in kinds.OF_LINKS]
        pieces = [row for row in for_links if row.kind == kinds.CHUNK]
        if len(for_links) < len(rows) or pieces:
            if self._owed.over(len(data)):
                self.counts["over_credit"] += 1
                return []
            self._owed.handled(len(data), now_ms)
        self.counts["frames_in"] += 1
        self.counts["bytes_in"] += len(data)
        if not for_links:
            self.counts["envelopes_in"] += len(rows)
            return [(rows, data)]
        found: list[Delivery] = []
        whole = [row for row in rows if row.kind not in kinds.OF_LINKS]
        if whole:
            found.append((whole, data))
        for row in for_links:
            if row.kind == kinds.CREDIT:
                self._credited(row.number, now_ms)
                self._memory.heard(self.node, int.from_bytes(row.id, "little"))
            elif row.kind == kinds.BYE:
                code, text, _ = greeting.read_bye(data[row.body_at : row.end])
                self.counts["byes_in"] += 1
                self.shut(f"the peer ended it: {text or code}", now_ms)
            elif row.kind == kinds.HELLO:
                raise BadFrame("a HELLO behind other envelopes; it was dropped", fault="hello")
        for row in pieces:
            try:
                done = self._assembly.take(row, data, now_ms)
            except BadFrame:  # Part of it was lost with a connection: no fault of this frame.
                self.counts["bad_chunks"] += 1
                continue
            if done is not None:
                found.append(([done[0]], done[1]))
        self.counts["envelopes_in"] += sum(len(rows) for rows, _ in found)
        return found

    def _credited(self, sequence: int, now_ms: int) -> None:
        if sequence > self.channel.sent:
            raise BadFrame(
                f"a CREDIT for frame {sequence}, {self.channel.sent} were sent; it was dropped",
                fault="credit",
            )
        self.window.handled(sequence, now_ms)

    def bad(self, why: str, now_ms: int) -> None:
        """Bytes that are no frame came; PEER_BAD_FRAMES_MAX of them in a row end the session."""
        self.counts["bad_frames"] += 1
        self._bad_in_row += 1
        if self._bad_in_row >= limits.PEER_BAD_FRAMES_MAX:
            text = f"{self._bad_in_row} bad frames in a row, the newest: {why}"
            self._bad_in_row = 0
            self.refuse("bad_frames", text, now_ms)

    def refuse(self, code: str, text: str, now_ms: int) -> None:
        """End the session, tell people, and let the peer know why."""
        self.counts[f"refused_{code}"] += 1
        self.refused = text
        self.shut(text, now_ms)
        self.news.append(("refused", self.node, text))
        self.bye = greeting.bye(code, text)

    def _greeted(self, head: FrameHead, body: bytes, now_ms: int, unix_ms: int) -> None:
        try:
            hello = greeting.read(body)
        except BadValue as error:
            self.bad(error.text, now_ms)
            return
        code, text = self._judge(hello, head)
        if code:
            self.refuse(code, text, now_ms)
            return
        known_boot = self.channel.peer_boot
        if not self.channel.opens(head):
            if self.channel.why == "wrong_boot":  # It knows an older life of ours: greet it anew.
                self.knocked = hello
            return
        self.counts["hellos_in"] += 1
        self._bad_in_row = 0
        self._memory.remember(self.node, _known_by(hello))
        self._asked_ms = None
        if known_boot not in (0, hello.boot):
            self.down(f"the peer was started again: boot {known_boot} is now {hello.boot}", now_ms)
            self._assembly.drop()
        elif self._known and not head.receiver_boot:
            self.down("the peer has forgotten the session", now_ms)
        if self.hello is None or self.hello.boot != hello.boot:
            self._look_at_clock(hello.unix_ms - unix_ms)
        self.hello, self.place = hello, self._place_of(hello)
        self.window.grant(hello.frames, hello.bytes)
        self._owed.tell_now(now_ms)
        if head.receiver_boot:
            self._known = True
        elif self.connected:
            self._hello_due_ms = now_ms  # It does not know us yet.
        self._maybe_up()

    def _judge(self, hello: greeting.Hello, head: FrameHead) -> tuple[str, str]:
        """Why this greeting is refused: a code and a sentence, or two empty texts."""
        if hello.version != greeting.PROTOCOL:
            return "version", (
                f"the peer speaks version {hello.version} of the links, this node version "
                f"{greeting.PROTOCOL}; nothing was changed; install the same meshcode on both"
            )
        if hello.node != self.node:
            return "wrong_sender", (
                f"the peer says it is node {hello.node.hex()}, its key is that of node "
                f"{self.node.hex()}; nothing was changed; see mesh nodes"
            )
        if hello.to != self._me.node:
            return "wrong_receiver", (
                f"the peer meant node {hello.to.hex()}, this is node {self._me.node.hex()}; "
                "nothing was changed; correct the address it has"
            )
        if hello.boot != head.sender_boot:
            return "wrong_boot", (
                f"the peer says boot {hello.boot} in HELLO and {head.sender_boot} in its frame; "
                "nothing was changed"
            )
        text = self._memory.judge(self.node, _known_by(hello), hello.past)
        return ("amnesia", f"{text}{self._elsewhere(hello)}") if text else ("", "")

    def _elsewhere(self, refused: greeting.Hello) -> str:
        """Where another life of the peer was heard that is not where the refused one is, if any.

        That is a home that was copied and started in two places, and not a disk that came back.
        """
        other, place = self.hello, self._place_of(refused)
        if other is None or other.life == refused.life or self.place == place:
            return ""
        return (
            f"; boot {other.boot} of this node was heard from {self.place}, boot {refused.boot}, "
            f"which is refused, is at {place}: if its home was copied, that one goes on as this "
            "node, and evicting the node ends that one too; to keep that one, never start the "
            "refused home again; else stop that one first (`mesh down` there)"
        )

    def _place_of(self, hello: greeting.Hello) -> str:
        said = ", ".join(greeting.addresses_in(hello.about)[:2]) or "no address that it told"
        return f"{said} (connected from {self.came_from})" if self.came_from else said

    def _look_at_clock(self, skew_ms: int) -> None:
        if abs(skew_ms) > limits.PEER_SKEW_MS:
            side = "ahead of" if skew_ms > 0 else "behind"
            text = (
                f"the peer's clock is {abs(skew_ms) // 1000} s {side} this node's, more than "
                f"{limits.PEER_SKEW_MS // 1000} s; work goes on; set the clocks"
            )
            self.counts["skews"] += 1
            self.news.append(("skew", self.node, text))

    def _maybe_up(self) -> None:
        if self.is_up or not (self.connected and self._known and self.channel.is_open):
            return
        assert self.hello is not None, self.node
        self.is_up = True
        self.refused = ""
        self._hello_wait_ms = limits.PEER_HELLO_MS_MIN
        if self._said:
            self._hello_due_ms = None
        self.counts["ups"] += 1
        self.news.append(("up", self.node, self.hello.news()))

    # What goes out.

    def offer(self, envelopes: list[bytes]) -> bool:
        """Take all of these for the peer, or none: false = there is no session, or no room.

        Raises:
            TooLarge: an envelope is over ENVELOPE_BYTES_MAX.
        """
        if not self.is_up:
            self.counts["not_sent_down"] += len(envelopes)
            return False
        if not self.outbox.offer(envelopes):
            self.counts["not_sent_full"] += len(envelopes)
            return False
        return True

    def next_frame(self, now_ms: int, unix_ms: int) -> bytes | None:
        """The next frame to hand to the link, or None; it counts as sent."""
        if not self.connected:
            return None
        if self._hello_due_ms is not None and self._hello_due_ms <= now_ms:
            return self._say_hello(now_ms, unix_ms)
        taken: list[bytes] = []
        bulk = 0
        if self.is_up and self.outbox.envelopes:
            room = min(self.window.room() - _OVERHEAD_BYTES, WHOLE_BYTES_MAX)
            if room > 0:
                taken, bulk = self.outbox.take(
                    room, self.window.bulk_room(), limits.FRAME_ENVELOPES_MAX - 1
                )
        due_ms = self._owed.due_ms
        tell = due_ms is not None and self.channel.is_open and (bool(taken) or due_ms <= now_ms)
        if not taken and not tell:
            return None
        credit = [self._credit()] if tell else []
        data = self._frame(credit + taken)
        if taken:
            self.counts["envelopes_out"] += len(taken)
            self.window.sent(self.channel.sent, len(data), bulk, now_ms)
        return data

    def _credit(self) -> bytes:
        self._owed.told()
        self._commit_told = self.commit
        newest = self.commit.to_bytes(ID_BYTES, "little")
        return envelope(kinds.CREDIT, id=newest, number=self.channel.last)

    def _say_hello(self, now_ms: int, unix_ms: int) -> bytes:
        me = self._me
        self.counts["hellos_out"] += 1
        self._said = True
        again_ms = now_ms + self._hello_wait_ms
        self._hello_wait_ms = min(2 * self._hello_wait_ms, limits.PEER_HELLO_MS_MAX)
        self._hello_due_ms = None if self.is_up else again_ms
        return self._frame([greeting.write(me, self.node, unix_ms)])

    def _frame(self, envelopes: list[bytes]) -> bytes:
        sequence, sender_boot, receiver_boot = self.channel.stamp()
        data = frame(
            envelopes, sequence=sequence, sender_boot=sender_boot, receiver_boot=receiver_boot
        )
        self.counts["frames_out"] += 1
        self.counts["bytes_out"] += len(data)
        return data

    def farewell(self, text: str) -> bytes | None:
        """The last frame, when this node stops; None when nobody would read it."""
        return self._frame([greeting.bye("bye", text)]) if self.is_up else None

    # Time.

    def tell_commit(self, commit: int, now_ms: int) -> None:
        """This node's newest transaction, now and then: the peer is told when it is another."""
        self.commit = commit
        if self.is_up and commit != self._commit_told:
            self._owed.tell_now(now_ms)

    def tick(self, now_ms: int) -> None:
        """Do what is due: ask a stalled peer, give up a silent one, drop what never came whole."""
        if self._assembly.held and now_ms - self._assembly.changed_ms >= limits.PEER_PARTIAL_MS:
            self._assembly.drop()
        if not self.is_up:
            return
        if self._asked_ms is not None and now_ms - self._asked_ms >= limits.PEER_SILENT_MS:
            self.down(f"the peer was silent for {now_ms - self._asked_ms} ms", now_ms)
        elif self._stalled_ms() <= now_ms:
            self.counts["stalls"] += 1
            self.window.since_ms = now_ms
            self._hello_due_ms = now_ms  # Its CREDIT will cover whatever was lost.
            if self._asked_ms is None:
                self._asked_ms = now_ms

    def _stalled_ms(self) -> int:
        """When frames on their way count as stalled; far away when there are none."""
        return self.window.since_ms + limits.PEER_STALL_MS if self.window.frames else 2**63

    def next_due_ms(self) -> int | None:
        """When `tick` or `next_frame` has something to do by time alone."""
        due: list[int] = []
        if self.connected:
            due += [at for at in (self._hello_due_ms, self._owed.due_ms) if at is not None]
        if self.is_up:
            if self.window.frames:
                due.append(self._stalled_ms())
            if self._asked_ms is not None:
                due.append(self._asked_ms + limits.PEER_SILENT_MS)
        if self._assembly.held:
            due.append(self._assembly.changed_ms + limits.PEER_PARTIAL_MS)
        return min(due, default=None)

    def stats(self) -> dict[str, Any]:
        """Counters and levels, for listings; every frame that was not used is in one of them."""
        return {
            **self.counts,
            **{f"dropped_{why}": count for why, count in self.channel.refused.items()},
            "dropped_chunks": self._assembly.dropped,
            "up": self.is_up,
            "connected": self.connected,
            "refused": self.refused,
            "boot": self.channel.peer_boot,
            "waiting_envelopes": self.outbox.envelopes,
            "waiting_bytes": self.outbox.bytes,
            "unacknowledged_frames": self.window.frames,
            "unacknowledged_bytes": self.window.bytes,
            "partial_bytes": self._assembly.held,
        }


def _known_by(hello: greeting.Hello) -> Known:
    return Known(hello.store, hello.boot, hello.life, hello.commit)
