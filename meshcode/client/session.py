"""One client's session with its node: the I/O thread and the link it owns.

The thread sends what callers put into the outbox, and stores outcomes in their calls.  The session
has three phases:

    AWAY       no connection; libzmq tries again by itself
    GREETING   connected, HELLO sent, WELCOME awaited
    UP         calls and requests flow

Every WELCOME ends in a *resync*, because it may come from a node that was started again and knows
nothing of this client: calls not yet acknowledged are sent again in their order, requests too, and
the node is asked to watch the acknowledged ones.  Sequence numbers never start again, so an
acknowledgement can only be for the frame it names.
"""

from __future__ import annotations

import os
import time
import weakref
from collections import deque
from collections.abc import Callable
from threading import Thread, current_thread
from typing import Any

import zmq

from meshcode.client.batch import Batch, split
from meshcode.client.call import Call, deadline_of, seconds_left
from meshcode.client.link import UP as CONNECTED
from meshcode.client.link import connection_news, watch_connection
from meshcode.client.outbox import Outbox
from meshcode.client.pending import Pending
from meshcode.client.requests import Request, Stream, Watch, went_away
from meshcode.client.wake import Waiter
from meshcode.errors import BadFrame, MeshError, NodeError, WrongState, from_data
from meshcode.ids import NO_ID
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import Row, draft, index, seal_frame
from meshcode.wire.kinds import Flag, Kind, Level

AWAY, GREETING, UP = "away", "greeting", "up"

RESYNC_S = 1.0  # At most one resync in this time when frames were lost or bad.
SILENCE_S = 2.0  # After so long without a word while something is awaited, the node is asked.
FRAMES_PER_TURN = 64  # Received before sending gets its turn.
WATCH_IDS_MAX = 1000  # Calls in one call.watch request.
BAD_FRAMES_MAX = 3  # Frames of ours the node may call bad in a row before their calls are given up.
LINGER_MS = 200  # For the last frame, BYE, when the client is closed.

_OUTCOME = int(Kind.OUTCOME)
_OUTCOMES = (1, 2, 3, 4)


class Session:
    """The state of the I/O thread; callers use only the methods under "For callers"."""

    def __init__(self, address: str, link: zmq.Socket[bytes], context: zmq.Context[Any]) -> None:
        """Take over `link`, a DEALER that is not connected yet; `start` connects it."""
        self.address = address
        self.outbox = Outbox()
        self.welcome: dict[str, Any] = {}  # What the node said of itself, last time.
        self.phase = AWAY
        self.problem = ""  # Why there is no session yet, for the error of `connect`.
        self._link = link
        self._context = context
        self._monitor: zmq.Socket[bytes] | None = None
        self._thread = Thread(target=self._run, name="meshcode-client", daemon=True)
        self._news: deque[Callable[[], object]] = deque()
        self._stop_at: float | None = None  # Monotonic; end then, or when all is acknowledged.
        # All below belongs to the I/O thread.
        self._hello = b""
        self._session_id = os.urandom(16)
        self._boot = int.from_bytes(os.urandom(4), "little")
        self._node_boot = 0
        self._sequence = 0
        self._unsent: deque[bytes] = deque()  # Frames the link did not take.
        self._sent: dict[int, Batch] = {}  # By sequence: not acknowledged.
        self.pending = Pending()  # Sent, not ended.
        self._requests: dict[bytes, Request] = {}
        self._streams: dict[bytes, weakref.ref[Stream]] = {}
        self._heard = 0.0  # Monotonic time of the last frame, either way.
        self._resync_due = False  # Something was lost: tell and ask everything again.
        self._resynced = 0.0  # Monotonic time of the last resync.
        self._echoes = False  # The node's WELCOME carries the id of the HELLO it answers.
        self._bad_frames = 0
        self._levels: dict[tuple[int, int], str] = {}

    # For callers.

    def start(self) -> None:
        """Connect the link and start the thread.

        Raises:
            zmq.ZMQError: the address cannot be used at all.
        """
        self._monitor = watch_connection(self._link)
        self._link.connect(self.address)
        self._thread.start()

    def wait_news(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `condition()`, which is looked at after each frame from the node."""
        deadline = deadline_of(timeout)
        while True:
            waiter = Waiter()
            self._news.append(waiter.set)
            # Looking after appending: news in between are seen here or wake the waiter.
            if condition():
                return True
            if self.outbox.gone:  # There will be no more news.
                return condition()
            if not waiter.wait(seconds_left(deadline)):
                return condition()

    def on_news(self, callback: Callable[[], object]) -> None:
        """Run `callback` once, in the I/O thread, after the next frame from the node."""
        self._news.append(callback)

    def begin(self, request: Request) -> None:
        """Send a request; its `answered` or `failed` is called in the I/O thread.

        Raises:
            MeshError: the client is closed.
        """
        self.outbox.command(lambda: self._begin(request))

    def forget(self, request: Request) -> None:
        """Nobody waits for the answer any more."""
        if self.outbox.closed is None:
            self.outbox.command(lambda: self._requests.pop(request.id, None))

    def begin_stream(self, stream: Stream) -> None:
        """Send the request of a stream; it lasts while the caller keeps it.

        Raises:
            MeshError: the client is closed.
        """
        reference = weakref.ref(stream)
        self.outbox.command(lambda: self._begin_stream(reference))

    def end_stream(self, stream: Stream) -> None:
        """Unsubscribe."""
        stream_id = stream.id
        if self.outbox.closed is None:
            self.outbox.command(lambda: self._end_stream(stream_id))

    def watch(self, call: Call) -> None:
        """Ask to be told how a call found by its id ends.

        Raises:
            MeshError: the client is closed.
        """
        self.outbox.command(lambda: self._watch_call(call))

    def stop(self, seconds: float) -> None:
        """Take nothing new; end when all is acknowledged, at the latest in `seconds`."""
        self._stop_at = time.monotonic() + seconds
        self.outbox.close(_closed())

    def join(self, seconds: float) -> None:
        """Wait for the thread to end."""
        if self._thread.is_alive() and current_thread() is not self._thread:
            self._thread.join(seconds)

    def abort(self) -> None:
        """Close the link of a session whose `start` failed."""
        self._close_link()
        self.outbox.end(_closed())
        self._context.term()

    def abandon(self) -> None:
        """In a forked child: the thread and the link are the parent's."""
        why = WrongState(
            "this process was forked from the one whose client this is; "
            "connect again here, and use client.call(id) to ask for the parent's calls"
        )
        self.outbox.abandon(why)
        self._let_go(why)

    # The thread.

    def _run(self) -> None:
        why: MeshError = _closed()
        try:
            self._loop()
        except Exception as error:  # Whoever waits must hear of it, whatever it was.
            why = NodeError(
                f"the client's I/O thread ended: {type(error).__name__}: {error}; what was "
                "acknowledged goes on at the node; connect again to ask for it by id"
            )
            why.__cause__ = error
        finally:
            self._end(why)

    def _loop(self) -> None:
        link, outbox = self._link, self.outbox
        poller = zmq.Poller()
        poller.register(link, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        poller.register(outbox.wakeup.fd, zmq.POLLIN)
        wakeup_fd = outbox.wakeup.fd
        flags = zmq.POLLIN
        while not self._is_over():
            for action in outbox.take_commands():
                if self.phase is UP:
                    self._send_calls()  # A request about a call goes after the call.
                action()
            if self.phase is UP:
                self._send_calls()
            if self._unsent:
                self._send_unsent()
            wanted = zmq.POLLIN | zmq.POLLOUT if self._unsent else zmq.POLLIN
            if wanted != flags:
                poller.register(link, wanted)
                flags = wanted
            timeout: int | None = 0
            if outbox.may_sleep(sends_calls=self.phase is UP):
                timeout = self._patience_ms()
            ready = dict(poller.poll(timeout))
            outbox.sleeping = False
            if wakeup_fd in ready:
                outbox.wakeup.clear()
            if self._monitor in ready:
                self._hear_monitor()
            if ready.get(link, 0) & zmq.POLLIN:
                self._receive()
            elif self._is_silent():
                self._ask_for_a_word()
            if self._resync_due and self.phase is UP and time.monotonic() >= self._next_resync():
                self._resync(new_session=False)

    def _is_over(self) -> bool:
        stop_at = self._stop_at
        if stop_at is None:
            return False
        return not self.outbox.unacked_calls or time.monotonic() >= stop_at

    def _patience_ms(self) -> int | None:
        """How long the poll may take; None = until something happens."""
        moments = []
        if self.phase is not AWAY and self._is_waiting():
            moments.append(self._heard + SILENCE_S)
        if self._resync_due and self.phase is UP:
            moments.append(self._next_resync())
        if self._stop_at is not None:
            moments.append(self._stop_at)
        if not moments:
            return None
        return max(0, int((min(moments) - time.monotonic()) * 1000) + 1)

    def _next_resync(self) -> float:
        return self._resynced + RESYNC_S

    def _is_waiting(self) -> bool:
        return bool(self.pending or self._requests or self._streams or self._sent) or (
            self.phase is GREETING
        )

    def _is_silent(self) -> bool:
        return (
            self.phase is not AWAY
            and self._is_waiting()
            and time.monotonic() >= self._heard + SILENCE_S
        )

    def _ask_for_a_word(self) -> None:
        """The node may have forgotten this session: any frame makes it say so.

        The question is for outcomes that should have come: were one ever lost in silence, whatever
        the reason, it would come now.
        """
        if self.phase is GREETING:
            self._echoes = False
            self._greet()
        elif not self._unsent:
            self._begin(Watch(self.pending, self.pending.some_known(WATCH_IDS_MAX)))
        else:
            self._heard = time.monotonic()

    def _end(self, why: MeshError) -> None:
        """Leave the node, close the link, and let go everyone who waits."""
        if self.phase is UP and not self._unsent:
            self._send([draft(Kind.BYE)])
        self._close_link()
        self.outbox.end(why)
        self._let_go(why)
        self._context.term()

    def _close_link(self) -> None:
        self._link.disable_monitor()
        if self._monitor is not None:
            self._monitor.close(0)
        self._link.close(LINGER_MS)

    def _let_go(self, why: MeshError) -> None:
        """End everything that is open, so that nobody waits for ever."""
        self.phase = AWAY
        calls, _, _ = self.outbox.take_calls()
        for batch in self._sent.values():
            calls += batch.calls
        for call in calls:
            call._end_with(why)
        self.pending.lose_all(why)
        for action in self.outbox.take_commands():
            action()  # Requests that came last are noted, to be failed below.
        self.pending.lose_all(why)
        for request in [*self._requests.values(), *self._live_streams()]:
            request.failed(why)
        self._tell_news()

    # Sending.

    def _send(self, drafts: list[bytes]) -> int:
        """Send one frame; returns its sequence number."""
        self._sequence += 1
        self._heard = time.monotonic()  # Its answer is what is waited for now.
        data = seal_frame(
            drafts,
            sequence=self._sequence,
            sender_boot=self._boot,
            receiver_boot=self._node_boot,
        )
        self._unsent.append(data)
        self._send_unsent()
        return self._sequence

    def _send_unsent(self) -> None:
        unsent = self._unsent
        while unsent:
            try:
                self._link.send(unsent[0], zmq.NOBLOCK)
            except zmq.Again:
                return
            unsent.popleft()

    def _send_calls(self) -> None:
        calls, drafts, size = self.outbox.take_calls()
        if not calls:
            return
        self.pending.follow(calls)
        for batch in split(calls, drafts, size):
            self._sent[self._send(batch.drafts)] = batch

    def _begin(self, request: Request) -> None:
        self._requests[request.id] = request
        self._send_request(request)

    def _send_request(self, request: Request) -> None:
        if self.phase is UP:
            request.sent = True
            self._send([request.draft])

    def _begin_stream(self, reference: weakref.ref[Stream]) -> None:
        stream = reference()
        if stream is not None:
            self._streams[stream.id] = reference
            self._send_request(stream)

    def _end_stream(self, stream_id: bytes) -> None:
        if self._streams.pop(stream_id, None) is not None:
            self._begin(Request("unsubscribe", {"id": stream_id}))

    def _live_streams(self) -> list[Stream]:
        found = [reference() for reference in self._streams.values()]
        return [stream for stream in found if stream is not None]

    def _watch_call(self, call: Call) -> None:
        if self.pending.follow_found(call):
            self._begin(Watch(self.pending, [call._id]))

    # Greeting and coming back.

    def _hear_monitor(self) -> None:
        assert self._monitor is not None
        for news in connection_news(self._monitor):
            if news == CONNECTED:
                self._greet()
            else:
                self._leave_connection()

    def _leave_connection(self) -> None:
        self.phase = AWAY
        self._unsent.clear()  # The resync makes these frames again.
        for request in list(self._requests.values()):
            if request.sent and not request.safe:
                del self._requests[request.id]
                request.failed(went_away(request.operation))

    def _greet(self) -> None:
        self.phase = GREETING
        self._unsent.clear()
        self._node_boot = 0
        self._hello = os.urandom(16)
        body = pack({"version": 1, "session": self._session_id, "pid": os.getpid()})
        self._send([draft(Kind.HELLO, id=self._hello, body=body)])

    def _welcomed(self, row: Row, frame: bytes) -> None:
        """A WELCOME answers HELLO, or a frame of a session that the node does not know."""
        if row.id == self._hello:
            self._echoes = True
        elif row.id != NO_ID or (self._echoes and self.phase is GREETING):
            return  # It answers something older; the answer to the newest HELLO is on its way.
        elif self.phase is not GREETING:
            self._leave_connection()
            self._greet()
            return
        found = unpack(frame[row.body_at : row.end])
        if not isinstance(found, dict):
            raise BadFrame(f"the node at {self.address} sent a WELCOME that is no map: {found!r}")
        self.welcome = found
        self._node_boot = int(found.get("boot") or 0) & 0xFFFF_FFFF
        self.outbox.window_calls = int(found.get("window_calls") or self.outbox.window_calls)
        self.outbox.window_bytes = int(found.get("window_bytes") or self.outbox.window_bytes)
        self.phase = UP
        self._resync(new_session=True)

    def _resync(self, *, new_session: bool) -> None:
        """Tell the node everything again that it may not know."""
        self._resync_due = False
        self._resynced = time.monotonic()
        unacknowledged = self._send_again()
        for request in list(self._requests.values()):
            if isinstance(request, Watch):
                del self._requests[request.id]  # Its calls are watched below.
            elif request.safe or not request.sent:
                self._send_request(request)
            elif new_session:
                del self._requests[request.id]
                request.failed(went_away(request.operation))
        for stream in self._live_streams():
            stream.before_again()
            self._send_request(stream)
        self.pending.sweep()
        ids = [call_id for call_id in self.pending.calls if call_id not in unacknowledged]
        for start in range(0, len(ids), WATCH_IDS_MAX):
            self._begin(Watch(self.pending, ids[start : start + WATCH_IDS_MAX]))

    def _send_again(self) -> set[bytes]:
        """Send all calls that were sent and not acknowledged; returns their ids."""
        again = list(self._sent.values())
        self._sent.clear()
        ids: set[bytes] = set()
        for batch in again:
            batch.sent_before()
            ids.update(call._id for call in batch.calls)
            self._sent[self._send(batch.drafts)] = batch
        return ids

    # Receiving.

    def _receive(self) -> None:
        link = self._link
        for _ in range(FRAMES_PER_TURN):
            try:
                frame = link.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._heard = time.monotonic()
            try:
                _, rows = index(frame)
            except BadFrame as error:
                self._is_bad(error)
                continue
            self._take(frame, rows)
            if self._news:
                self._tell_news()

    def _take(self, frame: bytes, rows: list[Row]) -> None:
        ended: list[Call] = []  # With someone waiting: woken when the whole frame is taken.
        pop = self.pending.calls.pop
        twins = self.pending.twins
        for row in rows:
            kind, _, code, _, call_id, _, _, _, _, _, _, _, body_at, end = row
            if kind != _OUTCOME or code not in _OUTCOMES:
                self._take_other(row, frame)
                continue
            if twins and call_id in twins:
                self.pending.end(call_id, code, frame[body_at:end])
                continue
            reference = pop(call_id, None)
            if reference is None:
                continue
            call = reference()
            if call is None or call._code:
                continue
            call._body = frame[body_at:end]
            call._code = code  # After the body: whoever sees the code finds the body.
            if call._callbacks is not None:
                ended.append(call)
        for call in ended:
            call._run_callbacks()

    def _is_bad(self, error: MeshError) -> None:
        """The node sent what cannot be read: whatever it said, have it say it again."""
        self.problem = str(error)
        self._resync_due = True

    def _take_other(self, row: Row, frame: bytes) -> None:
        try:
            self._take_rare(row, frame)
        except MeshError as error:
            self._is_bad(error)

    def _take_rare(self, row: Row, frame: bytes) -> None:
        kind = row.kind
        if kind == Kind.ACCEPTED:
            self._acknowledged(row)
        elif kind == Kind.ANSWER:
            self._answered(row, frame[row.body_at : row.end])
        elif kind == Kind.REFUSED:
            self._refused(row, frame[row.body_at : row.end])
        elif kind == Kind.ITEM:
            self.pending.take_item(row.id, row.number, frame[row.body_at : row.end])
        elif kind == Kind.EVENT:
            self._take_event(row, frame[row.body_at : row.end])
        elif kind == Kind.WELCOME:
            self._welcomed(row, frame)
        elif kind == Kind.LAGGED:
            self._resync_due = True

    def _acknowledged(self, row: Row) -> None:
        batch = self._sent.pop(row.number, None)
        if batch is None:
            return
        self._bad_frames = 0
        level = self._level_text(row.code, row.attempt)
        for call in batch.calls:
            call._accepted = level
        self.outbox.acknowledged(len(batch.calls), batch.size)

    def _level_text(self, code: int, copies: int) -> str:
        text = self._levels.get((code, copies))
        if text is None:
            name = Level(code).name.lower() if code in list(Level) else f"level {code}"
            text = f"{name} {copies >> 8}/{copies & 0xFF}"
            self._levels[(code, copies)] = text
        return text

    def _refused(self, row: Row, body: bytes) -> None:
        if row.id == NO_ID:
            self._frame_refused(body)
            return
        self.pending.refuse(row.id, body)

    def _frame_refused(self, body: bytes) -> None:
        """The node could not read a frame of ours, and cannot say what was in it."""
        self.problem = str(from_data(unpack(body)))
        self._bad_frames += 1
        self._resync_due = True
        if self._bad_frames > BAD_FRAMES_MAX:
            error = from_data(unpack(body))
            for batch in self._sent.values():
                for call in batch.calls:
                    call._end_with(error)
                self.outbox.acknowledged(len(batch.calls), batch.size)
            self._sent.clear()
            self._bad_frames = 0

    def _answered(self, row: Row, body: bytes) -> None:
        good = row.code == 0
        request: Request | None = self._requests.pop(row.id, None)
        if request is not None:
            request.answered(good, body)
            return
        reference = self._streams.get(row.id)
        stream = None if reference is None else reference()
        if stream is not None and stream.answered(good, body):
            self._streams.pop(row.id, None)

    def _take_event(self, row: Row, body: bytes) -> None:
        reference = self._streams.get(row.id)
        if reference is None:
            return
        stream = reference()
        if stream is None:
            self._end_stream(row.id)
        elif stream.event(body, bool(row.flags & Flag.LAST)):
            self._streams.pop(row.id, None)

    def _tell_news(self) -> None:
        news = self._news
        for _ in range(len(news)):
            news.popleft()()


def _closed() -> WrongState:
    return WrongState(
        "the client is closed; what was acknowledged goes on at the node; "
        "connect again and use client.call(id) to ask for it"
    )
