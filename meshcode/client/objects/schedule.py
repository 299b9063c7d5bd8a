"""`Schedule`: a socket that the mesh calls by itself; and the interval of a socket."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from meshcode.client.fitting import schedule_problem
from meshcode.client.objects.asking import Data, Wanted, client_of, model, warn
from meshcode.client.objects.base import Declared
from meshcode.errors import BadRequest, UnknownObject, WrongState

if TYPE_CHECKING:
    from typing import Self

    from meshcode.client.client import Client

INTERVAL_ARGUMENTS = ["message"]  # What the original calls a socket with at its interval.


class Schedule(Declared):
    """A schedule: `Schedule("nightly", socket=report, cron="0 3 * * *")`; see `Declared`.

    Options are those of docs/schedules.md; `interval` and `jitter` are seconds, or a timedelta,
    and kept in milliseconds.  `at`, `start` and `end` may be a datetime with a time zone, which is
    that moment; without one it is what clocks show in the `timezone` that is given beside it.
    A RuntimeWarning says when the function of the socket does not take the arguments.
    """

    kind: ClassVar[str] = "schedule"
    _required = ("socket",)
    _renamed = {"interval": "interval_ms", "jitter": "jitter_ms"}

    @classmethod
    def _given(cls, found: list[Wanted], options: Mapping[str, Any]) -> Data:
        if options.get("timezone") is None:
            for option in ("at", "start", "end"):
                _check_zone(option, options.get(option))
        return super()._given(found, options)

    @classmethod
    def _plain(cls, found: list[Wanted], option: str, value: Any) -> Any:
        if value is None:
            return None
        if option in ("interval", "jitter"):
            return milliseconds(option, value)
        if option in ("at", "start", "end") and isinstance(value, date):
            return value.isoformat()
        if option == "args" and isinstance(value, tuple):
            return list(value)
        return super()._plain(found, option, value)

    def _look(self) -> None:
        if problem := schedule_problem(client_of(self._client), self._data):
            warn(f"{problem}; update(args=..., kwargs=...) gives others", RuntimeWarning)

    def pause(self) -> Self:
        """Let it fire no more until it is resumed; what it would have fired is skipped."""
        return self.update(requested_status="pause")

    def resume(self) -> Self:
        """Let it go on with its next time."""
        return self.update(requested_status="start")


def _check_zone(option: str, value: Any) -> None:
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise BadRequest(
            f"{option}: {value} has no time zone, and nodes may be in others; use "
            "datetime.now(timezone.utc) + ..., or .astimezone() for local time, or give `timezone` "
            "beside it; nothing was changed",
            kind="schedule", field=option,
        )  # fmt: skip


def milliseconds(option: str, value: Any) -> int:
    """Seconds, or a timedelta, in whole milliseconds.

    Raises:
        BadRequest: it is neither.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    good = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not good or not -1e12 < seconds < 1e12:
        raise BadRequest(
            f"{option} is {value!r:.80}; it must be seconds; nothing was changed",
            kind="schedule", field=option,
        )  # fmt: skip
    return round(seconds * 1000)


def interval_wanted(socket: Wanted, interval_ms: int) -> Wanted:
    """The schedule of a socket's own name that calls it so often."""
    given: Data = {"socket": socket.name, "interval_ms": interval_ms}
    new: Data = {"args": INTERVAL_ARGUMENTS}
    return Wanted(Schedule.kind, socket.name, given, there=socket.there, by=socket.by, new=new)


def set_interval(
    client: Client, socket: str, interval_ms: int | None
) -> Data | None:
    """Have the schedule of the socket's own name call it so often; None takes it away.

    It is made with the argument of the original when there is none; else only its time changes.

    Returns:
        The schedule; None when there is none any more.

    Raises:
        WrongState: the schedule of that name calls another socket; it is unchanged.
        BadRequest: no such interval; nothing was changed.
    """
    try:
        found = model(client, "get", "schedule", socket)
    except UnknownObject:
        if interval_ms is None:
            return None
        fields = {"socket": socket, "interval_ms": interval_ms, "args": INTERVAL_ARGUMENTS}
        made: Data = model(client, "add", "schedule", socket, fields)
        return made
    if found["socket"] != socket:
        raise WrongState(
            f"schedule {socket!r} calls socket {found['socket']!r}; it is unchanged; give socket"
            f" {socket!r} a schedule of another name: `mesh add schedule`",
            kind="schedule", name=socket,
        )  # fmt: skip
    if interval_ms is None:
        model(client, "delete", "schedule", socket)
        return None
    fields = {"interval_ms": interval_ms, "cron": None, "at": None}
    changed: Data = model(client, "update", "schedule", socket, fields)
    return changed
