"""Compositions: what they mean, and that their plans give the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode.client import Socket, funnel, parallel, pipeline, segment
from meshcode.client.flows.compiling import compile_flow
from meshcode.client.flows.composition import Composition
from meshcode.client.flows.document import compose
from meshcode.client.flows.evaluating import evaluate
from meshcode.client.flows.plan import filled, numbers, shortened
from meshcode.client.objects.socket import Socket as SocketObject
from meshcode.client.results import select, where
from meshcode.errors import BadData, BadRequest, TooLarge, UnknownSocket
from meshcode.limits import BODY_BYTES_MAX
from tests.client.plan_machine import Machine, run

S, T, BOOM = Socket("something").p, Socket("this").p, Socket("boom").p


def shown(value: Any) -> str:
    """A list as [a|b], anything else as its text."""
    if isinstance(value, list):
        return f"[{'|'.join(shown(item) for item in value)}]"
    return str(value)


def something(message: Any, *own: Any) -> str:
    """The deterministic do_something of the worked examples: S(message;own)."""
    tail = ";" + ",".join(shown(item) for item in own) if own else ""
    return f"S({shown(message)}{tail})"


def boom(message: Any, *own: Any) -> None:
    raise ValueError("boom")


FUNCTIONS = {
    "something": something,
    "this": lambda message, *own: something(message, *own).replace("S(", "T(", 1),
    "boom": boom,
    "record": lambda *args, **kwargs: [list(args), dict(sorted(kwargs.items()))],
    "length": lambda *args: len(args),
}


def call(socket: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    return FUNCTIONS[socket](*args, **kwargs)


def test_an_object_that_is_a_socket_stands_bare_in_a_composition_and_no_node_is_asked(monkeypatch):
    def refuse(*_: Any) -> None:
        raise AssertionError("a composition is made without a node")

    monkeypatch.setattr("meshcode.client.objects.socket.client_of", refuse)
    bare = [SocketObject(name, client=None) for name in ("something", "this")]
    for made, want in (
        (parallel(bare), parallel([S(), T()])),
        (pipeline(bare), pipeline([S(), T()])),
        (segment(bare[0], [1, 2, 3], 2), segment(S(), [1, 2, 3], 2)),
        (bare[0].chunks([1, 2, 3], 2), Socket("something").chunks([1, 2, 3], 2)),
    ):
        assert repr(made) == repr(want)
    with pytest.raises(BadRequest, match="not a Record"):
        parallel([Record()])


class Record:
    """Something that is no socket, and has no `sync`."""


def test_a_pipeline_that_is_run_again_makes_the_plan_of_a_new_one():
    """Also where its first stage takes more, and where a later one has what may change."""
    grown = [1]
    for stages in (
        [S("One")],
        [S("One"), S("Two", 3, None), T()],
        [S(), S("Two").options(priority=3), T()],
        [S(), S(grown), T()],
        [S(), S("Two", key=grown), T()],
        [S(), parallel([S("Four"), T()]), T()],
    ):
        known = pipeline(stages)
        for args, kwargs in ((), {}), (("a",), {}), (("b", [2]), {"more": 1}):
            grown.append(len(grown))
            made = compile_flow(known, args, kwargs)
            assert made == compile_flow(pipeline(stages), args, kwargs)
            made.steps.append(["not", 0, b"", None, None])


def test_what_a_pipeline_takes_at_its_next_run_is_too_large_with_the_rest_of_it():
    half = BODY_BYTES_MAX // 2
    known = pipeline([S(), S("x" * half)])
    assert len(compile_flow(known, ("y",)).steps) == 2

    with pytest.raises(TooLarge, match="stage 2, something: up to here the arguments of this"):
        compile_flow(known, ("y" * half,))


def value_of(composition: Composition, *args: Any, **kwargs: Any) -> Any:
    """The value by the evaluator, after the machine has given the same."""
    want = evaluate(composition, FUNCTIONS, *args, **kwargs)
    plan = compile_flow(composition, args, kwargs).to_data()
    assert run(plan, call) == want
    assert run(plan, call) == want, "a plan is the same for every run"
    return want


# The worked examples of the original, with our order: declared, and nesting kept.

PIPE = pipeline([S("One"), S("Two"), parallel([S("Four"), S("Five")]), S("Three")])
SIDE = parallel([PIPE, S("Six"), S("Seven")])
EX3 = "S([S(S(S(One);Two);Four)|S(S(S(One);Two);Five)];Three)"
EX5 = f"[{EX3}|S(Six)|S(Seven)]"
TEN = [S("Eight"), SIDE, S("Nine")]

EXAMPLES: list[tuple[str, Any, str]] = [
    ("1", S("x"), "S(x)"),
    ("2", pipeline([S("One"), S("Two")]), "S(S(One);Two)"),
    ("3", PIPE, EX3),
    ("4", parallel([S(1), S(2), S(3)]), "[S(1)|S(2)|S(3)]"),
    ("4, empty", parallel([]), "[]"),
    ("5", SIDE, EX5),
    (
        "6", parallel([S("One"), parallel([S("a"), S("b"), S("c")]), S("Three")]),
        "[S(One)|[S(a)|S(b)|S(c)]|S(Three)]",
    ),
    ("7", funnel([S("a"), S("b")]).with_body(S("Four")), "S([S(a)|S(b)];Four)"),
    ("7, body at construction", funnel([S("a"), S("b")], S("A")), "S([S(a)|S(b)];A)"),
    ("7, one task", funnel([S("only")], S("F")), "S([S(only)];F)"),
    ("8", funnel(TEN, S("Four")), f"S([S(Eight)|{EX5}|S(Nine)];Four)"),
    (
        "9", funnel([funnel(TEN, S("A")), funnel([SIDE, S("Ten")], S("B"))], S("Eleven")),
        f"S([S([S(Eight)|{EX5}|S(Nine)];A)|S([{EX5}|S(Ten)];B)];Eleven)",
    ),
    (
        "10", pipeline([S("z"), funnel([S("a"), S("b")], S("F")), S("end")]),
        "S(S([S(S(z);a)|S(S(z);b)];F);end)",
    ),
    (
        "10, two parallels",
        pipeline([parallel([S("a"), S("b")]), parallel([S("c"), S("d")]), S("e")]),
        "S([S([S(a)|S(b)];c)|S([S(a)|S(b)];d)];e)",
    ),
    ("12", Socket("something").chunks(range(5), 2), "[[S(0)|S(1)]|[S(2)|S(3)]|[S(4)]]"),
    ("seed, do_this", pipeline(S("One"), parallel(T("Four"), T("Five")), T("Three")),
     "T([T(S(One);Four)|T(S(One);Five)];Three)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "composition", "want"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_worked_examples(name: str, composition: Composition, want: str):
    assert shown(value_of(composition)) == want


def test_an_exception_stops_what_comes_after_it():
    """Example 11: the body and later stages are not called."""
    for composition, calls in (
        (pipeline(S("a"), BOOM(), S("b"), S("c")), 2),
        (funnel([S("a"), BOOM("x")], S("F")), 2),
        (pipeline(parallel(S("a"), BOOM("x")), S("b")), 2),
        (pipeline(S("a"), BOOM(), parallel([])), 2),
    ):
        with pytest.raises(ValueError, match="boom"):
            evaluate(composition, FUNCTIONS)
        with pytest.raises(ValueError, match="boom"):
            run(compile_flow(composition).to_data(), call)
        machine = Machine(compile_flow(composition).to_data(), bytes(16), call)
        machine.advance()
        assert machine.calls == calls, composition


def test_signatures_of_filtered_results_make_a_parallel():
    """Example 15."""
    results = [{"graph": {"value": n}, "message": f"m{n}"} for n in range(5)]

    large = results | where(lambda g: g["graph"]["value"] > 2)
    chosen = large | select(lambda g: S(g["message"]))

    assert shown(value_of(parallel(list(chosen)))) == "[S(m3)|S(m4)]"


# What is given to the first stage.


def test_arguments_of_the_run_come_first_in_every_first_step():
    R = Socket("record").p

    assert value_of(pipeline(R(1, k=2), S("b")), 8, 9) == "S([[8|9|1]|{'k': 2}];b)"
    assert value_of(parallel(R(1), pipeline(R(2))), 9, x=1) == [
        [[9, 1], {"x": 1}], [[9, 2], {"x": 1}],
    ]  # fmt: skip
    assert value_of(funnel([R(1)], R("body")), 9) == [[[[[9, 1], {}]], "body"], {}]
    assert value_of(segment(R(0), [1, 2], 5), 9) == [[[[9, 1, 0], {}], [[9, 2, 0], {}]]]
    assert value_of(R(k=1), k=2) == [[], {"k": 2}], "what the run gives wins"


def test_keywords_go_to_the_function_of_their_step():
    R = Socket("record").p

    assert value_of(pipeline(R(1, a="x"), R(2, b=None))) == [[[[1], {"a": "x"}], 2], {"b": None}]


def test_options_of_a_socket_go_with_its_steps():
    urgent = Socket("something").options(priority=9, delay=1.5)
    plan = compile_flow(parallel(urgent.p(1, k=2), S(3), S(4).options(retries=2)))

    assert [step[4] for step in plan.steps[:3]] == [
        {"priority": 9, "delay_ms": 1500, "kw": ["k"]}, None, {"retries": 2},
    ]  # fmt: skip
    assert urgent._options == {"priority": 9, "delay_ms": 1500}


def test_lists_varargs_generators_sockets_and_segments_are_taken():
    plain = Socket("something")

    assert value_of(pipeline(iter([S(1), S(2)]))) == "S(S(1);2)"
    assert value_of(pipeline(S(1), plain)) == "S(S(1))", "a socket is a signature without arguments"
    assert value_of(pipeline(S(1), plain.chunks("ab", 1))) == [["S(S(1);a)"], ["S(S(1);b)"]]
    assert repr(pipeline(S("One"), plain)) == "pipeline(something('One'), something())"


def test_one_parallel_between_two_is_gathered_once():
    """Else each branch of the second would name all branches of the first: n times m numbers."""
    wide = parallel(S(n) for n in range(100))
    plan = compile_flow(pipeline(wide, wide))

    assert len(plan.steps) == 202
    assert [step[3] for step in plan.steps[101:201]] == [100] * 100
    assert plan.steps[100][3] == [{"from": 0, "count": 100}]


def test_a_parallel_of_nothing_waits_for_what_comes_before_it():
    plan = compile_flow(pipeline(S(1), parallel([]), Socket("length").p()))

    assert run(plan.to_data(), call) == 1
    assert plan.edges() == [(0, 1)]


# Random compositions.

_LISTS = st.lists(st.integers(0, 3), max_size=2)
_VALUES = st.one_of(st.integers(-9, 9), st.text(max_size=2), _LISTS)


def compositions(
    names: list[str], prefix: str = "", max_leaves: int = 25
) -> st.SearchStrategy[Composition]:
    """Random compositions of sockets with these names; `record` is given keywords too."""

    def signature(name: str, args: list[Any], kwargs: dict[str, Any]) -> Composition:
        return Socket(prefix + name).p(*args, **(kwargs if name == "record" else {}))

    calls = st.builds(
        signature,
        st.sampled_from(names),
        st.lists(_VALUES, min_size=1, max_size=2),
        st.dictionaries(st.sampled_from("ab"), _VALUES, max_size=2),
    )

    def groups(parts: st.SearchStrategy[Composition]) -> st.SearchStrategy[Composition]:
        return st.one_of(
            st.lists(parts, min_size=1, max_size=3).map(pipeline),
            st.lists(parts, max_size=6).map(parallel),
            st.builds(funnel, st.lists(parts, min_size=1, max_size=3), parts),
            st.builds(segment, calls, st.lists(_VALUES, max_size=5), st.integers(1, 3)),
        )

    return st.recursive(calls, groups, max_leaves=max_leaves)


COMPOSITIONS = compositions(["something", "this", "record", "record", "boom"])


def outcome(work: Any) -> Any:
    try:
        return "value", work()
    except ValueError as error:
        return "error", str(error)


@settings(max_examples=400)
@given(COMPOSITIONS, st.lists(_VALUES, max_size=2), st.booleans())
def test_a_plan_means_what_its_composition_means(composition: Any, args: list[Any], many: bool):
    given_args = tuple(args) if many else ()
    want = outcome(lambda: evaluate(composition, FUNCTIONS, *given_args))

    plan = compile_flow(composition, given_args)

    assert outcome(lambda: run(plan.to_data(), call)) == want


@settings(max_examples=200)
@given(st.lists(st.integers(0, 12), max_size=30))
def test_a_feed_that_is_shortened_means_the_same(items: list[int]):
    short = shortened(list(items))

    assert list(numbers(short)) == items
    assert filled(short, str) == [str(item) for item in items]
    assert len(short) <= len(items)


# What cannot be run.


def refused(kind: type[Exception], work: Any) -> str:
    with pytest.raises(kind) as found:
        work()
    return str(found.value)


def test_what_is_no_composition_is_refused_with_its_place():
    assert refused(BadRequest, lambda: pipeline([])) == (
        "a pipeline has 1 stage at least, this has 0; nothing was sent"
    )
    assert refused(BadRequest, lambda: funnel([], S("x"))) == (
        "the header of a funnel has 1 task at least, this has 0; nothing was sent"
    )
    text = refused(BadRequest, lambda: pipeline(S(1), "abc"))
    assert text.startswith("stage 2 of a pipeline is a signature like Socket(name).p(...) or a")
    assert "not a str: 'abc'" in text
    assert "branch 1 of a parallel" in refused(BadRequest, lambda: parallel([7]))
    assert "the body of a funnel" in refused(BadRequest, lambda: funnel([S(1)], 7))
    assert "task 2 of the header" in refused(BadRequest, lambda: funnel([S(1), None]))
    assert "1 item at least, not 0" in refused(BadRequest, lambda: segment(S(1), [1], 0))
    assert "a socket or a signature" in refused(BadRequest, lambda: segment(PIPE, [1], 1))


def test_a_funnel_without_body_is_refused_when_it_is_run():
    lacks = funnel([S("a")])
    for composition, place in (
        (lacks, "a funnel has no body; nothing was sent"),
        (pipeline(S("z"), parallel(S("b"), lacks)), "stage 2, branch 2: a funnel has no body"),
        (funnel([lacks], S("F")), "task 1: a funnel has no body"),
    ):
        assert place in refused(BadRequest, lambda c=composition: compile_flow(c))
        assert "no body" in refused(BadRequest, lambda c=composition: evaluate(c, FUNCTIONS))


def test_an_argument_that_cannot_be_packed_is_named_with_its_step():
    text = refused(BadData, lambda: compile_flow(pipeline(S(1), parallel(S(2), S(3, {"a": {1}})))))

    assert text.startswith("stage 2, branch 2, something: argument 2[\"a\"] is a set")
    assert "nothing was sent" in text


def test_too_many_steps_are_refused_with_both_numbers():
    """Found without making them: the second has 2 to the 40 steps."""
    wide = parallel([S(1)] * 131_073)
    assert "would have 131073 steps, the limit is 131072" in refused(
        TooLarge, lambda: compile_flow(wide)
    )
    doubled: Composition = S(1)
    for _ in range(40):
        doubled = parallel(doubled, doubled)
    assert f"would have {2**40} steps" in refused(TooLarge, lambda: compile_flow(doubled))
    full = parallel([S(1)] * 131_072)
    assert "would have 131073 steps" in refused(TooLarge, lambda: compile_flow(full)), "its gather"


def test_too_many_bytes_and_arguments_are_refused_with_both_numbers():
    half = b"x" * (BODY_BYTES_MAX // 2)
    text = refused(TooLarge, lambda: compile_flow(parallel(S(half), S(1), S(half))))
    assert text.startswith("branch 3, something: up to here the arguments of this flow take ")
    assert f"{BODY_BYTES_MAX}" in text

    names = parallel([Socket("n" * 250).p()] * 70_000)
    text = refused(TooLarge, lambda: compile_flow(names).body())
    assert text.startswith("the plan of this flow would take ")
    assert f"the limit is {BODY_BYTES_MAX}; nothing was sent" in text

    text = refused(TooLarge, lambda: compile_flow(pipeline(S(*range(254)))))
    assert text.startswith("stage 1, something: the step has 254 positional arguments, the limit")
    assert "limit is 253" in text


def test_deep_nesting_is_refused_and_a_long_pipeline_is_not_deep():
    deep: Composition = S(1)
    for _ in range(60):
        deep = parallel(deep)
    assert value_of(deep) is not None
    assert "61 deep, the limit is 60" in refused(BadRequest, lambda: parallel(deep))

    long: Composition = S(1)
    for _ in range(2000):
        long = pipeline(long, Socket("length"))
    assert value_of(long) == 1


def test_an_unknown_function_is_named():
    with pytest.raises(UnknownSocket, match="nowhere"):
        evaluate(pipeline(Socket("nowhere").p()), FUNCTIONS)


# Documents.


def test_documents_say_the_same_as_programs():
    document = {
        "funnel": [
            {"call": "something", "args": ["Eight"]},
            {"parallel": [
                {"pipeline": [
                    {"call": "something", "args": ["One"]},
                    {"segment": "record", "items": [1, 2], "size": 1, "kwargs": {"k": 1}},
                ]},
                "length",
            ]},
        ],
        "body": {"call": "something", "args": ["Four"], "options": {"priority": 9}},
    }  # fmt: skip
    program = funnel(
        [
            S("Eight"),
            parallel(
                pipeline(S("One"), segment(Socket("record").p(k=1), [1, 2], 1)), Socket("length")
            ),
        ],
        Socket("something").options(priority=9).p("Four"),
    )

    assert compile_flow(compose(document)) == compile_flow(program)


BAD_DOCUMENTS: list[tuple[Any, str]] = [
    (7, "the document of this flow is wrong: a part is a map or the name of a socket, not a int"),
    ({}, "exactly one of call, pipeline, parallel, funnel, segment; this has none of them"),
    ({"call": "a", "pipeline": []}, "this has call and pipeline"),
    ({"pipeline": []}, "a pipeline has 1 stage at least, this has 0"),
    ({"pipeline": "a"}, "pipeline is a list, here it is a str: 'a'"),
    ({"pipeline": ["a", {"parallel": [{"call": 1}]}]}, "pipeline[1].parallel[0]: call is a text"),
    ({"funnel": ["a"]}, "a funnel has a body; this has none"),
    ({"funnel": [], "body": "a"}, "the header of a funnel has 1 task at least, this has 0"),
    ({"funnel": ["a"], "body": {"call": ""}}, "at body: a socket has a name of 1 character at"),
    ({"parallel": ["a"], "body": "b"}, "beside parallel may stand nothing, not 'body'"),
    ({"call": "a", "arg": [1]}, "beside call may stand args, kwargs, options, not 'arg'"),
    ({"call": "a", "args": {}}, "args is a list, here it is a dict: {}"),
    ({"call": "a", "kwargs": {1: 2}}, "the names in kwargs are texts, not 1"),
    ({"call": "a", "options": {"prio": 1}}, "options: "),
    ({"call": "a", "options": {"priority": 10}}, "from 0 to 9, not 10"),
    ({"segment": "a", "items": [1]}, "size is a whole number, here it is missing"),
    ({"segment": {"pipeline": ["a"]}, "items": [], "size": 1}, "at segment: the task is a call"),
    ({"segment": "a", "items": [], "size": 0}, "a chunk has 1 item at least, not 0"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "text"), BAD_DOCUMENTS, ids=lambda value: str(value)[:30])
def test_a_bad_document_is_refused_with_its_place(document: Any, text: str):
    assert text in refused(BadRequest, lambda: compose(document))


def test_a_document_that_is_too_deep_is_refused():
    deep: Any = "a"
    for _ in range(500):
        deep = {"parallel": [deep]}
    assert "nested 61 deep, the limit is 60" in refused(BadRequest, lambda: compose(deep))
