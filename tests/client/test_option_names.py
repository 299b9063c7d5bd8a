"""The names of options that programs write: those of the model, and refused where they stand."""

from __future__ import annotations

import subprocess
import sys

import pytest

from meshcode.client.api import Processor, ProcessorBase, Queue, Socket
from meshcode.client.decorators import gate, plug, socket
from meshcode.client.objects.optionnames import OPTIONS
from meshcode.errors import BadRequest
from meshcode.model.kinds import FIELDS, HIDDEN

MISSPELT = """
from meshcode.client.api import ProcessorBase
from meshcode.client.decorators import processor, socket

@processor("shop", gitrepo="/srv/shop", module="shop.orders")
class Shop(ProcessorBase):
    @socket("shop.price", queue="orders", task="price", retrys=3)
    def price(order): ...
"""


def test_the_names_are_those_of_the_model():
    for kind, names in OPTIONS.items():
        shown = [option for option in FIELDS[kind] if option not in HIDDEN[kind]]
        assert list(names) == shown + (["password"] if HIDDEN[kind] else []), kind


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Processor("p", modul="x"), "a processor has no option 'modul'; did you mean 'mod"),
        (lambda: Processor("p", gitrep="x"), "did you mean 'gitrepo'?"),  # As the original has it.
        (lambda: Queue("q", mesage_ttl=3), "did you mean 'message_ttl'?"),
        (lambda: Socket("s", queue={"name": "q", "tipe": "direct"}), "a queue has no option 'tipe"),
        (lambda: Socket("s", intervall=3), "did you mean 'interval'?"),
        (lambda: Processor("p", xyzzy=None), "it has: git, module, branch"),
    ],
)
def test_a_misspelt_option_is_refused_where_it_is_written(make, text):
    """There is no node here: nobody is asked."""
    with pytest.raises(BadRequest) as caught:
        make()

    assert text in caught.value.text
    assert caught.value.text.endswith("; nothing was changed")


def test_a_misspelt_option_of_a_class_is_refused_with_its_method_when_no_node_is_there(tmp_path):
    """Not first when a node is: that may be on another day."""
    done = subprocess.run(
        [sys.executable, "-c", MISSPELT], capture_output=True, text=True, check=False,
        env={"MESH_HOME": str(tmp_path), "PATH": ""},
    )  # fmt: skip

    assert done.returncode == 1
    assert "BadRequest: Shop.price: a socket has no option 'retrys'; did you mean 'retries'?" in (
        done.stderr
    )
    assert "no node answers" not in done.stderr


def test_a_decorated_function_of_no_class_says_so_when_it_is_called():
    """Nothing declares it, so a call would find no socket, or that of somebody else."""

    @socket("shop.price", queue="orders")
    def price(order): ...

    @plug("priced", target="bill.write")
    def bill(order): ...

    @gate("held", mode="closed")
    def hold(order): ...

    class NoProcessor(ProcessorBase):
        @socket("shop.tax", queue="orders")
        def tax(order): ...

    said = r"'price' is @socket\('shop.price'\), and of no class with @processor, .*: Socket\('shop"
    with pytest.raises(BadRequest, match=said):
        price({"id": 1})
    with pytest.raises(BadRequest, match=said):
        price.p({"id": 1})
    with pytest.raises(BadRequest, match=r"'bill' is @plug\('priced'\), .*into such a class$"):
        bill({"id": 1})
    with pytest.raises(BadRequest, match=r"'hold' is @gate\('held'\)"):
        hold({"id": 1})
    with pytest.raises(BadRequest, match=r"'tax' is @socket\('shop.tax'\)"):
        NoProcessor().tax
