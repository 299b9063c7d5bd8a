"""Joining a mesh: keys on the spot, the handshake with each address in turn, then the folder.

Until the answer is checked only the new keys are on disk, in the staging folder.  When a request
was sent and no answer came they stay there, and the same command continues with them: the node
that invited may have let them in.  After any other failure nothing is left.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from meshcode.errors import (
    BadJoin,
    BadRequest,
    BadRoster,
    CannotReach,
    MeshError,
    NotApproved,
    TooManyAttempts,
    TrustDamaged,
    WrongFingerprint,
)
from meshcode.limits import JOIN_WAIT_MS, ROSTER_BYTES_MAX
from meshcode.trust import folder, handshake, identity, signing
from meshcode.trust.founding import Place, new_identity
from meshcode.trust.handshake import Transcript
from meshcode.trust.identity import Identity
from meshcode.trust.invites import verifier_of
from meshcode.trust.line import Line
from meshcode.trust.roster import Roster

_PENDING = "joining.json"
_ASK_AGAIN_MS = 1_000  # While a person is asked.
_RECONNECT_MS = 200
_CLOSINGS_MAX = 2  # One may be chance: a node that is just being started again.
_EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)


class Unanswered(CannotReach):
    """The request was sent and no answer came: the joiner may be a member and not know it."""

    code = "cannot_reach"


@dataclass(frozen=True, slots=True)
class Wish:
    """How the joiner wants to be known."""

    name: str
    domain: str
    place: Place
    is_named: bool = False  # Somebody said so; else an invitation for another name gives it.
    wait_ms: int = JOIN_WAIT_MS  # For each step at each address.
    approve_wait_ms: int = 15 * 60_000  # For a person.


def join_mesh(
    base: str | None, line: Line, wish: Wish, tell: Callable[[str], None] = lambda _: None
) -> Identity:
    """Join the mesh of an invitation.

    Args:
        line: as `line.parse` read it.
        tell: gets a sentence when a person must do something.

    Returns:
        The identity that is now in the home.

    Raises:
        MeshExists: the home belongs to a mesh.
        CannotReach, WrongFingerprint: no address answers, or what answers has another key.
        UnknownInvitation, InvitationExpired, InvitationUsed, NotApproved, NameTaken,
        TooManyAttempts, JoinVersion, BadJoin, BadRoster: the node that invited said no, or
            could not prove who it is.
    """
    with folder.making(base) as staging:
        mine = _resume(staging, line) or _begin(staging, line)
        try:
            answer, mine = _try_each(line, mine, wish, tell)
            _finish(staging, answer, mine, wish)
        except Unanswered:
            raise  # The keys stay.
        except BaseException:
            folder.discard(staging)
            raise
    return answer.identity


# The staging folder.


def _begin(staging: Path, line: Line) -> Identity:
    folder.begin(staging)
    place = Place((), (), ())
    mine = new_identity("joiner", "core", "", bytes(32), place)
    identity.write_key(staging / folder.NODE_KEY, mine)
    folder.write_json(staging / _PENDING, {"invitation": line.id.hex()})
    return mine


def _resume(staging: Path, line: Line) -> Identity | None:
    """The keys of an earlier attempt with this invitation whose answer never came."""
    try:
        if folder.read_json(staging / _PENDING).get("invitation") != line.id.hex():
            return None
        secret, seed = folder.read_key(staging / folder.NODE_KEY, "secret", "sign_seed")
    except TrustDamaged:
        return None
    public = identity.curve_public(secret)
    fresh = new_identity("joiner", "core", "", bytes(32), Place((), (), ()))
    return replace(
        fresh, node=signing.node_id(public), public=public, secret=secret,
        sign=signing.from_seed(seed),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of the handshake."""

    identity: Identity
    roster: bytes


def _finish(staging: Path, answer: _Answer, mine: Identity, wish: Wish) -> None:
    assert answer.identity.public == mine.public, wish
    identity.write_roster(staging, answer.roster)
    identity.write(staging, answer.identity)
    (staging / _PENDING).unlink()
    folder.finish(staging)


# The handshake.


def _try_each(
    line: Line, mine: Identity, wish: Wish, tell: Callable[[str], None]
) -> tuple[_Answer, Identity]:
    """The handshake with the first address that answers."""
    failed: list[MeshError] = []
    for host in line.hosts:
        try:
            return _Attempt(line, mine, wish, tell, host).run(), mine
        except (CannotReach, WrongFingerprint) as error:
            failed.append(error)
    # An address that may have let this node in counts most, then one that answered with a key.
    for kind in (Unanswered, WrongFingerprint, CannotReach):
        for worst in failed:
            if isinstance(worst, kind):
                rest = [other.text.partition(";")[0] for other in failed if other is not worst]
                more = f" (and: {'; '.join(rest)})" if rest else ""
                raise kind(worst.text + more)
    raise AssertionError("an invitation without an address")


class _Attempt:
    """One address: a link, a monitor of it, and the messages."""

    def __init__(
        self, line: Line, mine: Identity, wish: Wish, tell: Callable[[str], None], host: str
    ) -> None:
        self.line, self.mine, self.wish, self.tell, self.host = line, mine, wish, tell, host
        self.verifier = verifier_of(line.secret)
        self.has_connected = False
        self.has_shaken = False
        self.closings = 0  # Connections that ended before the keys were proved.
        self.has_requested = False
        self.link: Any = None
        self.monitor: Any = None

    def run(self) -> _Answer:
        """The whole handshake."""
        context: zmq.Context[Any] = zmq.Context()
        try:
            with self._linked(context):
                return self._exchange()
        finally:
            context.term()

    @contextlib.contextmanager
    def _linked(self, context: zmq.Context[Any]) -> Iterator[None]:
        self.link = context.socket(zmq.DEALER)
        try:
            self.link.linger = 0
            self.link.curve_serverkey = identity.z85(self.line.key)
            self.link.curve_publickey = self.mine.public_z85
            self.link.curve_secretkey = self.mine.secret_z85
            self.link.setsockopt(zmq.MAXMSGSIZE, 2 * ROSTER_BYTES_MAX)
            self.link.setsockopt(zmq.RCVHWM, 8)
            self.link.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
            self.link.setsockopt(zmq.HANDSHAKE_IVL, max(1_000, self.wish.wait_ms))
            self.link.setsockopt(zmq.IPV6, 1)
            self.monitor = self.link.get_monitor_socket(_EVENTS)
            try:
                self.link.connect(f"tcp://{self.host}")
            except zmq.ZMQError as error:
                raise CannotReach(
                    f"{self.host} cannot be reached: {error}; nothing was written"
                ) from None
            yield
        finally:
            if self.monitor is not None:
                self.link.disable_monitor()
                self.monitor.close(0)
            self.link.close(0)

    def _exchange(self) -> _Answer:
        nonce = signing.make_key().seed[: handshake.NONCE_BYTES]  # Random bytes like any.
        challenge = self._ask(
            handshake.write("hello", id=self.line.id, nonce=nonce), "challenge"
        )[1]
        transcript = Transcript(
            id=self.line.id, seed_key=self.line.key, key=self.mine.public,
            sign_key=self.mine.sign.public, name=self._name(challenge), kind=challenge["kind"],
            domain=self.wish.domain, mesh=challenge["mesh"], nonce=nonce,
            seed_nonce=challenge["nonce"],
        )  # fmt: skip
        request = handshake.write_request(transcript, self.mine.sign, self.verifier)
        answer = self._request(request, transcript)
        handshake.check_answer(answer, transcript, self.verifier)
        self._check_roster(answer, transcript)
        place = self.wish.place
        mine = replace(
            self.mine, name=transcript.name, kind=transcript.kind, domain=transcript.domain,
            mesh=transcript.mesh, root_key=answer["root"], bind=place.bind,
            advertise=place.advertise, join=place.join, seeds=tuple(answer["seeds"]),
            worked_out=place.worked_out,
        )  # fmt: skip
        return _Answer(mine, answer["roster"])

    def _name(self, challenge: dict[str, Any]) -> str:
        """The name the invitation demands, else the one that was wished for."""
        demanded = str(challenge["name"])
        if demanded and self.wish.is_named and demanded != self.wish.name:
            raise BadRequest(
                f"the invitation is for the name {demanded} and this host is to be"
                f" {self.wish.name}; nothing was written, and the invitation holds; join without"
                " --name, or let an invitation for that name be made"
            )
        if demanded and demanded != self.wish.name:
            self.tell(f"the invitation is for the name {demanded}; joining as that")
        return demanded or self.wish.name

    def _request(self, request: bytes, transcript: Transcript) -> dict[str, Any]:
        """Ask until there is an answer; with --approve a person is asked in between."""
        give_up = time.monotonic() + self.wish.approve_wait_ms / 1000
        told = False
        while True:
            self.has_requested = True
            kind, found = self._ask(request, "answer", "waiting")
            if kind == "answer":
                return found
            if found["code"] != transcript.code(self.verifier):
                raise BadJoin("the code to approve is another than ours; nothing was written")
            if not told:
                self.tell(
                    f"waiting for approval; where the invitation was made, compare the code:"
                    f" {found['code']}"
                )
                told = True
            if time.monotonic() > give_up:
                raise NotApproved(
                    f"nobody approved within {self.wish.approve_wait_ms // 1000} s; nothing was"
                    " written; ask for a new invitation"
                )
            self.link.poll(_ASK_AGAIN_MS)  # Nothing comes unasked; this is the pause.

    def _check_roster(self, answer: dict[str, Any], transcript: Transcript) -> None:
        """Check that the roster's chain leads from the root key to both sides of this join."""
        roster = Roster(answer["root"])
        roster.merge(answer["roster"])
        if not any(member.key == self.line.key for member in roster.members.values()):
            raise BadRoster(
                "the node that invited is no member of the roster it sent; nothing was written;"
                " ask another node for an invitation"
            )
        me = roster.members.get(self.mine.node)
        expected = (
            transcript.key, transcript.sign_key, transcript.name, transcript.kind,
            transcript.domain,
        )  # fmt: skip
        if me is None or (me.key, me.sign_key, me.name, me.kind, me.domain) != expected:
            raise BadRoster("the roster does not hold this node as it asked; nothing was written")

    # One question.

    def _ask(self, message: bytes, *kinds: str) -> tuple[str, dict[str, Any]]:
        """Send and wait for the one message back.

        Raises:
            MeshError: what the other side said, or why nothing came.
        """
        self.link.send(message)
        end = time.monotonic() + self.wish.wait_ms / 1000
        while (left := end - time.monotonic()) > 0:
            poller = zmq.Poller()
            poller.register(self.link, zmq.POLLIN)
            poller.register(self.monitor, zmq.POLLIN)
            ready = dict(poller.poll(int(left * 1000) + 1))
            if self.link in ready:
                return self._read(kinds)
            if self.monitor in ready:
                self._notice()
        raise self._silence()

    def _read(self, kinds: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
        parts = self.link.recv_multipart()
        if len(parts) != 1:
            raise BadJoin(f"an answer of {len(parts)} parts, expected 1; nothing was written")
        kind, fields = handshake.read(parts[0], *kinds, "error")
        if kind == "error":
            raise handshake.error_of(fields)
        return kind, fields

    def _notice(self) -> None:
        """What the link's monitor says about the connection."""
        event = parse_monitor_message(self.monitor.recv_multipart())["event"]
        if event == zmq.EVENT_CONNECTED:
            self.has_connected = True
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.has_shaken = True
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            raise TooManyAttempts(
                f"{self.host} takes no more connections from this address for now; nothing was"
                " written; try again in a minute"
            )
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            raise self._wrong_key()  # It speaks, and not as a node of ours does.
        elif event == zmq.EVENT_DISCONNECTED and self.has_connected and not self.has_shaken:
            self.closings += 1
            if self.closings >= _CLOSINGS_MAX:
                raise self._wrong_key()

    def _wrong_key(self) -> WrongFingerprint:
        return WrongFingerprint(
            f"what listens at {self.host} does not prove the key of the invitation's fingerprint;"
            " nothing was written; the node has changed its keys, it is another node, or somebody"
            " is in between: ask for a new invitation over a channel you trust"
        )

    def _silence(self) -> MeshError:
        wait_s = f"{self.wish.wait_ms / 1000:.3g} s"
        if self.has_requested:
            return Unanswered(
                f"{self.host} took the request and did not answer within {wait_s}; it may have let"
                " this node in; the new keys are kept: run the same command again"
            )
        if self.has_shaken:
            return CannotReach(
                f"{self.host} has the right key and did not answer within {wait_s}; nothing was"
                " written; see whether that node is well: `mesh status`"
            )
        if self.has_connected:
            return self._wrong_key()
        return CannotReach(
            f"{self.host} cannot be reached within {wait_s}; nothing was written; is the node up,"
            " is the invitation still open there, and does a firewall let the port through?"
        )
