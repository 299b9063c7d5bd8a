"""Arguments against signatures, by count and names only; Python itself checks every row."""

from __future__ import annotations

import inspect

import pytest

from meshcode.router.signature import Signature

_KINDS = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "pos",
    inspect.Parameter.POSITIONAL_ONLY: "posonly",
    inspect.Parameter.KEYWORD_ONLY: "kwonly",
    inspect.Parameter.VAR_POSITIONAL: "varargs",
    inspect.Parameter.VAR_KEYWORD: "varkw",
}


def none(): ...
def one(a): ...
def two(a, b=1): ...
def three(a, b, c): ...
def only(a, /, b): ...
def only_default(a=1, /): ...
def star(*args): ...
def star_after(a, *args): ...
def named(*, key): ...
def named_default(a, *, key=1): ...
def both(a, *args, key, **rest): ...
def anything(*args, **rest): ...
def shadow(a, /, **rest): ...


GOOD = None
TABLE = [
    (none, 0, [], GOOD),
    (none, 1, [], "takes 0 positional arguments, 1 given"),
    (none, 0, ["x"], "has no argument 'x'"),
    (one, 1, [], GOOD),
    (one, 0, [], "misses 'a'"),
    (one, 2, [], "takes 1 positional arguments, 2 given"),
    (one, 0, ["a"], GOOD),
    (one, 1, ["a"], "got two values for argument 'a'"),
    (one, 1, ["b"], "has no argument 'b'"),
    (two, 1, [], GOOD),
    (two, 2, [], GOOD),
    (two, 0, [], "misses 'a'"),
    (two, 1, ["b"], GOOD),
    (two, 2, ["b"], "got two values for argument 'b'"),
    (two, 0, ["b"], "misses 'a'"),
    (three, 1, ["c"], "misses 'b'"),
    (three, 0, [], "misses 'a', 'b', 'c'"),
    (three, 1, ["b", "c"], GOOD),
    (only, 2, [], GOOD),
    (only, 1, ["b"], GOOD),
    (only, 0, ["a", "b"], "has no argument 'a'"),
    (only_default, 0, [], GOOD),
    (only_default, 0, ["a"], "has no argument 'a'"),
    (star, 0, [], GOOD),
    (star, 200, [], GOOD),
    (star, 0, ["a"], "has no argument 'a'"),
    (star_after, 0, [], "misses 'a'"),
    (star_after, 5, [], GOOD),
    (star_after, 5, ["a"], "got two values for argument 'a'"),
    (named, 0, ["key"], GOOD),
    (named, 0, [], "misses 'key'"),
    (named, 1, ["key"], "takes 0 positional arguments, 1 given"),
    (named_default, 1, [], GOOD),
    (named_default, 2, [], "takes 1 positional arguments, 2 given"),
    (both, 3, ["key", "other"], GOOD),
    (both, 3, ["other"], "misses 'key'"),
    (anything, 9, ["a", "b"], GOOD),
    (shadow, 1, ["a"], GOOD),
]


def signature_of(function) -> Signature:
    parameters = inspect.signature(function).parameters.values()
    arguments = [
        [one.name, _KINDS[one.kind], one.default is one.empty and "var" not in _KINDS[one.kind]]
        for one in parameters
    ]
    return Signature({"args": arguments, "text": str(inspect.signature(function))})


@pytest.mark.parametrize(("function", "argc", "keywords", "problem"), TABLE)
def test_the_check_agrees_with_python(function, argc, keywords, problem):
    """`problem` says why; Python refuses exactly the same calls."""
    signature = signature_of(function)
    try:
        inspect.signature(function).bind(*range(argc), **dict.fromkeys(keywords))
        fits = True
    except TypeError:
        fits = False

    assert signature.problem(argc, keywords) == problem
    assert (problem is None) == fits
    assert signature.check(argc, keywords) == problem
    assert signature.check(argc, keywords) == problem  # Remembered, and the same.


def test_an_unknown_signature_of_a_newer_worker_refuses_little():
    """Kinds that this node does not know are taken as absent."""
    signature = Signature({"args": [["a", "pos", True], ["t", "typevar", True]]})

    assert signature.text == "(...)"
    assert signature.problem(1, ()) is None
