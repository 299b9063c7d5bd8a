"""The lend folder: a worker has what it needs, and task code sees nothing of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshcode.worker import lend as lend_module
from tests.worker.harness import MiniNode

NODE_PACKAGES = ["zmq", "msgpack", "_cffi_backend", "cffi", "click", "lmdb", "sqlalchemy", "git",
                 "psutil", "psycopg2", "pytest"]  # fmt: skip

PROBE = '''
import importlib, sys, threading
def try_import(names):
    found = []
    for name in names:
        try:
            module = importlib.import_module(name)
            found.append([name, getattr(module, "__file__", None)])
        except ImportError as error:
            pass
    return found
def loaded(): return sorted({name.partition(".")[0] for name in sys.modules})
def path(): return sys.path
def version(name):
    module = importlib.import_module(name)
    return getattr(module, "version", None) or module.__version__
def use_msgpack(value):
    import msgpack
    return [msgpack.unpackb(msgpack.packb(value)), msgpack.__file__]
def use_zmq():
    import zmq
    context = zmq.Context()
    a, b = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    a.bind("inproc://x"); b.connect("inproc://x"); b.send(b"hi")
    try:
        a.recv(zmq.NOBLOCK) and a.recv(zmq.NOBLOCK)
    except zmq.Again:
        kind = "Again"
    a.close(); b.close(); context.term()
    return [kind, zmq.__file__]
def meshcode_place():
    import meshcode
    from meshcode.worker.context import current_call
    return [meshcode.__file__, current_call().socket]
def make_calls():
    """The client library works in a task, although pyzmq is not there for the task."""
    import meshcode
    from meshcode.errors import MeshError
    try:
        meshcode.connect("ipc:///nowhere/at/all.ipc", timeout=0.2)
    except MeshError as error:
        return error.code
def race():
    """Threads that want the client's pyzmq and the task's own at once, for the first time."""
    names = ["meshcode.client", "zmq"] * 6
    gate = threading.Barrier(len(names))
    found = {}
    def load(at, name):
        gate.wait()
        try:
            module = importlib.import_module(name)
            found[at] = module.link.zmq.__file__ if at % 2 == 0 else module.__file__
        except ImportError as error:
            found[at] = type(error).__name__
    threads = [threading.Thread(target=load, args=row) for row in enumerate(names)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return [found[at] for at in range(len(names))]
def zmq_error():
    """What lent pyzmq imports at run time still finds its own packages."""
    from meshcode.client import link
    try:
        link.zmq.Context().socket(link.zmq.DEALER).recv(link.zmq.NOBLOCK)
    except Exception as error:
        return type(error).__name__
'''


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment with nothing installed."""
    folder = tmp_path_factory.mktemp("bare")
    command = [sys.executable, "-m", "venv", "--without-pip", "--symlinks", str(folder / "env")]
    subprocess.run(command, check=True)
    return str(folder / "env" / "bin" / "python")


def site_packages(python: str) -> Path:
    return next(Path(python).parent.parent.glob("lib/python*/site-packages"))


def test_a_bare_environment_runs_calls_and_sees_nothing_of_the_node(
    node: MiniNode, bare_python: str
):
    worker = node.worker(PROBE, python=bare_python)
    assert worker.result("s.try_import", NODE_PACKAGES) == []
    loaded = set(worker.result("s.loaded"))
    assert loaded & set(NODE_PACKAGES) == set()
    # Nor does it pay for what simple calls do not need.
    assert loaded & {"json", "datetime", "pickle", "ctypes", "tokenize", "random"} == set()
    assert [p for p in worker.result("s.path") if node.lend in p or "/site-packages" in p] == [
        str(site_packages(bare_python))
    ]
    file, socket = worker.result("s.meshcode_place")
    assert (file, socket) == (f"{node.lend}/meshcode/__init__.py", "s.meshcode_place")
    assert worker.result("s.zmq_error") == "Again"
    assert worker.result("s.make_calls") == "no_node"
    assert worker.result("s.try_import", ["zmq"]) == []


def test_what_is_loaded_late_is_loaded_once_and_stays_hidden(node: MiniNode, bare_python: str):
    """Of twelve threads at once six use the client, with the lent pyzmq, and six find no other."""
    worker = node.worker(PROBE, python=bare_python)

    found = worker.result("s.race")

    lent = f"{node.lend}/zmq/__init__.py"
    assert found[::2] == [lent] * 6
    # One that asks while ours is loaded waits for it, and may be handed it.
    assert set(found[1::2]) <= {"ModuleNotFoundError", lent}
    assert worker.result("s.try_import", ["zmq", "msgpack"]) == []
    assert worker.result("s.zmq_error") == "Again"


def test_task_code_gets_its_own_msgpack(node: MiniNode, bare_python: str, tmp_path: Path):
    """A different version, pure Python, while the worker goes on with its own."""
    own = tmp_path / "own"
    (own / "msgpack").mkdir(parents=True)
    (own / "msgpack" / "__init__.py").write_text(
        "version = (0, 0, 1)\n__version__ = '0.0.1'\n"
        "def packb(value): return repr(value).encode()\ndef unpackb(data): return data.decode()\n"
    )
    worker = node.worker(PROBE, python=bare_python, import_path=[str(own), _code_folder(node)])
    value, file = worker.result("s.use_msgpack", {"a": [1]})
    assert value == "{'a': [1]}"
    assert file == f"{own}/msgpack/__init__.py"
    assert worker.result("s.version", "msgpack") == (0, 0, 1)


def _code_folder(node: MiniNode) -> str:
    return str(node.folder / f"code{len(node.workers)}")


def test_task_code_with_the_same_packages_has_copies_of_its_own(node: MiniNode):
    """Two copies of the compiled modules live side by side in one process."""
    worker = node.worker(PROBE, python=sys.executable)
    kind, file = worker.result("s.use_zmq")
    assert kind == "Again"
    assert not file.startswith(node.lend)
    value, file = worker.result("s.use_msgpack", {"a": [1]})
    assert value == {"a": [1]}
    assert not file.startswith(node.lend)
    assert worker.result("s.zmq_error") == "Again"


def test_packages_an_environment_loads_at_start_stay_its_own(
    node: MiniNode, bare_python: str, tmp_path: Path
):
    """A .pth file imports msgpack before the worker's own code runs."""
    site = site_packages(bare_python)
    (site / "msgpack.py").write_text("__version__ = 'mine'\n")
    (site / "early.pth").write_text("import msgpack\n")
    try:
        worker = node.worker(PROBE, python=bare_python)
        assert worker.result("s.version", "msgpack") == "mine"
        assert worker.result("s.try_import", ["msgpack"]) == [["msgpack", str(site / "msgpack.py")]]
    finally:
        (site / "msgpack.py").unlink()
        (site / "early.pth").unlink()


def test_a_module_called_like_one_of_ours_is_the_users(node: MiniNode):
    """Also when the interpreter was not started isolated, which puts our folder on the path."""
    folder = node.folder / "shadow"
    folder.mkdir()
    (folder / "report.py").write_text("WHOSE = 'mine'\n")
    code = "import report, sys\ndef f(): return [report.WHOSE, sys.path[0]]\n"
    worker = node.worker(code, import_path=[_code_folder(node), str(folder)])
    assert worker.result("s.f") == ["mine", str(node.folder / "code0")]


def test_the_folder_holds_only_what_a_worker_needs(lend: str):
    top = sorted(name for name in os.listdir(lend) if not name.startswith("_cffi_backend"))
    assert [n for n in top if n not in ("pyzmq.libs",)] == ["meshcode", "msgpack", "zmq"]
    own = {n for n in os.listdir(f"{lend}/meshcode") if not n.startswith("__")}
    assert own <= {
        "aside.py", "config.py", "digest.py", "errors.py", "hearing.py", "ids.py", "limits.py",
        "nearest.py", "paths.py", "units.py", "windows.py", "wire", "native", "worker", "client",
    }  # fmt: skip
    assert not os.path.exists(f"{lend}/zmq/tests")


def test_the_same_versions_share_one_folder(tmp_path: Path):
    first = lend_module.ensure(str(tmp_path))
    assert lend_module.ensure(str(tmp_path)) == first
    assert os.listdir(tmp_path / "lend") == [os.path.basename(first)]
    compiled = list(Path(first, "meshcode", "worker").glob("__pycache__/loop.*.pyc"))
    assert compiled, "compiled ahead, because workers do not write there"
