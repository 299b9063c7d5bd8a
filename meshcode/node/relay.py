"""Questions of clients that another node can answer, and outcomes that another node will know.

A call is known at its owner and its voters.  A client may ask any node: what is not known here is
asked of all peers, and the first who knows it answers.  To the node that is asked, a peer is a
client with a number below zero, and another client after each loss of its session: what it asked
before is not answered any more, for its questions may count from one again.

Messages (kind RELAY), plain maps:

    {"q": n, "op": "find", "ids": [id]}                 -> {"a": n, "known": [id], "copies": [...]}
        with "sockets": true it tells, too, whose results each of them shows: [[text]]
    {"q": n, "op": "watch", "ids": [id]}                -> the same, and outcomes as they come
        with "as": text when a user asks: without what it may not see
    {"q": n, "op": "ask", "name": text, "fields": map}  -> {"a": n, "good": bool, "data": any}
        with "as": text when a user asks, whose right to it the peer checks
    {"outcomes": [OUTCOME envelope]}

and those of `feedpeers.py`, for clients that listen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from meshcode import limits
from meshcode.errors import BadValue, UnknownCall
from meshcode.ids import ID_BYTES, text_of
from meshcode.node import behind, callshere, requests
from meshcode.node.fields import check
from meshcode.node.guard import check_for_peer, closed_for_peer
from meshcode.node.meshrows import KEPT
from meshcode.node.partly import Partly
from meshcode.node.sessions import Session
from meshcode.node.watches import Watches
from meshcode.router import acks
from meshcode.router.copies import VOTERS
from meshcode.router.effects import Effects
from meshcode.router.events import ClientLeft, Submitted
from meshcode.wire.frame import check_envelope
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.node.mesh import Mesh

Done = Callable[[list[tuple[bytes, dict[str, Any]]]], None]
_IDS_MAX = 10_000
_NUMBER_MAX = 1 << 63  # Of a question; it is the id of a request here.


@dataclass(slots=True)
class _Question:
    """Something that was asked of several peers."""

    waiting: set[bytes]
    done: Done
    enough: Callable[[dict[str, Any]], bool] | None  # No more answers are needed after this one.
    deadline_ms: int
    asker: tuple[int, bytes] | None  # The client and its request that it is asked for.
    answers: list[tuple[bytes, dict[str, Any]]] = field(default_factory=list)


class _Asker(NamedTuple):
    """A peer as a client of this node."""

    node: bytes
    asked: dict[bytes, int]  # This node's number of a request -> that of the peer's question.


class Known(NamedTuple):
    """A call that peers know."""

    copies: tuple[int, int]  # On how many disks it is, and how many voters it has.
    sockets: frozenset[str]  # Whose results it shows, see `behind.py`.

    def joined(self, other: Known) -> Known:
        """What two peers say: one may know its socket, and the other one not."""
        both = self.sockets | other.sockets
        names = both - {behind.UNTOLD} if self.sockets != other.sockets else both
        return Known(max(self.copies, other.copies), names)


class Relay:
    """Between the clients of this node and those of its peers."""

    def __init__(self, mesh: Mesh) -> None:
        """Nothing is asked yet."""
        self.mesh = mesh
        self._number = 0
        self._questions: dict[int, _Question] = {}
        self._clients: dict[bytes, int] = {}  # Peer -> its number as a client of this node.
        self._askers: dict[int, _Asker] = {}  # By that number.
        self._last_client = 0  # They fall: no number comes twice.
        self._watches = Watches()
        self._later: list[Callable[[], None]] = []  # To be asked again with the next tick.

    # What a client of this node wants.

    def watch(
        self, client: int, ids: list[bytes], done: Callable[[list[bytes]], None],
        user: str | None = None,
    ) -> None:  # fmt: skip
        """Let the peers tell how these calls end, to `user` if one asks; `done` gets those that
        nobody knows, or that it may not see.
        """
        asked = self._watches.ask(client, ids)

        def answered(answers: list[tuple[bytes, dict[str, Any]]]) -> None:
            known = {id for _, data in answers for id in _known(data)}
            told = self._watches.answered(asked, known)
            if told:
                self.mesh.loop.turns.add(Effects(outcomes=told))
            self._will_tell(answers)
            done([id for id in ids if id not in known])

        message: dict[str, Any] = {"op": "watch", "ids": ids}
        self.gather(message if user is None else {**message, "as": user}, answered)

    def client_left(self, client: int) -> None:
        """A session here has ended: it wants no outcomes."""
        self._watches.client_left(client)

    def find(
        self, ids: list[bytes], done: Callable[[dict[bytes, Known]], None], *, sockets: bool
    ) -> None:
        """Ask all peers which of these calls they know; with `sockets`, whose results they show."""

        def answered(answers: list[tuple[bytes, dict[str, Any]]]) -> None:
            known: dict[bytes, Known] = {}
            for _, data in answers:
                for id, one in _found(data):
                    known[id] = one.joined(known.get(id, one))
            done(known)

        message: dict[str, Any] = {"op": "find", "ids": ids}
        self.gather({**message, "sockets": True} if sockets else message, answered)

    def submit_again(
        self, session: Session, event: Submitted, again: set[bytes], fed: set[bytes]
    ) -> None:
        """A frame with calls that another node may have: those that one has are not made anew.

        They are acknowledged with the copies that were told of, and watched.

        Args:
            session: whose it is.
            event: the calls.
            again: those of them that may have been sent before.
            fed: what feeds flows among them, and is not known here (`behind.sift`).
        """
        loop = self.mesh.loop
        own = [
            call[0]
            for call in event.calls
            if call[0] in again and call[0] not in event.ended
            and call[0] not in loop.router.calls and call[0] not in loop.router.replica.by_id
        ]  # fmt: skip
        unsure = list(dict.fromkeys([*own, *sorted(fed)]))
        if not unsure or not self.mesh.up:
            behind.settle(loop, session, event, fed, {})
            behind.submit(loop, session, event)
            return

        strict = {c[0] for c in event.calls if (c[5] or {}).get("ack") == "strict"}
        guarded = behind.guarded(loop, session) is not None

        def ask() -> None:
            self.find(unsure, found, sockets=guarded)

        def found(known: dict[bytes, Known]) -> None:
            if session.id not in loop.sessions.by_id:
                return
            told = {id: one.sockets for id, one in known.items()}
            behind.settle(loop, session, event, fed, told)
            here = {call[0] for call in event.calls}
            copies = {id: known[id].copies for id in own if id in known and id in here}
            weak = [id for id in strict & copies.keys() if copies[id][0] <= copies[id][1] // 2]
            if weak:  # It wants a majority or nothing; whoever has it is still at it.
                self._later.append(ask)
                return
            event.calls = [call for call in event.calls if call[0] not in copies]
            event.elsewhere = min(copies.values(), default=None)
            event.ended |= loop.ended(unsure)
            behind.submit(loop, session, event)
            if copies:
                user = None if session.who is None else session.who.user
                self.watch(session.id, sorted(copies), list.clear, user)

        ask()

    def ask(
        self, client: int, request: bytes, name: str, fields: dict[str, Any],
        user: str | None = None, own: tuple[bool, Any] | None = None,
    ) -> None:  # fmt: skip
        """Let the peers answer a client's request, for `user` if one asks; the first good answer
        is given, else what this node has to say of it (`Partly`).
        """
        loop = self.mesh.loop

        def answered(answers: list[tuple[bytes, dict[str, Any]]]) -> None:
            good = [data for _, data in answers if data.get("good") is True]
            odd = [data for _, data in answers if not _is_unknown(data)]
            odd.sort(key=_is_part)
            if good:
                answer = (client, request, True, min(good, key=_is_part).get("data"))
            elif odd and not _is_part(odd[0]):
                answer = (client, request, False, odd[0].get("data"))
            elif own is not None:
                answer = (client, request, *own)
            elif odd:
                answer = (client, request, False, odd[0].get("data"))
            else:
                which = fields.get("id")
                shown = text_of(which) if isinstance(which, bytes) and len(which) == 16 else which
                error = UnknownCall(
                    f"no call {shown} is open or kept in the history of this node or of the "
                    f"{len(answers)} peers that answered"
                )
                answer = (client, request, False, error.to_data())
            loop.turns.add(Effects(answers=[answer]))

        message = {"op": "ask", "name": name, "fields": fields}
        if user is not None:
            message["as"] = user
        self.gather(message, answered, enough=_is_enough)

    def gather(
        self,
        message: dict[str, Any],
        done: Done,
        enough: Callable[[dict[str, Any]], bool] | None = None,
        among: list[bytes] | None = None,
    ) -> None:
        """Ask all peers that are here; `done` gets what they answered in RELAY_PATIENCE_MS.

        Args:
            message: without its number.
            done: is called once.
            enough: no more answers are needed after one for which it is true.
            among: ask only these, which are here.
        """
        here = self.mesh.here() if among is None else among
        if not here or len(self._questions) >= limits.RELAYS_MAX:
            done([])
            return
        self._number += 1
        deadline_ms = self.mesh.loop.clock.now_ms() + limits.RELAY_PATIENCE_MS
        asker = self.mesh.loop.faults.asking
        self._questions[self._number] = _Question(set(here), done, enough, deadline_ms, asker)
        for node in here:
            self.mesh.say_relay(node, {"q": self._number, **message})

    def _end(self, number: int) -> None:
        question = self._questions.pop(number, None)
        if question is None:
            return
        faults = self.mesh.loop.faults
        faults.asking = question.asker
        try:
            question.done(question.answers)
        except Exception as error:  # Of what peers answered; whoever asked must not wait for ever.
            problem = faults.of_request("what peers answered", error)
            if question.asker is not None:
                told = (*question.asker, False, problem.to_data())
                self.mesh.loop.turns.add(Effects(answers=[told]))
        faults.asking = None

    def tick(self, now_ms: int) -> None:
        """Give up on peers that did not answer in time; ask again what was not settled."""
        later, self._later = self._later, []
        for again in later:
            again()
        for number, question in list(self._questions.items()):
            if now_ms >= question.deadline_ms:
                self._end(number)

    def came(self, node: bytes) -> None:
        """A peer's session is open."""
        self._left(node)  # What came of its last life after that was lost made it a client again.
        self.mesh.loop.feed.peers.came(node)

    def lost(self, node: bytes) -> None:
        """A peer's session is gone: what it was asked, others answer; what it watched, too."""
        self.mesh.loop.feed.peers.lost(node)
        for number, question in list(self._questions.items()):
            question.waiting.discard(node)
            if not question.waiting:
                self._end(number)
        watched = self._watches.lost(node)
        if watched:
            self._watch_elsewhere(watched)
        self._left(node)

    def _left(self, node: bytes) -> None:
        """Forget a peer as a client: what it waits for is answered to nobody."""
        client = self._clients.pop(node, None)
        if client is not None:
            del self._askers[client]
            self.mesh.loop.step(ClientLeft(client))

    def _watch_elsewhere(self, ids: list[bytes]) -> None:
        loop = self.mesh.loop
        ended = loop.ended(ids)
        here = [id for id in ids if id in ended or callshere.is_known(loop, id)]
        told: list[tuple[int, bytes]] = []
        for id in here:  # This node is a voter: it has the outcome, or learns of it by itself.
            for client in self._watches.take(id):
                if id in ended:
                    told.append((client, ended[id]))
                else:
                    callshere.watch(loop, client, [id])
        if told:
            loop.turns.add(Effects(outcomes=told))
        self.gather({"op": "watch", "ids": [id for id in ids if id not in here]}, self._will_tell)

    def _will_tell(self, answers: list[tuple[bytes, dict[str, Any]]]) -> None:
        """Who said that it knows a call tells how it ends; of one that has gone since, others."""
        here = self.mesh.here()
        for node, data in answers:
            if node in here:
                self._watches.knows(node, _known(data))
        gone = {id for node, data in answers if node not in here for id in _known(data)}
        if lonely := self._watches.lonely(gone):
            self._watch_elsewhere(lonely)

    # What a peer says.

    def heard(self, node: bytes, message: Any) -> None:
        """Take one message of a peer.

        Raises:
            BadValue: it is none.
        """
        if not isinstance(message, dict):
            raise BadValue(f"a message between nodes is a {type(message).__name__}, not a map")
        number = message.get("a", message.get("q", 0))
        if type(number) is not int or not 0 <= number < _NUMBER_MAX:
            raise BadValue(f"a question between nodes has the number {number!r:.40}")
        if "a" in message:
            question = self._questions.get(number)
            if question is not None and node in question.waiting:
                question.waiting.discard(node)
                question.answers.append((node, message))
                enough = question.enough is not None and question.enough(message)
                if enough or not question.waiting:
                    self._end(number)
        elif "outcomes" in message:
            self._hear_outcomes(node, message["outcomes"])
        elif "feed" in message:
            self.mesh.loop.feed.peers.heard(node, message["feed"])
        elif "q" in message:
            self._answer(node, message)

    def _hear_outcomes(self, node: bytes, outcomes: Any) -> None:
        told: list[tuple[int, bytes]] = []
        for data in outcomes if isinstance(outcomes, list) else []:
            if not isinstance(data, bytes):
                continue
            row = check_envelope(data)
            if row.kind != Kind.OUTCOME:
                continue
            told += self._watches.came(node, row.id, data)
        if told:
            self.mesh.loop.turns.add(Effects(outcomes=told))

    def _answer(self, node: bytes, message: dict[str, Any]) -> None:
        number, op = message["q"], message.get("op")
        if op == "ask":
            self._answer_ask(node, number, message)
            return
        if op == "feed":
            self.mesh.loop.feed.peers.wanted(node, message.get("want"))
            self.mesh.say_relay(node, {"a": number})
            return
        ids = message.get("ids")
        if not isinstance(ids, list) or len(ids) > _IDS_MAX:
            return
        good = [id for id in ids if isinstance(id, bytes) and len(id) == ID_BYTES]
        loop = self.mesh.loop
        # An instance that has ended is known too, but its outcome may only be in the history.
        missing = [id for id in good if id not in loop.router.calls]
        ended = loop.ended(missing)
        known = [id for id in good if id in ended or callshere.is_known(loop, id)]
        if op == "watch":
            closed = closed_for_peer(loop, message.get("as"), known)
            known = [id for id in known if id not in closed]
            ended = {id: data for id, data in ended.items() if id not in closed}
            client = self._client(node)
            callshere.watch(loop, client, [id for id in known if id not in ended])
            loop.turns.add(Effects(outcomes=[(client, data) for data in ended.values()]))
        copies = [list((2, 3) if id in ended else self._copies_of(id)) for id in known]
        found = {"a": number, "known": known, "copies": copies}
        if message.get("sockets") is True:
            told = behind.sockets_of(loop, known)
            found["sockets"] = [told.get(id, [behind.UNTOLD]) for id in known]
        self.mesh.say_relay(node, found)

    def _copies_of(self, id: bytes) -> tuple[int, int]:
        """On how many disks a call is for certain, and how many voters it has."""
        router = self.mesh.loop.router
        call = router.calls.get(id)
        if call is not None:
            return acks.copies_of(call)
        inst = router.replica.by_id.get(id)
        if inst is None:
            return (1, VOTERS)  # A copy; its home may be gone.
        return (inst.majority if inst.ended else 1, len(inst.voters))

    def _answer_ask(self, node: bytes, number: int, message: dict[str, Any]) -> None:
        name, fields = message.get("name"), message.get("fields")
        known = isinstance(name, str) and name in requests.FOR_PEERS
        operation = requests.OPERATIONS.get(name) if known else None
        client = self._client(node)
        request = self.mesh.loop.asks.draw()
        self._askers[client].asked[request] = number
        try:
            if operation is None or not isinstance(fields, dict):
                raise UnknownCall(f"peers are not answered {name!r:.40}")
            check(name, fields)
            check_for_peer(self.mesh.loop, message.get("as"), name, fields)
            answer = operation(self.mesh.loop, Session(client, b""), request, fields)
            good = True
        except Partly as partly:
            good, answer = partly.answer
        except Exception as error:
            answer, good = self.mesh.loop.faults.of_request(str(name), error).to_data(), False
        if answer is not None:
            self.mesh.loop.turns.add(Effects(answers=[(client, request, good, answer)]))

    def _client(self, node: bytes) -> int:
        client = self._clients.get(node)
        if client is None:
            self._last_client -= 1
            client = self._clients[node] = self._last_client
            self._askers[client] = _Asker(node, {})
        return client

    # What leaves for a peer as a client of this node.

    def give_answer(self, client: int, request: bytes, good: bool, data: Any) -> None:
        """An operation that a peer asked for was done."""
        asker = self._askers.get(client)
        number = None if asker is None else asker.asked.pop(request, None)
        if asker is not None and number is not None:
            self.mesh.say_relay(asker.node, {"a": number, "good": good, "data": data})

    def give_outcomes(self, client: int, outcomes: list[bytes]) -> None:
        """Calls that a peer watches have ended."""
        asker = self._askers.get(client)
        if asker is not None:
            for data in outcomes:  # One by one: each may be large.
                self.mesh.say_relay(asker.node, {"outcomes": [data]})


def _known(data: dict[str, Any]) -> set[bytes]:
    """Ids in an answer; anything odd is left out."""
    known = data.get("known")
    return {id for id in known if isinstance(id, bytes)} if isinstance(known, list) else set()


def _found(data: dict[str, Any]) -> list[tuple[bytes, Known]]:
    """What an answer says of calls; anything odd is left out."""
    known, copies, sockets = data.get("known"), data.get("copies"), data.get("sockets")
    if not isinstance(known, list) or not isinstance(copies, list):
        return []
    if not isinstance(sockets, list) or len(sockets) != len(known):
        sockets = [None] * len(known)  # It was not asked, or is of an older version.
    return [
        (id, Known((told[0], told[1]), _names(names)))
        for id, told, names in zip(known, copies, sockets, strict=False)
        if isinstance(id, bytes) and isinstance(told, list) and len(told) == 2
        and all(type(number) is int and 0 <= number <= limits.VOTERS for number in told)
    ]  # fmt: skip


def _names(names: Any) -> frozenset[str]:
    good = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return frozenset(names if good else [behind.UNTOLD])


def _is_enough(data: dict[str, Any]) -> bool:
    return data.get("good") is True and not _is_part(data)


def _is_part(data: dict[str, Any]) -> bool:
    """Whether another node may know more: this one only keeps the call, or its outcome alone."""
    told = data.get("data")
    if not isinstance(told, dict):
        return False
    fields = told.get("fields")
    is_kept = isinstance(fields, dict) and fields.get("kept") is True
    return is_kept or told.get("know") == KEPT or told.get("bare") is True


def _is_unknown(data: dict[str, Any]) -> bool:
    inner = data.get("data")
    return isinstance(inner, dict) and inner.get("code") == UnknownCall.code
