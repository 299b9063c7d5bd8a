"""How a call's end is told: OUTCOME and ITEM drafts, and error data from exceptions.

An exception is of anybody's class, which may answer the question for any attribute, or for its own
name, by raising something.  So it is asked by what Python itself knows of it (`is_of`, `name_of`,
`traceback_of`); whatever else is read of it may raise, and then is not told.
"""

from __future__ import annotations

import builtins
import os
from typing import Any

from meshcode.errors import (
    NOTHING_SENT,
    BadData,
    BadResult,
    BadValue,
    MeshError,
    MountFailed,
    RemoteError,
    TimeLimit,
    TooLarge,
    WrongArguments,
    is_passed_on,
)
from meshcode.limits import ROUTE_BYTES_MAX, TRACEBACK_BYTES_MAX
from meshcode.wire.codec import pack, unpack_call, unpack_map
from meshcode.wire.frame import Row, draft
from meshcode.wire.kinds import Flag, Kind, Outcome
from meshcode.worker.context import CallInterrupted, DoNotRetry
from meshcode.worker.control import REASON_TIME_LIMIT

KIND_OUTCOME = int(Kind.OUTCOME)
KIND_ITEM = int(Kind.ITEM)
DONE, FAILED, CANCELLED = int(Outcome.DONE), int(Outcome.FAILED), int(Outcome.CANCELLED)
RETRY = int(Flag.RETRY)
_NAME_CHARS_MAX = 1_000  # Of a type's name.
_MEMBERS_TOLD_MAX = 10  # Of a group of exceptions; the traceback has more.
_OWN_FILES = (
    "/meshcode/worker/runner.py",
    "/meshcode/worker/loop.py",
    "/meshcode/worker/asynchronous.py",
    "/meshcode/worker/streaming.py",
    "/meshcode/node/hosted.py",
    "/meshcode/node/hostloop.py",
    "importlib/__init__.py",
)


_name_of = type.__dict__["__name__"].__get__
_traceback_of = BaseException.__dict__["__traceback__"].__get__


class OwnError(Exception):
    """An error of ours about a call: its result cannot be written, or its arguments read."""

    def __init__(self, error: MeshError) -> None:
        self.error = error


def is_of(error: BaseException, kinds: Any) -> bool:
    """As `isinstance`, which asks an object's `__class__` too."""
    return issubclass(type(error), kinds)


def name_of(error: BaseException) -> str:
    """The name of its type."""
    return _sendable(_name_of(type(error))[:_NAME_CHARS_MAX])


def traceback_of(error: BaseException) -> Any:
    """Its traceback; None when it was not raised."""
    return _traceback_of(error)


def _sendable(text: str) -> str:
    """Lone surrogates come from undecodable file names; the wire carries UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def traceback_text(error: BaseException) -> str:
    """The traceback as Python prints it, without the worker's own frames; the tail when long."""
    import traceback  # Loaded at the first failure: it is a good part of an idle worker's memory.

    place = traceback_of(error)
    while place is not None:
        file = place.tb_frame.f_code.co_filename
        if not (file.endswith(_OWN_FILES) or file.startswith("<frozen importlib")):
            break
        place = place.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, place))
    except BaseException as second:  # A __str__, __repr__ or any attribute of it that raises.
        frames = "".join(traceback.format_tb(place))
        head = "Traceback (most recent call last):\n" if frames else ""
        text = f"{head}{frames}{name_of(error)}: the rest cannot be printed ({name_of(second)})\n"
    if len(text) > TRACEBACK_BYTES_MAX:
        text = "[...]\n" + text[-TRACEBACK_BYTES_MAX:]
    return _sendable(text)


def exception_text(error: BaseException) -> str:
    """`ValueError: boom`, or the type alone when it has no text."""
    name = name_of(error)
    try:
        said = str(error)
        if _is_passed_on(error):
            return _sendable(said)  # It begins with the type.
        text = f"{name}: {said}" if said else name
        if is_of(error, BaseExceptionGroup):
            text += _members_text(error)
    except BaseException:
        return name
    return _sendable(text[:TRACEBACK_BYTES_MAX])


def _members_text(group: Any) -> str:
    """`: ValueError: boom; KeyError: 'k'`, of the groups inside it too."""
    said: list[str] = []
    left = [group]
    while left and len(said) <= _MEMBERS_TOLD_MAX:
        one: Any = left.pop(0)
        if is_of(one, BaseExceptionGroup):
            left[:0] = one.exceptions
        else:
            said.append(exception_text(one))
    if len(said) > _MEMBERS_TOLD_MAX:
        said[-1] = "..."
    return ": " + "; ".join(said)


def _is_passed_on(error: Any) -> bool:
    """Whether it came of a call that the task made: it stays what it was there."""
    return is_of(error, RemoteError) and is_passed_on(error)


def _type_name(error: Any) -> str:
    """`ValueError`, `Dirty`; with its module where it is a namesake of a built-in exception."""
    if _is_passed_on(error):
        return str(error.type_name)
    name, kind = name_of(error), type(error)
    if getattr(builtins, name, kind) is kind:
        return name
    try:
        return _sendable(f"{kind.__module__}.{name}")
    except BaseException:
        return name


def _arguments(error: Any) -> list[Any]:
    """What the type was called with, as far as the exception knows; a file's name included."""
    if _is_passed_on(error):
        return list(error.fields["args"])
    if not is_of(error, OSError):
        return list(error.args)
    args = list(OSError.__reduce__(error)[1])  # Its `args` leave out the names of files.
    return [os.fspath(part) if isinstance(part, os.PathLike) else part for part in args]


def error_data(error: BaseException) -> dict[str, Any]:
    """Plain error data of an exception that task code raised (errors.from_data reads it)."""
    fields: dict[str, Any] = {
        "type": _type_name(error),
        "traceback": traceback_text(error),
    }
    try:
        args = _arguments(error)
        pack(args)
    except BaseException:  # Not plain data, or of any shape a subclass makes it.
        pass
    else:
        fields["args"] = args
    return {"code": "remote", "text": exception_text(error), "fields": fields}


def may_retry(error: BaseException) -> bool:
    """The failure may be tried again: the task's code has not said otherwise."""
    if is_of(error, DoNotRetry):
        return False
    try:
        return getattr(type(error), "do_not_retry", False) is not True
    except BaseException:  # It says nothing.
        return True


def _packed_error(data: dict[str, Any]) -> bytes:
    try:
        return pack(data)
    except MeshError:  # Fields over the limits: the type and the text alone always fit.
        kept = {name: data["fields"][name] for name in ("type",) if name in data["fields"]}
        return pack({"code": data["code"], "text": data["text"], "fields": kept})


# Who ran it, packed once by the runner: the meta of every OUTCOME, {"worker", "commit"},
# in a mesh "node", too.
who: list[bytes] = [b""]


def done(row: Row, attempt: int, value: Any, run_us: int) -> bytes:
    """The draft of the OUTCOME of a call that returned `value`.

    A value with the attributes `result` and `plugs` is a router's: it chooses the plugs.

    Raises:
        OwnError: it cannot travel.
    """
    try:
        value, chosen = routed(value)
        meta = pack({**unpack_map(who[0]), **unpack_map(chosen)}) if chosen else None
        body = pack(value, "the result")
    except MeshError as error:
        raise OwnError(error) from None
    return outcome(row, attempt, DONE, body, run_us, meta=meta)


def routed(value: Any) -> tuple[Any, bytes]:
    """The value of a result or item, and the packed plugs that it chooses; b"" = all of them.

    Raises:
        BadData: what it chooses are no names.
    """
    plugs = None if type(value) in PLAIN else getattr(value, "plugs", None)
    if plugs is None or not hasattr(value, "result"):
        return value, b""
    if isinstance(plugs, str) or not all(isinstance(name, str) for name in plugs):
        raise BadData(f"the plugs that a result chooses are a list of names, they are {plugs!r}")
    meta = pack({"plugs": list(plugs)})
    if len(meta) > ROUTE_BYTES_MAX:
        raise BadData(
            f"the names of the plugs that a result chooses have {len(meta)} bytes together, the"
            f" limit is {ROUTE_BYTES_MAX}; choose fewer"
        )
    return value.result, meta


# Types of results that are packed as they are, without a further look.
PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict})


def outcome(
    row: Row,
    attempt: int,
    code: int,
    body: bytes,
    run_us: int,
    flags: int = 0,
    meta: bytes | None = None,
) -> bytes:
    """The draft of an OUTCOME."""
    return draft(
        KIND_OUTCOME,
        id=row.id,
        flow=row.flow,
        meta=who[0] if meta is None else meta,
        body=body,
        flags=flags,
        code=code,
        attempt=attempt,
        number=run_us,
    )


def item(
    row: Row, attempt: int, number: int, body: bytes, *, code: int = 0, meta: bytes = b""
) -> bytes:
    """The draft of an ITEM: one value a generator yielded; with code 1 it is of a stream."""
    return draft(
        KIND_ITEM, id=row.id, flow=row.flow, meta=meta, body=body, code=code, attempt=attempt,
        number=number,
    )  # fmt: skip


def ended_badly(
    row: Row, attempt: int, error: Any, run_us: int, function: Any = None, frame: bytes = b""
) -> bytes:
    """The draft of the OUTCOME of a call that raised.

    Only an error of ours about its arguments or its result is never retried.  What the function
    raises is its own, whoever made it: of a call that it makes, too.

    Args:
        row: of the call.
        attempt: its number.
        error: caught in the frame that reads the arguments, calls the function and writes the
            result, or an OwnError.
        run_us: how long it ran.
        function: it was called, if anything was.
        frame: the bytes that `row` is a row of, with the arguments.
    """
    if is_of(error, OwnError):
        return refused(row, attempt, error.error, run_us)
    place = traceback_of(error)
    place = place.tb_next if place else None
    if is_of(error, BadData | TooLarge | BadValue):
        # Raised by our own codec, not by a client the task uses.
        if place is not None and place.tb_frame.f_code in _CODEC:
            return refused(row, attempt, unreadable(error), run_us)
    elif is_of(error, TypeError) and place is None and _does_not_fit(row, function, frame):
        return refused(row, attempt, wrong_arguments(error), run_us)
    return failed(row, attempt, error, run_us)


_CODEC = frozenset({pack.__code__, unpack_call.__code__})


def _does_not_fit(row: Row, function: Any, frame: bytes) -> bool:
    """The function did not take these arguments: it was not entered."""
    import inspect

    try:
        args, kwargs = unpack_call(frame[row.body_at : row.end], bool(row.flags & Flag.KWARGS))
        signature = inspect.signature(function)
    except BaseException:  # Not to be had, or the function's own idea of it raises.
        return False
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return True
    return False


def failed(row: Row, attempt: int, error: Any, run_us: int) -> bytes:
    """The draft of the OUTCOME of a call whose code raised `error`."""
    try:
        if is_of(error, CallInterrupted):
            return interrupted(row, attempt, error.reason, run_us)
        flags = RETRY if may_retry(error) else 0
        body = _packed_error(error_data(error))
    except BaseException as second:  # No memory, no frames left, or a class odder than any above.
        name = name_of(error)
        text = f"{name}: what it says cannot be read ({name_of(second)})"
        flags, body = RETRY, pack({"code": "remote", "text": text, "fields": {"type": name}})
    return outcome(row, attempt, FAILED, body, run_us, flags)


def bad_result(error: MeshError) -> BadResult:
    """A value that cannot travel, when it is a result or item: the call ran, so it was sent."""
    reason, _, advice = error.text.partition(f"; {NOTHING_SENT}")
    text = f"{reason}; the call ran, its result was not kept{advice}"
    return BadResult(text, **{**error.fields, "type": "BadResult"})


def refused(row: Row, attempt: int, error: MeshError, run_us: int = 0) -> bytes:
    """The draft of a FAILED that trying again cannot change: our own error, not the task's."""
    if isinstance(error, BadData | TooLarge):  # Arguments that cannot be read are a BadValue.
        error = bad_result(error)
    return outcome(row, attempt, FAILED, _packed_error(error.to_data()), run_us)


def interrupted(row: Row, attempt: int, reason: int, run_us: int) -> bytes:
    """The draft of the OUTCOME of a call that was made to end."""
    ran = f"after {run_us / 1e6:.3f} s"
    if reason == REASON_TIME_LIMIT:
        # Only its node knows the limit, and counts from before: `ran` may be below it.
        error: MeshError = TimeLimit(
            f"the call was stopped over its time limit, {ran} in its function; its node counts from"
            " when it gave the call away",
            type="TimeLimit",
            run_us=run_us,
        )
        return outcome(row, attempt, FAILED, pack(error.to_data()), run_us, RETRY)
    text = f"the call was cancelled {ran}" if run_us else "the call was cancelled before it began"
    data = {"code": "cancelled", "text": text, "fields": {"run_us": run_us}}
    return outcome(row, attempt, CANCELLED, pack(data), run_us)


def no_function(name: bytes, why: str = "") -> MountFailed:
    """The error of a call for a socket this worker has no function for; `why` names them."""
    socket = name.decode("utf-8", "replace")
    why = why or "the worker was not told of it"
    return MountFailed(
        f"the socket {socket!r} has no function to run: {why}; the call was not run",
        socket=socket,
    )


def unreadable(error: MeshError) -> MeshError:
    """The error of a call whose arguments cannot be read here, for want of a package perhaps."""
    package = error.fields.get("missing")
    if package is None:
        return error
    processor = str(unpack_map(who[0]).get("worker", "")).rpartition("/")[0]
    if not processor:  # A program that serves functions of its own.
        return WrongArguments(
            f"an argument is of {package}, which the program that serves the function does not"
            f" have; the function was not entered; install {package} where it runs, or send plain"
            " data",
            missing=package,
        )
    return WrongArguments(
        f"an argument is of {package}, which the environment of processor {processor!r} does not"
        f" have; the function was not entered; add {package} to its requirements (`mesh update"
        f" processor -n {processor} --requirements ...`, or in its repository), or send plain data",
        missing=package,
    )


def wrong_arguments(error: TypeError) -> WrongArguments:
    """The error of a call whose arguments the function does not take."""
    return WrongArguments(f"{error}; the function was not entered")
