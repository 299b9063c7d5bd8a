"""Adaptors: found by their path, with an error for each way not to be; the lines of Influx."""

from __future__ import annotations

import sys

import pytest

from meshcode import errors
from meshcode.client.adaptors import Influx, line_of, load

MODULE = '''
"""Adaptors of the tests."""

WORD = "no class"


class Good:
    number = 5

    def __init__(self):
        self.got = []
        self.closed = 0

    def put(self, event):
        self.got.append(event)

    def other(self, event):
        self.got.append(("other", event))

    def close(self):
        self.closed += 1


class Needy:
    def __init__(self, what):
        raise AssertionError


class Sad:
    def __init__(self):
        raise ValueError("not today")

    def put(self, event):
        raise AssertionError
'''


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    """A working folder with modules in it; afterwards none of them was ever imported."""
    package = tmp_path / "adapt"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "mod.py").write_text(MODULE)
    (package / "broken.py").write_text("1 / 0\n")
    (package / "needs.py").write_text("import a_package_that_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "adapt"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [("adapt.mod.Good.put", 1), ("adapt.mod.Good.other", ("other", 1)), ("adapt.mod.Good", 1)],
)
def test_a_class_is_made_and_its_method_gets_the_events(path, wanted):
    adaptor = load(path)

    adaptor.put(1)
    adaptor.close()

    owner = adaptor.put.__self__
    assert (owner.got, owner.closed) == ([wanted], 1)


@pytest.mark.parametrize(
    ("path", "error", "text"),
    [
        ("Good", errors.BadRequest, "is written as package.module.Class.method, this is 'Good'"),
        ("a b.c", errors.BadRequest, "is written as package.module.Class.method"),
        ("nowhere.Good.put", errors.UnknownObject, "no module 'nowhere'.*it is looked for in /"),
        ("adapt.mod", errors.UnknownObject, r"is a module.*adapt\.mod\.Class\.method"),
        ("adapt.mod.God.put", errors.UnknownObject, r"adapt\.mod has no class 'God'"),
        ("adapt.mod.WORD.put", errors.UnknownObject, "something else than a class 'WORD'"),
        ("adapt.mod.Good.pot", errors.UnknownObject, r"adapt\.mod\.Good has no method 'pot'"),
        ("adapt.mod.Good.number", errors.UnknownObject, "has no method 'number'"),
        ("adapt.mod.Good.put.more", errors.BadRequest, "goes on after the method 'put'"),
        ("adapt.mod.Needy", errors.UnknownObject, "Needy has no method 'put'"),
        ("adapt.mod.Needy.__init__", errors.BadRequest, "could not be made: TypeError"),
        ("adapt.mod.Sad.put", errors.BadRequest, "could not be made: ValueError: not today"),
        ("adapt.broken.Good.put", errors.BadRequest, "not be imported: ZeroDivisionError"),
        ("adapt.needs.Good.put", errors.UnknownObject, "needs 'a_package_that_nobody_has'"),
    ],
)
def test_what_cannot_be_an_adaptor_is_told(path, error, text):
    with pytest.raises(error, match=text):
        load(path)


def event(graph, **more):
    return {"ms": 1_700_000_000_123, "node": "n1", "socket": "a.b", **more,
            "result": {"message": "m", "graph": graph}}  # fmt: skip


@pytest.mark.parametrize(
    ("graph", "line"),
    [
        ({"name": "heat", "value": 1}, "heat,node=n1,socket=a.b value=1.0 1700000000123000000"),
        (
            {"name": "a, b", "value": -0.5, "tag": {"name": "k=", "value": "x y\nz\\"}},
            r"a\,\ b,k\==x\ y\ z/,node=n1,socket=a.b value=-0.5 1700000000123000000",
        ),
        (
            {"name": "h", "value": 2, "tag": {"name": "empty", "value": ""}},
            "h,node=n1,socket=a.b value=2.0 1700000000123000000",
        ),
    ],
)
def test_a_graph_is_a_line(graph, line):
    assert line_of(event(graph)) == line


@pytest.mark.parametrize("graph", [{"value": 1}, {"name": "", "value": 1}, [1], "text"])
def test_a_graph_without_a_name_is_refused(graph):
    with pytest.raises(ValueError, match="a dict with a name and a value"):
        line_of(event(graph))


@pytest.mark.parametrize("value", [None, "1", True, float("nan"), float("inf"), [1]])
def test_a_graph_has_a_number(value):
    with pytest.raises(ValueError, match="graph 'g' is no finite number"):
        line_of(event({"name": "g", "value": value}))


@pytest.mark.parametrize("other", [{}, {"result": 5}, {"result": {"message": "m"}}])
def test_other_events_are_passed_over(other, capsys):
    influx = Influx()
    influx.put({"ms": 1, **other})
    influx.close()

    assert capsys.readouterr().out == ""
