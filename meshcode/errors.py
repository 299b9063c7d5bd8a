"""The whole error tree, by who must act.

    MeshError
      CallerError      fix the call: the mesh is well and nothing was changed
      PeerError        drop or distrust the other side of a link
      NodeError        the node's disk, limits or environment: page someone
      RemoteError      the task itself raised

Each class has a `code` (stable, on the wire), an `exit_status` for the shell, and a text built from
its fields: what happened, both numbers, what is still true, what to do next.  `to_data` and
`from_data` carry any of them across a link.  A broken invariant is none of these: it is an assert.
"""

from __future__ import annotations

import builtins
from typing import Any, ClassVar

NOTHING_SENT = "nothing was sent"  # What is still true, of values that could not be written.


class MeshError(Exception):
    """Anything meshcode raises on purpose."""

    code: ClassVar[str] = "mesh"
    exit_status: ClassVar[int] = 1

    def __init__(self, text: str, **fields: Any) -> None:
        super().__init__(text)
        self.text = text
        self.fields = fields

    def __str__(self) -> str:
        return self.text

    def to_data(self) -> dict[str, Any]:
        """Plain data for the wire: `{"code", "text", "fields"}`."""
        return {"code": self.code, "text": self.text, "fields": self.fields}


class CallerError(MeshError):
    """The call is wrong or refused; fix it and send it again.  Nothing was changed."""

    code = "caller"
    exit_status = 2


class PeerError(MeshError):
    """The other side of a link broke the protocol.  Its message was dropped whole."""

    code = "peer"


class NodeError(MeshError):
    """This node cannot go on as it is.  What was acknowledged is still in the log."""

    code = "node"


# Fix the call.


class UnknownSocket(CallerError):
    """No socket of that name is in the model."""

    code = "unknown_socket"
    exit_status = 3


class UnknownCall(CallerError):
    """No call of that id is open or kept in the history."""

    code = "unknown_call"
    exit_status = 3


class UnknownObject(CallerError):
    """The model has no such object."""

    code = "unknown_object"
    exit_status = 3


class ObjectExists(CallerError):
    """The model already has an object of that name; it is unchanged."""

    code = "object_exists"
    exit_status = 6


class WrongArguments(CallerError):
    """The arguments do not fit the signature of the task."""

    code = "wrong_arguments"


class BadData(CallerError):
    """A value cannot be written as plain data, or the text given for one cannot be read.

    Of what a task returns this is a BadResult: the task has run.
    """

    code = "bad_data"


class TooLarge(CallerError):
    """A call, result or option is over its limit."""

    code = "too_large"


class BadRequest(CallerError):
    """A request to a node has a field that is missing or wrong."""

    code = "bad_request"


class QueueFull(CallerError):
    """The line of the socket is at its limit; the call was not accepted.  Try again later."""

    code = "queue_full"
    exit_status = 9


class Busy(CallerError):
    """The node takes no new calls now (draining, or its disk is nearly full).  Try again later."""

    code = "busy"
    exit_status = 9


class Refused(CallerError):
    """Policy forbids it."""

    code = "refused"
    exit_status = 9


class NotAllowed(CallerError):
    """The principal has no right to do this."""

    code = "not_allowed"
    exit_status = 4


class WrongState(CallerError):
    """The call or object is not in a state in which this can be done; it is unchanged."""

    code = "wrong_state"
    exit_status = 6


class ResultExpired(CallerError):
    """The result was kept for its time and is gone."""

    code = "result_expired"
    exit_status = 5


class CallCancelled(CallerError):
    """The call was cancelled, or expired before it could run; it has no result."""

    code = "cancelled"
    exit_status = 5


class SeatGone(CallerError):
    """The worker that a copy of a broadcast was for is gone for good: the copy did not run."""

    code = "seat_gone"
    exit_status = 5


class NoNode(CallerError):
    """No node answers at the address."""

    code = "no_node"
    exit_status = 7


class WaitTimeout(CallerError, TimeoutError):
    """The wait ended before the call did, which is as it was; the text says where it is."""

    code = "timeout"
    exit_status = 124


# Distrust the peer.


class BadFrame(PeerError):
    """Bytes that are not a frame of ours: bad magic, version, length or checksum."""

    code = "bad_frame"


class BadValue(PeerError):
    """Bytes that are not plain data: unknown type, too deep, cut short, or with a tail."""

    code = "bad_value"


# Joining a mesh.


class BadInvitation(CallerError):
    """The line of an invitation is not whole.  Nothing was sent and nothing was written."""

    code = "bad_invitation"


class UnknownInvitation(CallerError):
    """The node has no such invitation, or its secret is another.  Nobody was admitted."""

    code = "unknown_invitation"
    exit_status = 3


class InvitationExpired(CallerError):
    """The time of the invitation is over, by the clock of the node that made it."""

    code = "invitation_expired"
    exit_status = 5


class InvitationUsed(CallerError):
    """Another key has used the invitation.  Nobody else was admitted."""

    code = "invitation_used"
    exit_status = 6


class NotApproved(CallerError):
    """A person refused the join, or did not answer in time."""

    code = "not_approved"
    exit_status = 4


class NameTaken(CallerError):
    """A member of that name is in the mesh.  Nobody was admitted; the invitation is still good."""

    code = "name_taken"
    exit_status = 6


class MeshExists(CallerError):
    """The home belongs to a mesh already; it is unchanged."""

    code = "mesh_exists"
    exit_status = 6


class NoMesh(CallerError):
    """The home belongs to no mesh."""

    code = "no_mesh"
    exit_status = 3


class CannotReach(CallerError):
    """No address of the invitation answers."""

    code = "cannot_reach"
    exit_status = 7


class TooManyAttempts(CallerError):
    """More attempts to join from one address than a node answers in a minute."""

    code = "too_many_attempts"
    exit_status = 9


class JoinVersion(CallerError):
    """The two sides of a join speak different versions of it."""

    code = "join_version"


class WrongFingerprint(PeerError):
    """What listens at the address does not have the key that the invitation names."""

    code = "wrong_fingerprint"


class BadJoin(PeerError):
    """A message of a join is malformed or its proof is wrong.  Nothing was changed."""

    code = "bad_join"


class BadRoster(PeerError):
    """A roster or statement is malformed, foreign, or wrongly signed.  Nothing was changed."""

    code = "bad_roster"


class TrustDamaged(NodeError):
    """A file of the mesh folder is missing or damaged.  It is left as it is."""

    code = "trust_damaged"


# Page someone.


class LogDamaged(NodeError):
    """A log record fails its checksum or is missing.  All other records are kept."""

    code = "log_damaged"


class LogSuspect(NodeError):
    """Writing the log failed.  The node stops; what was acknowledged is on disk."""

    code = "log_suspect"


class DiskFull(NodeError):
    """The disk or the log's map is over its limit.  Nothing accepted is lost."""

    code = "disk_full"
    exit_status = 9


class InternalError(NodeError):
    """The node failed at a request or frame that it should have refused.  It goes on."""

    code = "internal"


class FolderInUse(NodeError):
    """Another node has this data folder open."""

    code = "folder_in_use"
    exit_status = 6


class UnfitFileSystem(NodeError):
    """The file system cannot keep a log safely."""

    code = "unfit_file_system"
    exit_status = 2


class MountFailed(NodeError):
    """Code could not be fetched, built or loaded.  An older environment keeps running."""

    code = "mount_failed"


class ModelUnavailable(NodeError):
    """The model process does not answer.  The node goes on with its last snapshot."""

    code = "model_unavailable"
    exit_status = 9  # Not 7: the node answers, and calls go on.


# The task raised.


class RemoteError(MeshError):
    """The task raised.  `type_name`, `text` and `traceback_text` are as they were in the worker.

    When the type is a built-in exception, what `from_data` makes is an instance of that type too,
    with the `args` it was raised with where they are plain data: `except FileNotFoundError` works
    across the mesh.  One that cannot be made from what came is its nearest base; StopIteration,
    StopAsyncIteration and groups of exceptions are RemoteErrors alone.  One that a task lets
    through from a call of its own stays what it was.
    """

    code = "remote"
    exit_status = 1

    def __init__(self, text: str, **fields: Any) -> None:
        Exception.__init__(self, text)  # A built-in type beside it may want other arguments.
        self.text = text
        self.fields = fields

    def __reduce__(self) -> tuple[Any, ...]:
        # For pickle and copy: classes that `from_data` makes are not found by their names.
        return from_data, (self.to_data(),), self.__dict__

    @property
    def type_name(self) -> str:
        """The exception's class name in the worker, for instance `ValueError`."""
        return str(self.fields.get("type", ""))

    @property
    def traceback_text(self) -> str:
        """The traceback as the worker printed it; empty when there was none."""
        return str(self.fields.get("traceback", ""))


class WorkerDied(RemoteError):
    """The worker process died under the call as often as its retries allow."""

    code = "worker_died"


class TimeLimit(RemoteError):
    """The task ran longer than its time limit and was stopped."""

    code = "time_limit"


class BadResult(RemoteError):
    """The task ran; what it returned or yielded is not plain data, or too large: it is not kept."""

    code = "bad_result"


def _tree(root: type[MeshError]) -> dict[str, type[MeshError]]:
    found = {root.code: root}
    for kind in root.__subclasses__():
        for code, cls in _tree(kind).items():
            found.setdefault(code, cls)
    return found


ERRORS_BY_CODE = _tree(MeshError)


# A generator or coroutine that one of these leaves, or enters, ends or breaks: whoever waits in one
# would find a bare RuntimeError.  They stay plain.
_ENDS_GENERATORS = (StopIteration, StopAsyncIteration)


_remote_classes: dict[tuple[type[MeshError], type[Exception], str], type[MeshError]] = {}


def _remote_class(kind: type[MeshError], base: type[Exception], name: str) -> type[MeshError]:
    key = (kind, base, name)
    if key not in _remote_classes:
        _remote_classes[key] = type(name, (kind, base), {"__module__": __name__})
    return _remote_classes[key]


def is_passed_on(error: RemoteError) -> bool:
    """Whether `from_data` made it of what a task raised: it is no class of whoever raises it."""
    kind = type(error)
    made = kind is RemoteError or any(kind is one for one in tuple(_remote_classes.values()))
    return made and bool(error.type_name)


def _builtin_bases(type_name: str) -> list[type[Exception]]:
    """The built-in exception of that name, then what it is a kind of; the nearest first."""
    named = getattr(builtins, type_name, None)
    if not (isinstance(named, type) and issubclass(named, Exception)):
        return []
    if issubclass(named, _ENDS_GENERATORS):
        return []
    return [base for base in named.__mro__ if issubclass(base, Exception)
            and (base is not Exception or named is Exception)]  # fmt: skip


def _as_builtin(
    kind: type[MeshError], base: type[Exception], type_name: str, text: str, fields: dict[str, Any]
) -> MeshError | None:
    """A `kind` that is a `base` too, with the arguments it was raised with; None where none can be.

    Some built-in exceptions want arguments of their own: those that came, or it is none of them.
    """
    told = fields.get("args")
    for args in ([told] if isinstance(told, list) else []) + [[text]]:
        try:
            error = _remote_class(kind, base, type_name)(text, **fields)
            base.__init__(error, *args)
        except Exception:  # Layouts or arguments that do not fit: whatever says so.
            continue
        error.text = text  # Again: a SyntaxError has a `text` of its own.
        return error
    return None


def _make(kind: type[MeshError], text: str, fields: dict[str, Any]) -> MeshError:
    if issubclass(kind, RemoteError):
        type_name = str(fields.get("type", ""))
        for base in _builtin_bases(type_name):
            error = _as_builtin(kind, base, type_name, text, fields)
            if error is not None:
                return error
    return kind(text, **fields)


def from_data(data: Any) -> MeshError:
    """Make the error again from what `to_data` gave; unknown codes become plain `MeshError`."""
    if not isinstance(data, dict):
        return MeshError(f"the peer sent an error of an unknown shape: {data!r}")
    kind = ERRORS_BY_CODE.get(str(data.get("code", "")), MeshError)
    fields = data.get("fields")
    fields = {str(k): v for k, v in fields.items()} if isinstance(fields, dict) else {}
    fields.pop("text", None)
    error = _make(kind, str(data.get("text", "")), fields)
    traceback_text = fields.get("traceback")
    if traceback_text:
        error.add_note(f"The traceback in the worker:\n{traceback_text}")
    return error
