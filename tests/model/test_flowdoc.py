"""The form of saved flows: read once it is the same for ever, and what is wrong is named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcode import flowdoc

DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text("aé ", max_size=3)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=2), inner,
                                                               max_size=2),
    max_leaves=4,
)  # fmt: skip
NAMES = st.sampled_from(["shop.clean", "b", "c/d:e"])
CALLS = NAMES | st.fixed_dictionaries(
    {"call": NAMES},
    optional={"args": st.lists(DATA, max_size=2), "kwargs": st.dictionaries(
        st.sampled_from(["x", "y"]), DATA, max_size=2)},
)  # fmt: skip
STEPS = st.recursive(
    CALLS | st.fixed_dictionaries({
        "segment": CALLS, "items": st.lists(DATA, min_size=1, max_size=3),
        "size": st.integers(1, 5),
    }),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda s: {"pipeline": s}),
        st.lists(inner, min_size=1, max_size=3).map(lambda s: {"parallel": s}),
        st.tuples(st.lists(inner, min_size=1, max_size=2), inner).map(
            lambda s: {"funnel": s[0], "body": s[1]}),
    ),
    max_leaves=8,
)  # fmt: skip


def names_in(value):
    """Every name of a socket in a document that was not read yet."""
    if isinstance(value, str):
        return {value}
    if "call" in value:
        return {value["call"]}
    inner = [*value.get("pipeline", []), *value.get("parallel", []), *value.get("funnel", [])]
    inner += [value[key] for key in ("body", "segment") if key in value]
    return set().union(*map(names_in, inner))


@given(STEPS.filter(lambda step: isinstance(step, dict)))
def test_what_was_read_is_read_again_as_it_is(document):
    found = flowdoc.check(document)

    assert flowdoc.check(found) == found
    assert flowdoc.check(flowdoc.to_text(found)) == found
    assert json.loads(flowdoc.to_text(found)) == found
    assert set(flowdoc.sockets(found)) == names_in(document)
    assert all(len(flowdoc.FORMS.keys() & step.keys()) == 1 for step in flowdoc.steps(found))


@pytest.mark.parametrize(("document", "said"), [
    ({"pipeline": ["a", {"funnel": ["b"], "body": []}]}, "at $.pipeline[1].body, and there is"),
    ({"call": "a", "args": [{1: 2}]}, "at $.args[0], and there is a dict"),
    ({"call": "a", "args": [b"x"]}, "at $.args[0], and there is a bytes"),
    ({"call": "a", "args": [2**64]}, "at $.args[0], and there is 18446744073709551616"),
    ({"call": "a", "kwargs": {"x": "a\0"}}, "at $.kwargs.x"),
    ("b", "a map with one of call, pipeline"),
    (None, "and this is nothing"),
])  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(document, said):
    with pytest.raises(ValueError) as caught:
        flowdoc.check(document)

    assert said in str(caught.value)


@pytest.mark.parametrize("levels", [flowdoc.DEPTH_MAX - 1, flowdoc.DEPTH_MAX])
def test_steps_are_nested_so_deep_and_no_deeper(levels):
    document: dict = {"call": "a"}
    for _ in range(levels):
        document = {"pipeline": [document]}

    if levels < flowdoc.DEPTH_MAX:
        assert flowdoc.sockets(flowdoc.check(document)) == ["a"]
    else:
        with pytest.raises(ValueError, match="at most 16 levels"):
            flowdoc.check(document)


def test_data_and_json_that_never_ends_is_refused_and_not_followed():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(ValueError, match="data of at most 32 levels"):
        flowdoc.check({"call": "a", "args": [deep]})
    with pytest.raises(ValueError, match="JSON, and this is none"):
        flowdoc.check('{"call": "a", "args": ' + "[" * 100_000)
