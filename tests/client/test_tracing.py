"""Where a call comes from: the trace around it, and the call of the task that makes it."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from meshcode import connect, current_call
from meshcode.client import Socket
from meshcode.client.tracing import traced
from meshcode.errors import BadRequest
from meshcode.ids import NO_ID, parse_id
from meshcode.node.embedded import Node
from meshcode.wire.traceparent import child_of, is_valid, span_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GIVEN = f"00-{TRACE}-00f067aa0ba902b7-01"
OTHER = f"00-{TRACE}-00f067aa0ba902b8-00"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (GIVEN, True),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-what-comes-later", True),
        (f"00-{TRACE}-00f067aa0ba902b7-01-more", False),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", False),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        ("00-aa-bb-01", False),
        ("", False),
        (None, False),
        (7, False),
    ],
)
def test_only_what_the_standard_takes_is_a_traceparent(text, good):
    assert is_valid(text) is good


def test_each_attempt_of_each_call_is_a_span_of_its_own_and_anyone_can_work_it_out():
    calls = [bytes(8) + n.to_bytes(8, "big") for n in range(200)]
    spans = {span_id(call, attempt) for call in calls for attempt in range(20)}

    assert len(spans) == 4_000
    assert child_of(GIVEN, calls[1], 3) == f"00-{TRACE}-{span_id(calls[1], 3)}-01"
    assert child_of("what a person wrote", calls[1], 3) is None
    assert child_of(None, calls[1], 3) is None


def test_a_call_outside_of_everything_is_a_root_without_a_trace(client):
    seen = client.socket("report")()

    assert (seen["flow"], seen["parent"], seen["options"]) == (seen["id"], NO_ID, {})


def test_the_trace_around_a_call_goes_with_it_and_the_option_goes_before(client):
    report = client.socket("report")
    with traced(GIVEN):
        seen = report()
        mapped = list(report.map([1, 2]))
        own = report.options(trace=OTHER)()

    assert seen["options"] == {"trace": GIVEN}
    assert (seen["flow"], seen["parent"]) == (seen["id"], NO_ID)
    assert [one["options"] for one in mapped] == [{"trace": GIVEN}] * 2
    assert own["options"] == {"trace": OTHER}
    assert report()["options"] == {}


def test_asyncio_tasks_have_the_trace_they_began_with(client):
    report = client.socket("report")

    async def main():
        async def one(trace):
            with traced(trace):
                await asyncio.sleep(0)
                return report.submit()

        return await asyncio.gather(one(GIVEN), one(OTHER))

    calls = asyncio.run(main())
    assert [call.result()["options"]["trace"] for call in calls] == [GIVEN, OTHER]


def test_what_is_no_traceparent_is_refused():
    said = "00-TRACE-SPAN-FLAGS in hex, not '00-aa-bb-01'"
    with pytest.raises(BadRequest, match=said), traced("00-aa-bb-01"):
        raise AssertionError("the block was entered")


def test_the_current_span_of_opentelemetry_goes_with_a_call(client):
    from opentelemetry import trace

    context = trace.SpanContext(int(TRACE, 16), 0xF067AA0BA902B7, False, trace.TraceFlags(1))
    report = client.socket("report")

    with trace.use_span(trace.NonRecordingSpan(context)):
        inside = report()["options"]
        with traced(OTHER):
            nearer = report()["options"]

    assert inside == {"trace": GIVEN}
    assert nearer == {"trace": OTHER}
    assert report()["options"] == {}


def test_the_client_does_not_load_opentelemetry():
    program = (
        "import sys, meshcode.client; from meshcode.client.tracing import origin; origin();"
        " print([m for m in sys.modules if m.startswith(('opentelemetry', 'meshcode.worker'))])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert found.stdout == "[]\n"


def test_calls_made_inside_a_task_belong_to_its_flow_and_its_trace():
    with Node() as node, connect(node.address) as client:
        inner = Socket("t.inner", client)

        def tell():
            call = current_call()
            return [call.id, call.flow, call.parent, call.traceparent, call.attempt]

        def outer():
            return [tell(), inner(), *inner.starmap([(), ()])]

        node.serve("t.inner", tell)
        node.serve("t.outer", outer)
        call = Socket("t.outer", client).options(trace=GIVEN).submit()
        mine, *children = call.result(timeout=20)
        plain = Socket("t.outer", client)()

        root = parse_id(call.id)
        assert mine == [root, root, None, child_of(GIVEN, root, 1), 1]
        assert len({child[0] for child in children}) == 3
        for id, flow, parent, trace, attempt in children:
            assert (flow, parent) == (root, root)
            assert trace == child_of(mine[3], id, attempt)
        assert [one[3] for one in plain] == [None] * 4
        assert [one[1] for one in plain] == [plain[0][0]] * 4


def test_each_attempt_hands_the_task_a_span_of_its_own():
    seen = []

    def fails_once():
        seen.append(current_call().traceparent)
        if len(seen) == 1:
            raise OSError("try again")
        return current_call().attempt

    with Node() as node, connect(node.address) as client:
        node.serve("t.again", fails_once)
        again = Socket("t.again", client).options(trace=GIVEN, retries=1, retry_delay=0)
        call = again.submit()

        assert call.result(timeout=20) == 2
        assert seen == [child_of(GIVEN, parse_id(call.id), n) for n in (1, 2)]
        assert call.info()["trace"] == GIVEN
