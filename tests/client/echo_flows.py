"""What the echo node does with flows: it takes a plan, and ends its steps one after another.

    something   the text S(message;own)         boom    raises ValueError("boom")
    later       runs until "test.release"       large   fails as a result that is too large does
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from meshcode.errors import CallCancelled, TooLarge, UnknownCall, WrongState
from meshcode.ids import text_of
from meshcode.wire.codec import pack
from meshcode.wire.frame import draft
from meshcode.wire.kinds import Kind, Outcome
from tests.client.plan_machine import Machine, Pending

CODES = {"DONE": Outcome.DONE, "FAILED": Outcome.FAILED, "CANCELLED": Outcome.CANCELLED}


class Flows:
    """All flows of one echo node."""

    def __init__(self) -> None:
        self.machines: dict[bytes, Machine] = {}
        self.plans: dict[bytes, Any] = {}
        self.is_released = False
        self.done: dict[bytes, Any] = {}  # Values of steps, for plans that name them.

    def function(self, socket: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """What a step does."""
        if socket == "boom":
            raise ValueError("boom")
        if socket == "large":
            raise TooLarge("the result has 17000000 bytes, the limit is 16777216")
        if socket == "later" and not self.is_released:
            raise Pending
        return f"S({';'.join(str(arg) for arg in args)})"

    def begin(self, flow_id: bytes, plan: Any) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """The outcome of the call that submits a flow, and those of steps that ended at once."""
        machine = Machine(plan, flow_id, self.function)
        for number, step in enumerate(plan["steps"]):
            if step[3] == "done":
                machine.ended[number] = ("DONE", self.done[step[2]])
        self.machines[flow_id], self.plans[flow_id] = machine, plan
        body = pack({"result": machine.ids[machine.result], "steps": len(machine.steps)})
        return (
            draft(Kind.OUTCOME, id=flow_id, name=b"@flow", code=Outcome.DONE, body=body),
            self.advance(machine),
        )

    def advance(self, machine: Machine) -> list[tuple[bytes, bytes]]:
        """Go on; the ids and outcomes of the steps that ended."""
        before = set(machine.ended)
        machine.advance()
        found = []
        for number, (state, value) in machine.ended.items():
            call_id = machine.ids[number]
            if state == "DONE":
                self.done[call_id] = value
            if number not in before:
                code = CODES[state]
                found.append(
                    (call_id, draft(Kind.OUTCOME, id=call_id, code=code, body=pack(value)))
                )
        return found

    def open_steps(self, flow_id: bytes) -> list[bytes]:
        """The steps that have not ended."""
        machine = self.machines[flow_id]
        return [id for number, id in enumerate(machine.ids) if number not in machine.ended]

    def get(self, fields: dict[str, Any]) -> Any:
        """The operation flow.get."""
        found = self.machines.get(fields["id"])
        if found is None:
            return UnknownCall("there is no such flow")
        states = [found.state(n) for n in range(len(found.ids))]
        answer: dict[str, Any] = {"counts": dict(Counter(states)), "state": states[found.result]}
        rows = [
            [text_of(id), step[0], state, []]
            for id, step, state in zip(found.ids, found.steps, states, strict=True)
        ]
        answer["steps"] = rows[: fields.get("limit", 1000)]
        return answer | ({"plan": self.plans[fields["id"]]} if fields.get("plan") else {})

    def cancel(self, flow_id: bytes, by: str) -> Any:
        """End all open steps; the outcomes, or why not."""
        machine = self.machines[flow_id]
        error = CallCancelled(f"cancelled by {by}").to_data()
        todo = [n for n in range(len(machine.ids)) if n not in machine.ended]
        if not todo:
            return WrongState("all steps have ended")
        found = []
        for number in todo:
            machine.ended[number] = ("CANCELLED", error)
            code, call_id = Outcome.CANCELLED, machine.ids[number]
            found.append((call_id, draft(Kind.OUTCOME, id=call_id, code=code, body=pack(error))))
        return found
