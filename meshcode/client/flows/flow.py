"""A run of a flow as its client sees it: one handle, over the calls that are its steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from meshcode.client.call import REFUSED, Call, FoundCall, deadline_of, seconds_left, seconds_of
from meshcode.client.flows.plan import DONE_ALREADY, GATHER_SOCKET, Plan, filled
from meshcode.errors import BadFrame, BadRequest, MeshError, WrongState
from meshcode.ids import parse_id, text_of
from meshcode.limits import FLOW_STEPS_MAX
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.client.client import Client
    from meshcode.client.flows.graph import Graph
    from meshcode.client.options import Seconds

AHEAD = 1_000  # Branches whose ends are asked for together: what the node tells in one request.

_DONE = int(Outcome.DONE)


class Progress(NamedTuple):
    """How far a flow is: its steps by their state."""

    done: int
    failed: int  # Raised, or needed something that did.
    cancelled: int
    running: int
    waiting: int  # For a worker, or for the steps that it needs.
    total: int
    held: int = 0  # For a person: `retry()` or `cancel()` of the step.


class Step(FoundCall):
    """One step of a flow: a call, and its place among the others."""

    __slots__ = ("flow", "number")

    def __init__(self, flow: Flow, number: int, call_id: bytes, socket: str) -> None:
        """Made by `Flow.steps`."""
        super().__init__(flow._client, call_id)
        self.flow = flow
        self.number = number  # In the plan, from 0.
        self._socket = socket

    def _flow_to_come(self) -> Call | None:
        return None if self.flow._is_begun else self.flow

    def _check_refused(self) -> None:
        super()._check_refused()
        self.flow._check_refused()

    def _error(self) -> MeshError:
        if self._code == REFUSED:  # It is the flow that was refused, and now somebody knows.
            self._client.session.pending.unheard.pop(self.flow._id, None)
        return super()._error()

    @property
    def parents(self) -> list[Step]:
        """The steps whose values it takes, in their order."""
        return [self.flow._step(number) for number in self.flow.plan.needs(self.number)]

    @property
    def children(self) -> list[Step]:
        """The steps that take its value."""
        edges = self.flow.plan.edges()
        return [self.flow._step(end) for start, end in edges if start == self.number]

    def __repr__(self) -> str:
        return f"<Step {self.number} {self.id} {self._socket} {self.state}>"


class Flow(FoundCall):
    """A handle of one run.  Dropping it ends nothing; `Client.flow(id)` finds the run again.

    It is a `Call` too: `result`, `exception`, `done`, `await` mean the whole flow.  Iterating over
    it gives the values of its branches, in order, each as soon as it is there.
    """

    __slots__ = ("_ids", "_is_begun", "_plan", "_submitted")

    def __init__(self, client: Client, call_id: bytes, plan: Plan | None = None) -> None:
        """Made by running a composition, with its plan, and by `Client.flow`, without."""
        super().__init__(client, call_id)
        self._submitted = plan is not None  # Here: then the node tells its end unasked.
        self._watched = self._submitted
        self._is_begun = False  # Its steps exist: the I/O thread was told so.
        self._plan = plan
        self._ids: list[bytes] | None = None

    # Waiting.

    def result(self, timeout: Seconds | None = None, propagate: bool = True) -> Any:
        """Wait for the flow to end; its value.

        Args:
            timeout: seconds; None waits as long as it takes.
            propagate: False returns errors instead of raising them.  When the flow ends in a
                parallel they stand in its list, at the places of the branches that failed.

        Raises:
            as `Call.result`; the error is that of the step that failed first.
        """
        seconds = seconds_of(timeout)
        deadline = deadline_of(seconds)
        if not self._code:
            self._wait(seconds)
        return self._outcome(True) if propagate else self._told(deadline, seconds)

    def wait_accepted(self, timeout: Seconds | None = None) -> str:
        """As `Call.wait_accepted`: from then on the whole flow is safe."""
        wait = Call.wait_accepted if self._submitted else FoundCall.wait_accepted
        return wait(self, timeout)

    def __iter__(self) -> Iterator[Any]:
        for branch in self._watched_branches():
            yield _value_of(branch)

    # What is known here.

    @property
    def state(self) -> str:
        """As `Call.state`; `status` asks the node."""
        if self._submitted or self._code:
            return str(Call.state.fget(self))  # type: ignore[attr-defined]
        return super().state

    # Asking the node.

    @property
    def status(self) -> str:
        """The state of the whole run: DONE, FAILED or CANCELLED when it has ended; else RUNNING,
        or WAITING when none of its steps has begun, or HELD when a step is and none of the others
        can go on without it, or SENT when the node has not got it yet.
        """
        if self._code:
            return self.state
        if not self._is_known():
            return "SENT"
        found = self._ask(limit=0)
        if found["state"] in ("DONE", "FAILED", "CANCELLED"):
            return str(found["state"])
        open_now = found["counts"].keys() - {"DONE", "FAILED", "CANCELLED", "GATHERING"}
        if open_now == {"HELD"}:
            return "HELD"
        begun = found["counts"].keys() - {"", "WAITING", "GATHERING", "PARKED"}
        return "RUNNING" if begun else "WAITING"

    def progress(self) -> Progress:
        """How many steps are where; one question to the node, however many steps there are."""
        count = self._ask(limit=0)["counts"]
        done, failed, cancelled, running, held = (
            count.get(state, 0) for state in ("DONE", "FAILED", "CANCELLED", "RUNNING", "HELD")
        )
        total = sum(count.values())
        waiting = total - done - failed - cancelled - running - held
        return Progress(done, failed, cancelled, running, waiting, total, held)

    @property
    def plan(self) -> Plan:
        """What was submitted; asked for when the flow was found by its id.

        Raises:
            UnknownCall: the node has no such flow.
            BadRequest: the call of that id is not a flow.
        """
        if self._plan is None:
            found = self._ask(plan=True, limit=0).get("plan")
            if not isinstance(found, dict):
                raise BadFrame(f"the node told no plan of flow {self.id}, but {found!r:.60}")
            self._plan = Plan(found["steps"], found["result"], found.get("earlier", []))
        return self._plan

    @property
    def steps(self) -> list[Step]:
        """Its steps in the order of the plan: each after those that it needs."""
        return [self._step(number) for number in range(len(self.plan.steps))]

    @property
    def children(self) -> list[Step]:
        """As `steps`."""
        return self.steps

    @property
    def parents(self) -> list[Step]:
        """The steps whose values the last one takes: the stage before it, or the branches."""
        return self._step(self.plan.result).parents

    @property
    def parent(self) -> Step | None:
        """The stage before the last, when there is exactly one."""
        parents = self.parents
        return parents[0] if len(parents) == 1 else None

    def branches(self) -> list[Any]:
        """The steps of the parallel that the flow ends in, lists within lists as it has them; the
        one last step when it ends in none.
        """
        feed = self.plan.steps[self.plan.result][3]
        if self.plan.name(self.plan.result) != GATHER_SOCKET:
            return [self._step(self.plan.result)]
        return list(filled(feed, self._branch))

    def results(self, timeout: Seconds | None = None) -> list[tuple[Step, Any]]:
        """Wait for the flow to end; each step that runs a function, with its value or error.

        Raises:
            WaitTimeout: it has not ended in time; it goes on.
        """
        seconds = seconds_of(timeout)
        deadline = deadline_of(seconds)
        if not self._code:
            self._wait(seconds)
        steps = [step for step in self.steps if step.socket != GATHER_SOCKET]
        self._wait_for(steps, deadline, seconds)
        return [(step, step._outcome(propagate=False)) for step in steps]

    def graph(self, states: bool = False) -> Graph:
        """Its steps and edges; `.dot()` and `.mermaid()` draw them.

        Args:
            states: ask the node for the state of each step.
        """
        from meshcode.client.flows.graph import Graph, GraphNode

        plan = self.plan
        known = dict(self._states()) if states else {}
        nodes = [
            GraphNode(number, plan.name(number), text_of(call_id), known.get(call_id, ""))
            for number, call_id in enumerate(self._step_ids())
        ]
        return Graph(nodes, plan.edges(), plan.result)

    def cancel(self, by: str | None = None) -> Any:
        """Ask the node to end every step that has not ended.

        Raises:
            WrongState: all have.
        """
        return super().cancel(by)

    def retry(self, by: str | None = None, *, from_step: int | Step | None = None) -> Flow:
        """Run it again without the steps that are done: a new flow, with the code of now.

        Args:
            by: not used: a flow is of who submits it.
            from_step: make this step again too, and all that comes after it, done or not.

        Raises:
            WrongState: the flow has not ended, or all of it is done and no step is given.
            BadRequest: the flow has no such step.
        """
        del by
        from meshcode.client.flows.submitting import submit_plan

        number = from_step.number if isinstance(from_step, Step) else from_step
        return submit_plan(self._plan_again(number), self._client)

    def __repr__(self) -> str:
        return f"<Flow {self.id} {self.state}>"

    # For the package.

    def _began(self) -> None:
        self._is_begun = True

    def _is_known(self) -> bool:
        return not self._submitted or self._accepted is not None

    def _ask(self, **fields: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._ask_node("flow.get", **fields)
        return found

    def _states(self) -> list[tuple[bytes, str]]:
        rows = self._ask(limit=FLOW_STEPS_MAX)["steps"]
        return [(_id_of(call_id), str(state)) for call_id, _, state, *_ in rows]

    def _step_ids(self) -> list[bytes]:
        if self._ids is None:
            self._ids = self.plan.ids(self._id)
        return self._ids

    def _step(self, number: int) -> Step:
        return Step(self, number, self._step_ids()[number], self.plan.name(number))

    def _branch(self, number: int) -> Any:
        """A step, or the branches of one that only gathers."""
        if self.plan.name(number) != GATHER_SOCKET:
            return self._step(number)
        return filled(self.plan.steps[number][3], self._branch)

    def _watched_branches(self) -> Iterator[Any]:
        """As `branches`; the node is asked for the ends of many at once, ahead of the reader."""
        branches = self.branches()

        def watched() -> Iterator[Any]:
            for start in range(0, len(branches), AHEAD):
                chunk = branches[start : start + AHEAD]
                self._watch(_steps_of(chunk))
                yield from chunk

        return watched()

    def _watch(self, steps: Iterable[Step]) -> None:
        """Ask the node to be told how steps end, all at once."""
        fresh = [step for step in steps if not step._watched]
        for step in fresh:
            step._watched = True
        self._client.session.watch_all(list(fresh))

    def _wait_for(self, steps: list[Step], deadline: float | None, of: float | None) -> None:
        """Wait until steps have ended; `of` as in `Call._wait`."""
        self._watch(steps)
        for step in steps:
            if not step._code:
                step._wait(seconds_left(deadline), of)

    def _told(self, deadline: float | None, of: float | None) -> Any:
        """What a flow that has ended gives without raising; `of` as in `Call._wait`."""
        if self._code in (Outcome.FAILED, Outcome.CANCELLED):
            return self._in_place(deadline, of)
        return self._outcome(propagate=False)

    def _in_place(self, deadline: float | None, of: float | None) -> Any:
        """The value of a flow that failed, with errors in the places of what failed."""
        plan = self.plan
        reached: dict[int, Step] = {}
        todo = [plan.result]
        while todo:
            number = todo.pop()
            if number not in reached:
                reached[number] = self._step(number)
                if plan.name(number) == GATHER_SOCKET:
                    todo += plan.needs(number)
        self._wait_for(list(reached.values()), deadline, of)

        def value(number: int) -> Any:
            step = reached[number]
            gathers = plan.name(number) == GATHER_SOCKET and step._code != _DONE
            # Else it failed by itself: its list was too large, for instance.
            if gathers and any(reached[n]._code != _DONE for n in plan.needs(number)):
                return filled(plan.steps[number][3], value)
            return step._outcome(propagate=False)

        return value(plan.result)

    def _plan_again(self, number: int | None) -> Plan:
        """The plan that makes what is not done, and, if one is given, a step and what follows."""
        plan = self.plan
        if number is not None and type(number) is not int:
            raise BadRequest(
                f"from_step is a step of flow {self.id} or its number, not {number!r:.80}; nothing"
                " was sent"
            )
        if number is not None and not 0 <= number < len(plan.steps):
            raise BadRequest(
                f"flow {self.id} has steps 0 to {len(plan.steps) - 1}, not {number}; nothing was"
                " sent"
            )
        if number is not None and not plan.name(number):
            raise WrongState(
                f"step {number} of flow {self.id} is a call of an earlier run; make it again from"
                " that one; nothing was sent"
            )
        states = self._states()
        is_open = sum(state not in ("DONE", "FAILED", "CANCELLED") for _, state in states)
        if is_open:
            raise WrongState(
                f"{is_open} of the {len(states)} steps of flow {self.id} have not ended; nothing"
                " was sent; wait for it, or cancel it first"
            )
        again: set[int] = set()
        steps = []
        for n, (step, (call_id, state)) in enumerate(zip(plan.steps, states, strict=True)):
            if n == number or state != "DONE" or any(needed in again for needed in plan.needs(n)):
                again.add(n)
                steps.append(step)
            else:
                steps.append([None, 0, call_id, DONE_ALREADY, None])
        if not again:
            raise WrongState(
                f"all {len(states)} steps of flow {self.id} are done; nothing was sent; give"
                " from_step to make some of them again"
            )
        return Plan(steps, plan.result, [*plan.earlier, self._id])


def _id_of(given: Any) -> bytes:
    return given if isinstance(given, bytes) else parse_id(str(given))


def _steps_of(branches: list[Any]) -> Iterator[Step]:
    for branch in branches:
        if isinstance(branch, list):
            yield from _steps_of(branch)
        else:
            yield branch


def _value_of(branch: Any) -> Any:
    if isinstance(branch, list):
        return [_value_of(inner) for inner in branch]
    return branch.result()
