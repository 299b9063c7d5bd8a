"""Carrying out a plan: read the model, plan, show, ask, apply; again when somebody was quicker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshcode.cli import output
from meshcode.cli.files import showing
from meshcode.cli.files.document import plan_problems
from meshcode.cli.objects import confirm
from meshcode.cli.output import Style
from meshcode.cli.plain import length_of_time
from meshcode.cli.waiting import tell_warnings
from meshcode.errors import BadData, MountFailed, TooLarge, WaitTimeout, WrongState
from meshcode.limits import BODY_BYTES_MAX
from meshcode.model.kinds import KINDS, PLURALS
from meshcode.model.plan import Plan
from meshcode.model.rightnames import READING
from meshcode.model.steps import Model, model_of

if TYPE_CHECKING:
    from meshcode.client import Client

TRIES_MAX = 4  # Of planning, when others change the model meanwhile.
_LOOK_S = 0.1  # Between two looks at what the node is doing.
_ASK_S = 60.0  # A plan of 10,000 objects takes seconds.

Planner = Callable[["Known"], Plan]


@dataclass(frozen=True, slots=True)
class Wish:
    """How a plan is to be carried out."""

    style: Style
    dry_run: bool = False
    yes: bool = False
    equal: str = "nothing to do: the model is as the files say"
    kinds: Collection[str] = KINDS  # Of which it is said what is left out.


@dataclass(frozen=True, slots=True)
class Known:
    """The model as far as whoever asks may read it."""

    model: Model
    number: int  # Of that state of it.
    left_out: dict[str, int]  # By kind: how many objects are not in it.

    def tell(self, kinds: Collection[str]) -> None:
        """Say on stderr what of these kinds is left out."""
        found = {kind: count for kind, count in self.left_out.items() if kind in kinds}
        if found:
            what = ", ".join(
                f"{count} {PLURALS[kind] if count > 1 else kind}" for kind, count in found.items()
            )
            needed = ", ".join(READING[kind][0] for kind in found)
            output.say(
                f"note: left out, since you may not read them: {what}; that needs {needed}, and a"
                " file may name them all the same"
            )


def read_model(client: Client) -> Known:
    """Every object of the model that this client may read."""
    snapshot = client.ask("model", do="snapshot", timeout=_ASK_S)
    left_out = snapshot.get("left_out") or {}
    by_kind = {kind: int(left_out[PLURALS[kind]]) for kind in KINDS if PLURALS[kind] in left_out}
    return Known(model_of(snapshot), int(snapshot["number"]), by_kind)


def make_plan(planner: Planner, current: Known, places: Mapping[tuple[str, str], str]) -> Plan:
    """The plan from `current`.

    Raises:
        BadData: what is wanted cannot be; all that is wrong, each with its place in the files.
    """
    plan = planner(current)
    if plan.problems:
        raise BadData(plan_problems(plan.problems, plan.more_problems, places))
    return plan


def carry_out(
    client: Client, planner: Planner, places: Mapping[tuple[str, str], str], wish: Wish
) -> None:
    """Plan and apply; says what it does.

    Raises:
        BadData: as `make_plan`; nothing was changed.
        NotAllowed: whoever asks has no right to some of it; nothing was changed.
        WrongState: the model was changed by others each time; it is as they left it.
    """
    confirmed: set[tuple[str, str]] = set()
    for attempt in range(1, TRIES_MAX + 1):
        current = read_model(client)
        if attempt == 1:
            current.tell(wish.kinds)
        plan = make_plan(planner, current, places)
        if not plan.steps:
            _say_equal(wish)
            return
        if wish.style.format == "table":
            _show(plan)
        deletes = {(d.kind, d.name) for d in plan.differences if d.do == "delete"}
        if not deletes <= confirmed and not wish.dry_run:
            confirm(f"delete {len(deletes)} objects", yes=wish.yes)
            confirmed = deletes
        try:
            done = _apply(client, plan, current.number, dry=wish.dry_run)
        except WrongState as error:
            if "base" not in error.fields or attempt == TRIES_MAX:
                raise
            output.say(f"{error.text.partition(';')[0]}; planning again")
            continue
        text = ", ".join(f"{count} {word}" for word, count in done.items())
        text = f"applied: {text}"
        if wish.dry_run:
            text = f"dry run: {showing.counts_of(plan.differences)}; nothing was changed"
        _end(plan, wish, text)
        return


def _apply(client: Client, plan: Plan, base: int, *, dry: bool) -> dict[str, int]:
    """Have the node make all steps, or none; `dry`: check them as if it made them."""
    steps = [step.row() for step in plan.steps]
    more = {"dry": True} if dry else {}
    try:
        done: dict[str, int] = client.ask(
            "model", do="apply", fields={"base": base, "steps": steps}, timeout=_ASK_S, **more
        )
    except TooLarge:
        raise TooLarge(
            f"a plan of {len(steps)} steps does not fit one message of {BODY_BYTES_MAX} bytes;"
            " nothing was changed; apply the files one by one"
        ) from None
    return done


def _show(plan: Plan) -> None:
    lines = showing.lines_of(plan.differences)
    output.write_lines(lines[: showing.LINES_MAX])
    if len(lines) > showing.LINES_MAX:
        output.write(f"and {len(lines) - showing.LINES_MAX} more; `mesh diff` shows all")


def _say_equal(wish: Wish) -> None:
    if wish.style.format == "table":
        output.write(wish.equal)
    else:
        output.show_document("difference", [], wish.style.format)


def _end(plan: Plan, wish: Wish, text: str) -> None:
    if wish.style.format == "table":
        output.write(text)
    else:
        show_items(plan, wish.style)


def show_items(plan: Plan, style: Style) -> None:
    """The differences for programs."""
    items = showing.items_of(plan.differences)
    if style.format == "name":
        output.write_lines(f"{item['kind']}/{item['name']}" for item in items)
    else:
        output.show_document("difference", items, style.format)


def wait_ready(client: Client, names: Collection[str], timeout_ms: int) -> None:
    """Wait until the workers of these processors are ready on this node.

    One that has no workers here, since it is stopped or deployed elsewhere, is not waited for.

    Raises:
        MountFailed: its code cannot be had; the model is as it was applied.
        WaitTimeout: some are not ready in time; the text says what each waits for.
    """
    end_s = time.monotonic() + timeout_ms / 1_000
    pause = threading.Event()
    while True:
        status = client.ask("status")
        waiting = _not_ready(status, names)
        if not waiting:
            for row in status["processors"]:
                if row["name"] in names:
                    tell_warnings(row)
            return
        if time.monotonic() >= end_s:
            raise WaitTimeout(
                f"not ready within {length_of_time(timeout_ms)}: {'; '.join(waiting)}; the model"
                " was changed and the node goes on; look with `mesh ls processors`"
            )
        pause.wait(_LOOK_S)


def _not_ready(status: Mapping[str, Any], names: Collection[str]) -> list[str]:
    ready: dict[str, int] = {}
    for worker in status["workers"]:
        name = worker["processor"]
        ready[name] = ready.get(name, 0) + (worker["state"] == "ready")
    waiting = []
    for processor in status["processors"]:
        name, wanted = processor["name"], processor["workers"]
        if name not in names or not wanted:
            continue
        if processor["problem"] and not processor["building"]:
            raise MountFailed(
                f"processor {name!r} is not ready: {processor['problem']}; the model was changed"
            )
        if processor["building"]:
            waiting.append(f"{name} is being built")
        elif ready.get(name, 0) < wanted:
            waiting.append(f"{name} has {ready.get(name, 0)} of {wanted} workers")
    return waiting
