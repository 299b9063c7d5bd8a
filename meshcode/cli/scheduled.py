"""What is said of schedules whose arguments do not fit the code that they call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meshcode.cli import output

CALLS_MAX = 200  # Different ones, looked at for one report.


def tell(client: Any, schedule: Mapping[str, Any]) -> None:
    """Say so when the arguments of a schedule do not fit the function of its socket."""
    for _name, text in unfit(client, [schedule]):
        output.say(f"mesh: {text}")


def unfit(client: Any, schedules: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Schedules whose calls the node would refuse, with what is wrong with them."""
    from meshcode.client.fitting import Shape, misfit, shape_of

    known: dict[Shape, str | None] = {}
    for schedule in schedules:
        shape = shape_of(schedule)
        if shape not in known:
            if len(known) >= CALLS_MAX:
                return
            known[shape] = misfit(client, shape)
        if known[shape]:
            name = str(schedule["name"])
            yield name, (
                f"schedule {name!r} calls {known[shape]}; `mesh update schedule` with --args and"
                " --kwargs gives others"
            )
