"""Membership is a core like the router: nothing in it touches the world."""

from __future__ import annotations

from tests.test_layers import (
    PACKAGE,
    ROUTER_LEAVES,
    ROUTER_STDLIB,
    imports_of,
    layer,
    loaded_after,
    module_of,
    under,
)

STDLIB = ROUTER_STDLIB | {"math", "random"}  # Of random only the type.


def test_membership_imports_only_leaves():
    wrong = []
    for module in layer("meshcode.membership"):
        for item in imports_of(module):
            ours = module_of(item.target)
            if ours is not None:
                good = ours in ROUTER_LEAVES or under(ours, ("meshcode.membership",))
                good = good or ours == PACKAGE == item.target
            else:
                good = item.target == "random.Random" or item.target in STDLIB
                good = good or item.target.rpartition(".")[0] in STDLIB - {"random"}
            if not good:
                wrong.append(f"{module}:{item.line}: {item.target}")

    assert not wrong, "\n".join(wrong)


def test_membership_loads_nothing_that_touches_the_world():
    loaded = loaded_after("import meshcode.membership.swim") - loaded_after("pass")

    assert not [m for m in loaded if under(m, ("zmq", "lmdb", "msgpack", "threading", "logging"))]
