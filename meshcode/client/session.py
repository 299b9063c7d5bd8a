"""One client's session with its node: the I/O thread and the link it owns.

The thread sends what callers put into the outbox, and stores outcomes in their calls.  The session
has three phases:

    AWAY       no connection; libzmq tries again by itself
    GREETING   connected, HELLO sent, WELCOME awaited
    UP         calls and requests flow

With several addresses it goes to the next when a node is gone: refuses the connection, does not
greet, or does not answer a question (`route.py` says which is next).

Every WELCOME ends in a *resync*, because it may come from a node that was started again and knows
nothing of this client: calls not yet acknowledged are sent again in their order, requests too, and
the node is asked to watch the acknowledged ones.  To another node than before the calls go with the
mark AGAIN, and those it does not know yet are asked for again (`doubts.py`).  Sequence numbers
never start again, so an acknowledgement can only be for the frame it names.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable
from math import inf
from threading import Thread, current_thread
from typing import TYPE_CHECKING, Any

import zmq

from meshcode.client.batch import Unacknowledged, level_text, split
from meshcode.client.begun import Begun
from meshcode.client.call import Call
from meshcode.client.doubts import Doubts
from meshcode.client.ends import closed, forked, thread_ended, went_away
from meshcode.client.link import DOWN, Link
from meshcode.client.link import UP as CONNECTED
from meshcode.client.login import hello_body
from meshcode.client.outbox import Outbox
from meshcode.client.pending import Pending
from meshcode.client.quiet import Quiet
from meshcode.client.requests import Request, Subscription, Watch
from meshcode.client.route import Route
from meshcode.client.sender import Sender
from meshcode.client.wake import Notice
from meshcode.errors import BadFrame, MeshError, from_data
from meshcode.ids import NO_ID
from meshcode.wire.codec import unpack
from meshcode.wire.frame import Column, Row, draft, pick, row_at
from meshcode.wire.kinds import Flag, Kind

if TYPE_CHECKING:
    from meshcode.client.keys import KeyPair

AWAY, GREETING, UP = "away", "greeting", "up"

RESYNC_S = 1.0  # At most one resync in this time when frames were lost or bad.
SILENCE_S = 2.0  # After so long without a word while something is awaited, the node is asked.
# With several addresses it is asked sooner, and is gone when it owes an answer for FAILOVER_S: the
# question is then out for 1.5 s, which a healthy node's slowest sync does not take, and a caller
# who waits 5 s gets the answer of another node.
QUESTION_S = 1.0
FAILOVER_S = 2.5
FRAMES_PER_TURN = 64  # Received before sending gets its turn.
WATCH_IDS_MAX = 1000  # Calls in one call.watch request.
BAD_FRAMES_MAX = 3  # Frames of ours the node may call bad in a row before their calls are given up.
LINGER_MS = 200  # For the last frame, BYE, when the client is closed.

# Why a node counts as gone, by the phase of its session.
_GONE = {AWAY: "no connection", GREETING: "it does not greet", UP: "it does not answer"}
_OUTCOME = int(Kind.OUTCOME)
_EVENTS, _POLLIN = int(zmq.EVENTS), int(zmq.POLLIN)
# What is read of each envelope of a node; of one that is no plain outcome, the rest then.
ENDED = bytes([
    Column.KIND, Column.CODE, Column.ID, Column.NAME, Column.BODY, Column.START, Column.END,
])  # fmt: skip
_OUTCOMES = (1, 2, 3, 4)


class Session:
    """The state of the I/O thread; callers use only the methods under "For callers"."""

    def __init__(self, route: Route, keys: KeyPair | None) -> None:
        """Not connected yet; `keys` are for links over TCP."""
        self.route = route
        self.outbox = Outbox()
        self.welcome: dict[str, Any] = {}  # What the node said of itself, last time.
        self.phase = AWAY
        self.problem = ""  # Why there is no session yet, for the error of `connect`.
        self._link = Link(zmq.Context(), keys, self.outbox.wakeup.fd)
        self._quiet = Quiet()
        self._sender = Sender(self._link, self._quiet)
        self._thread = Thread(target=self._run, name="meshcode-client", daemon=True)
        self.news = Notice()  # A frame came from the node, or none will come any more.
        self._stop_at: float | None = None  # Monotonic; end then, or when all is acknowledged.
        # All below belongs to the I/O thread.
        self._hello = b""
        self._session_id = os.urandom(16)
        self._node: Any = None  # Who greeted last: its id, else its address.
        self._sent = Unacknowledged()
        self.pending = Pending()  # Sent, not ended.
        self._doubts = Doubts(self.pending)
        self._begun = Begun(self.pending)
        self._requests: dict[bytes, Request] = {}
        self._subscriptions: dict[bytes, weakref.ref[Subscription]] = {}
        self._open_at = inf  # When to try the next address, in a pause between two rounds.
        self._unwelcome = ""  # Why the node does not greet, if it said so.
        self._resync_due = False  # Something was lost: tell and ask everything again.
        self._resynced = 0.0  # Monotonic time of the last resync.
        self._echoes = False  # The node's WELCOME carries the id of the HELLO it answers.
        self._bad_frames = 0

    # For callers.

    @property
    def address(self) -> str:
        """Where the node listens that is used now, or tried."""
        return self.route.seed.address

    def start(self) -> None:
        """Connect the link and start the thread.

        Raises:
            zmq.ZMQError: the address cannot be used at all.
        """
        self._quiet.heard(time.monotonic())
        self._link.open(self.route.seed)
        self._thread.start()

    def wait_news(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `condition()`, which is looked at after each frame from the node."""
        self.news.wait_until(lambda: condition() or self.outbox.gone, timeout)
        return condition()

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

    def begin_subscription(self, subscription: Subscription) -> None:
        """Send the request of a subscription; it lasts while the caller keeps it.

        Raises:
            MeshError: the client is closed.
        """
        reference = weakref.ref(subscription)
        self.outbox.command(lambda: self._begin_subscription(reference))

    def end_subscription(self, subscription: Subscription) -> None:
        """Unsubscribe."""
        subscription_id = subscription.id
        if self.outbox.closed is None:
            self.outbox.command(lambda: self._end_subscription(subscription_id))

    def watch(self, call: Call) -> None:
        """Ask to be told how a call found by its id ends.

        Raises:
            MeshError: the client is closed.
        """
        self.watch_all([call])

    def watch_all(self, calls: list[Call]) -> None:
        """As `watch`, for many."""
        self.outbox.command(lambda: self._watch_calls(calls))

    def stop(self, seconds: float) -> None:
        """Take nothing new; end when all is acknowledged, at the latest in `seconds`."""
        self._stop_at = time.monotonic() + seconds
        self.outbox.close(closed())

    def join(self, seconds: float) -> None:
        """Wait for the thread to end."""
        if self._thread.is_alive() and current_thread() is not self._thread:
            self._thread.join(seconds)

    def abort(self) -> None:
        """Close the link of a session whose `start` failed."""
        self._link.close()
        self.outbox.end(closed())
        self._link.context.term()

    def abandon(self) -> None:
        """In a forked child: the thread and the link are the parent's."""
        why = forked()
        self.outbox.abandon(why)
        self._let_go(why)

    # The thread.

    def _run(self) -> None:
        why: MeshError = closed()
        try:
            self._loop()
        except Exception as error:  # Whoever waits must hear of it, whatever it was.
            why = thread_ended(error)
        finally:
            self._end(why)

    def _loop(self) -> None:
        link, outbox = self._link, self.outbox
        wakeup_fd = outbox.wakeup.fd
        while not self._is_over():
            for action in outbox.take_commands():
                if self.phase is UP:
                    self._send_calls()  # A request about a call goes after the call.
                action()
            if self.phase is UP:
                self._send_calls()
            if self._sender.unsent:
                self._sender.flush()
            timeout: int | None = 0
            if outbox.may_sleep(sends_calls=self.phase is UP):
                timeout = self._patience_ms()
            ready = link.poll(timeout, sends=bool(self._sender.unsent))
            outbox.sleeping = False
            if wakeup_fd in ready:
                outbox.wakeup.clear()
            if link.monitor in ready:
                self._hear_monitor()
            if ready.get(link.dealer, 0) & zmq.POLLIN:
                self._receive()
            else:
                self._mind_the_time()
            if self.phase is UP and (self._resync_due or self._doubts.due < inf):
                self._make_sure()

    def _is_over(self) -> bool:
        stop_at = self._stop_at
        if stop_at is None:
            return False
        return not self.outbox.unacked_calls or time.monotonic() >= stop_at

    def _patience_ms(self) -> int | None:
        """How long the poll may take; None = until something happens."""
        moments = []
        if self.phase is not AWAY and self._is_waiting():
            moments.append(self._next_question())
        if self.route.several:
            moments.append(min(self._gone_at(), self._open_at))
        if self.phase is UP and self._doubts.due < inf:
            moments.append(self._doubts.due)
        if self.phase is UP and self._resync_due:
            moments.append(self._resynced + RESYNC_S)
        if self._stop_at is not None:
            moments.append(self._stop_at)
        if not moments or min(moments) == inf:
            return None
        return max(0, int((min(moments) - time.monotonic()) * 1000) + 1)

    def _is_waiting(self) -> bool:
        return bool(self.pending or self._requests or self._subscriptions or self._sent) or (
            self.phase is GREETING
        )

    def _next_question(self) -> float:
        return self._quiet.next_question(QUESTION_S if self.route.several else SILENCE_S)

    def _mind_the_time(self) -> None:
        """Nothing was received in this turn: see what is due."""
        now = time.monotonic()
        if self.route.several:
            if now >= self._open_at:
                self._open()
            elif self._unwelcome or now >= self._gone_at():
                self._move_on(self._unwelcome or f"{_GONE[self.phase]} within {FAILOVER_S:g} s")
        if self.phase is not AWAY and now >= self._next_question() and self._is_waiting():
            self._ask_for_a_word()

    def _gone_at(self) -> float:
        """When the node of one of several addresses counts as gone, if there is no word of it."""
        in_pause = self._open_at < inf
        if in_pause or (self.phase is UP and not (self._quiet.is_asked and self._is_waiting())):
            return inf
        return self._quiet.since + FAILOVER_S

    def _ask_for_a_word(self) -> None:
        """The node may have forgotten this session: any frame makes it say so.

        The question is for outcomes that should have come: were one ever lost in silence, whatever
        the reason, it would come now.
        """
        self._quiet.asked(time.monotonic())
        if self.phase is GREETING:
            self._echoes = False
            self._greet()
        elif not self._sender.unsent:  # Else it does not even take what it was told.
            self._begin(Watch(self._doubts, self.pending.some_known(WATCH_IDS_MAX)))

    def _end(self, why: MeshError) -> None:
        """Leave the node, close the link, and let go everyone who waits."""
        if self.phase is UP and not self._sender.unsent:
            self._sender.send([draft(Kind.BYE)])
        self._link.close(LINGER_MS)
        self.outbox.end(why)
        self._let_go(why)
        self._link.context.term()

    def _let_go(self, why: MeshError) -> None:
        """End everything that is open, so that nobody waits for ever."""
        self.phase = AWAY
        calls, _, _ = self.outbox.take_calls()
        self._sent.end_all(why)
        for call in calls:
            call._end_with(why)
        self.pending.lose_all(why)
        for action in self.outbox.take_commands():
            action()  # Requests that came last are noted, to be failed below.
        self.pending.lose_all(why)
        for request in [*self._requests.values(), *self._live_subscriptions()]:
            request.failed(why)
        self.news.tell()

    # Sending.

    def _send_calls(self) -> None:
        calls, drafts, size = self.outbox.take_calls()
        if not calls:
            return
        self.pending.follow(calls)
        for batch in split(calls, drafts, size):
            self._sent.add(self._sender.send(batch.drafts), batch)

    def _begin(self, request: Request) -> None:
        self._requests[request.id] = request
        self._send_request(request)

    def _send_request(self, request: Request) -> None:
        if self.phase is UP:
            request.sent = True
            self._sender.send([request.draft])

    def _begin_subscription(self, reference: weakref.ref[Subscription]) -> None:
        subscription = reference()
        if subscription is not None:
            self._subscriptions[subscription.id] = reference
            self._send_request(subscription)

    def _end_subscription(self, subscription_id: bytes) -> None:
        if self._subscriptions.pop(subscription_id, None) is not None:
            self._begin(Request("unsubscribe", {"id": subscription_id}))

    def _live_subscriptions(self) -> list[Subscription]:
        return [one for found in self._subscriptions.values() if (one := found()) is not None]

    def _watch_calls(self, calls: list[Call]) -> None:
        self._watch(self._begun.follow(calls))

    def _watch(self, ids: list[bytes]) -> None:
        for start in range(0, len(ids), WATCH_IDS_MAX):
            self._begin(Watch(self._doubts, ids[start : start + WATCH_IDS_MAX]))

    # Greeting and coming back.

    def _hear_monitor(self) -> None:
        for news, why in self._link.news():
            if news == CONNECTED:
                self._quiet.heard(time.monotonic())
                self._greet()
            elif news == DOWN:
                self._leave_connection()
            elif self.route.several:
                self._move_on(why)
            else:
                self.route.note(why)

    def _move_on(self, why: str) -> None:
        """The node is gone: leave it for the next address, now or after a pause."""
        pause_s = self.route.failed(why)
        self._leave_connection()
        self._link.close()
        self._open_at = time.monotonic() + pause_s
        if not pause_s:
            self._open()

    def _open(self) -> None:
        self._open_at = inf
        now = time.monotonic()
        self._quiet.heard(now)
        try:
            self._link.open(self.route.seed)
        except zmq.ZMQError as error:
            self._open_at = now + self.route.failed(str(error.strerror or error))

    def _leave_connection(self) -> None:
        for subscription in self._live_subscriptions():
            subscription.link_lost()
        self.phase = AWAY
        self._quiet.heard(time.monotonic())
        self._unwelcome = ""
        self._sender.unsent.clear()  # The resync makes these frames again.
        for request in list(self._requests.values()):
            if request.sent and not request.safe:
                del self._requests[request.id]
                request.failed(went_away(request.operation))

    def _greet(self) -> None:
        self.phase = GREETING
        self._sender.unsent.clear()
        self._sender.node_boot = 0
        self._hello = os.urandom(16)
        body = hello_body(self._session_id)
        self._sender.send([draft(Kind.HELLO, id=self._hello, body=body)])

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
        self._sender.node_boot = int(found.get("boot") or 0) & 0xFFFF_FFFF
        self.outbox.window_calls = int(found.get("window_calls") or self.outbox.window_calls)
        self.outbox.window_bytes = int(found.get("window_bytes") or self.outbox.window_bytes)
        self.phase = UP
        self._unwelcome = ""
        node = found.get("node") or self.address
        elsewhere = self._node not in (None, node)
        self._node = node
        if self.route.arrived() or elsewhere:
            self._doubts.begin()
        self._resync(new_session=True, elsewhere=elsewhere)

    def _make_sure(self) -> None:
        """Something was lost, or is not known to the node yet: ask again when it is time."""
        now = time.monotonic()
        if now >= self._doubts.due:
            self._watch(self._doubts.take())
        if self._resync_due and now >= self._resynced + RESYNC_S:
            self._resync(new_session=False)

    def _resync(self, *, new_session: bool, elsewhere: bool = False) -> None:
        """Tell the node everything again that it may not know."""
        self._resync_due = False
        self._resynced = time.monotonic()
        self._doubts.clear()  # All are asked for below.
        unacknowledged = self._sent.send_again(self._sender.send, elsewhere=elsewhere)
        for request in list(self._requests.values()):
            if isinstance(request, Watch):
                del self._requests[request.id]  # Its calls are watched below.
            elif request.safe or not request.sent:
                self._send_request(request)
            elif new_session:
                del self._requests[request.id]
                request.failed(went_away(request.operation))
        for subscription in self._live_subscriptions():
            subscription.before_again()
            self._send_request(subscription)
        self.pending.sweep()
        self._watch([call_id for call_id in self.pending.calls if call_id not in unacknowledged])

    # Receiving.

    def _receive(self) -> None:
        dealer = self._link.dealer
        assert dealer is not None  # It was ready; nothing in this loop closes it.
        for _ in range(FRAMES_PER_TURN):
            if not int(dealer.getsockopt(_EVENTS)) & _POLLIN:  # To try and be refused takes longer.
                break
            try:
                frame = dealer.recv(zmq.NOBLOCK)
            except zmq.Again:  # The connection went between the question and the answer.
                break
            self._quiet.heard(time.monotonic())
            try:
                _, rows, _, _ = pick(frame, ENDED)
            except BadFrame as error:
                self._is_bad(error)
                continue
            self._take(frame, rows)
            if self.news:
                self.news.tell()

    def _take(self, frame: bytes, rows: list[Any]) -> None:
        ended: list[Call] = []  # With someone waiting: woken when the whole frame is taken.
        pop = self.pending.calls.pop
        twins = self.pending.twins
        for kind, code, call_id, name, body, start, end in rows:
            if kind != _OUTCOME or code not in _OUTCOMES or name:
                self._take_other(*row_at(frame, start, end))
                continue
            if twins and call_id in twins:
                self.pending.end(call_id, code, body)
                continue
            reference = pop(call_id, None)
            if reference is None:
                continue
            call = reference()
            if call is None or call._code:
                continue
            call._body = body
            call._code = code  # After the body: whoever sees the code finds the body.
            if call._callbacks is not None:
                ended.append(call)
        for call in ended:
            call._run_callbacks()
        if self._begun.ids:
            self._watch(self._begun.pop())

    def _is_bad(self, error: MeshError) -> None:
        """The node sent what cannot be read: whatever it said, have it say it again."""
        self.problem = str(error)
        self._resync_due = True
        if self.phase is GREETING:
            self._unwelcome = self.problem

    def _take_other(self, row: Row, frame: bytes) -> None:
        try:
            self._take_rare(row, frame)
        except MeshError as error:
            self._is_bad(error)

    def _take_rare(self, row: Row, frame: bytes) -> None:
        kind = row.kind
        if kind == Kind.ACCEPTED:
            self._acknowledged(row)
        elif kind == Kind.OUTCOME and row.code in _OUTCOMES:
            self._begun.take(row, frame)
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
        batch = self._sent.pop(row.number)
        if batch is None:
            return
        self._bad_frames = 0
        level = level_text(row.code, row.attempt)
        for call in batch.calls:
            call._accepted = level
        self.outbox.acknowledged(len(batch.calls), batch.size)

    def _refused(self, row: Row, body: bytes) -> None:
        if row.id == NO_ID:
            self._frame_refused(body)
            return
        self.pending.refuse(row.id, body)

    def _frame_refused(self, body: bytes) -> None:
        """The node could not read a frame of ours, and cannot say what was in it."""
        self.problem = str(from_data(unpack(body)))
        self._resync_due = True
        if self.phase is GREETING and self.route.several:
            self._unwelcome = self.problem  # Another node may greet, and take the calls.
            return
        self._bad_frames += 1
        if self._bad_frames > BAD_FRAMES_MAX:
            error = from_data(unpack(body))
            for batch in self._sent.end_all(error):
                self.outbox.acknowledged(len(batch.calls), batch.size)
            self._bad_frames = 0

    def _answered(self, row: Row, body: bytes) -> None:
        good = row.code == 0
        request: Request | None = self._requests.pop(row.id, None)
        if request is not None:
            request.answered(good, body)
            return
        reference = self._subscriptions.get(row.id)
        subscription = None if reference is None else reference()
        if subscription is not None and subscription.answered(good, body):
            self._subscriptions.pop(row.id, None)

    def _take_event(self, row: Row, body: bytes) -> None:
        reference = self._subscriptions.get(row.id)
        if reference is None:
            return
        subscription = reference()
        if subscription is None:
            self._end_subscription(row.id)
        elif subscription.event(body, bool(row.flags & Flag.LAST)):
            self._subscriptions.pop(row.id, None)
