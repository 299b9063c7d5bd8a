"""Exceptions whose classes raise themselves when they are looked at: the call fails, no more."""

from __future__ import annotations

import pytest

from meshcode.errors import BadData, from_data
from meshcode.wire.kinds import Flag
from meshcode.worker import report
from meshcode.worker.context import Route
from tests.worker.harness import MiniNode, Process

CODE = '''
from meshcode.worker.context import DoNotRetry

class Shy(Exception):
    """Answers no question for an attribute."""
    def __getattribute__(self, name): raise KeyError(name)

class ShyEnd(BaseException):
    def __getattribute__(self, name): raise SystemExit(name)
    def __str__(self): raise GeneratorExit

class Meta(type):
    """Tells nothing of the class, its name and module included."""
    def __getattribute__(cls, name): raise RuntimeError(name)

class Nameless(Exception, metaclass=Meta): pass

class Final(DoNotRetry):
    def __getattribute__(self, name): raise KeyError(name)

class ShyGroup(ExceptionGroup):
    def __getattribute__(self, name): raise KeyError(name)

class Poisoned(type):
    do_not_retry = property(lambda cls: 1 / 0)

class AskedWhy(Exception, metaclass=Poisoned): pass

class ShyType(TypeError):
    def __getattribute__(self, name): raise KeyError(name)

Long = type("N" * 10**7, (Exception,), {})

MADE = {
    "Shy": lambda: Shy("why"), "ShyEnd": ShyEnd, "Nameless": lambda: Nameless("why"),
    "Final": lambda: Final("why"), "ShyGroup": lambda: ShyGroup("why", [ValueError("in it")]),
    "AskedWhy": lambda: AskedWhy("why"), "ShyType": lambda: ShyType("why"),
    "Long": lambda: Long("why"),
}

class ShyFunction:
    """A function whose signature cannot be asked for."""
    @property
    def __signature__(self): raise KeyError("signature")
    @property
    def __wrapped__(self): raise AttributeError("wrapped")
    def __call__(self): return 1
shy_function = ShyFunction()

def f(name): raise MADE[name]()
async def g(name): raise MADE[name]()
def items(name):
    yield 1
    raise MADE[name]()
async def later(name):
    yield 1
    raise MADE[name]()
def ok(): return 1
'''
TEXTS = {
    "Shy": "Shy: why", "ShyEnd": "ShyEnd", "Nameless": "Nameless: why", "Final": "Final: why",
    "ShyGroup": "ShyGroup", "AskedWhy": "AskedWhy: why", "ShyType": "ShyType: why",
}  # fmt: skip


@pytest.fixture(scope="module")
def worker(shared_node: MiniNode) -> Process:
    names = ("f", "g", "items", "later", "ok", "shy_function")
    return shared_node.worker(CODE, {name: name for name in names})


@pytest.mark.parametrize("task", ["f", "g", "items", "later"])
@pytest.mark.parametrize("name", TEXTS)
def test_the_call_fails_with_what_can_be_told_and_its_worker_goes_on(worker, task, name):
    told, error = worker.error(task, name)

    assert error["text"] in (TEXTS[name], name)
    assert error["fields"]["type"] == name
    assert f"in {task}\n" in error["fields"]["traceback"], "where it was raised is told"
    assert bool(told.flags & Flag.RETRY) == (name != "Final")
    assert name in str(from_data(error))
    assert worker.result("ok") == 1


def test_a_name_that_is_too_long_to_be_sent_is_cut(worker):
    _told, error = worker.error("f", "Long")
    assert error["text"] == f"{'N' * 1_000}: why"


def test_a_function_that_hides_its_signature_is_called_wrongly(worker):
    _told, error = worker.error("shy_function", 1, 2)
    assert "takes 1 positional argument but 3 were given" in error["text"]
    assert worker.result("shy_function") == 1


def test_a_module_that_raises_one_when_it_is_imported_says_so(node: MiniNode):
    """And is not taken for a worker that crashes."""
    worker = node.worker(CODE.replace("shy_function =", "raise Shy('why')\nshy_function ="), {})
    told = worker.ready
    assert told.code == 1
    assert "the module 'tasks' cannot be imported: Shy: why" in told.value["error"]["text"]


def test_without_frames_left_to_look_at_it_the_call_fails_plainly(node: MiniNode):
    """What a task did to its interpreter is no reason to die either."""
    code = (
        "import sys\n"
        "def deep(): return deep()\n"
        "def f():\n"
        "    frame, depth = sys._getframe(), 0\n"
        "    while frame: frame, depth = frame.f_back, depth + 1\n"
        "    sys.setrecursionlimit(depth + 12)\n"
        "    return deep()\n"
        "def ok(): sys.setrecursionlimit(1000); return 1\n"
    )
    worker = node.worker(code, {"f": "f", "ok": "ok"})

    told, error = worker.error("f")

    assert error["fields"]["type"] == "RecursionError"
    assert told.flags & Flag.RETRY
    assert worker.result("ok") == 1


def test_the_names_of_plugs_that_a_result_chooses_have_a_limit():
    """Beside an item they have to find room in the options of its call, which the node makes."""
    chosen = Route(1, plugs=["x" * 200] * 50)

    with pytest.raises(BadData, match="have 10110 bytes together, the limit is 8192"):
        report.routed(chosen)
    assert report.routed(Route(1, plugs=["b"]))[0] == 1
