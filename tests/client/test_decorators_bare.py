"""Decorators that are written wrong: said where they stand, without a node."""

from __future__ import annotations

import pytest

from meshcode import errors
from meshcode.client import decorators


class Local:
    """A class that declares nothing."""

    def text(self):
        return "x"


@pytest.mark.parametrize("name", ["processor", "network", "node", "socket", "gate"])
def test_a_decorator_without_its_parentheses_is_refused(name):
    with pytest.raises(errors.BadRequest, match=rf"write @{name}\(name=.*, not @{name} alone"):
        getattr(decorators, name)(Local)


def test_a_plug_has_a_name_too():
    with pytest.raises(errors.BadRequest, match=r"write @plug\(name="):
        decorators.plug(Local.text, target="x")


def test_what_is_no_method_is_refused():
    with pytest.raises(errors.BadRequest, match="a function that is called, not a property"):
        decorators.socket(name="x")(property(Local.text))
