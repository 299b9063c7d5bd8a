"""The lend folder: what a worker needs of the node's packages, and nothing else of them.

A worker runs in the environment of the code it mounts, where neither meshcode nor pyzmq nor msgpack
need be installed.  It gets them from a folder that holds copies of exactly these.  `bootstrap.py`
loads them from there without putting the folder on `sys.path`, so task code that imports `msgpack`
gets its own version or an ImportError, as it would without us.

Copies, not links: two versions of a compiled module live in one process only as different files.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator

from meshcode.digest import blake2b
from meshcode.errors import MountFailed
from meshcode.worker.repository import locked

# Of meshcode: the leaves, what a worker is made of, and the client, so that a task can make calls.
_OWN = (
    "__init__.py", "aside.py", "config.py", "digest.py", "errors.py", "hearing.py", "ids.py",
    "limits.py", "nearest.py", "paths.py", "units.py", "windows.py",
)  # fmt: skip
_OWN_FOLDERS = ("wire", "native", "worker", "client")
_NOT_LENT = {"__pycache__", "tests", "green", "eventloop", "log", "ssh", "auth", "devices"}
_SUFFIXES = (".py", ".so", ".pyd")


def _package(name: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin:
        raise MountFailed(
            f"the package {name} of this node is gone; install meshcode again",
            step="environment",
            reason="no_package",
        )
    return os.path.dirname(spec.origin) if spec.submodule_search_locations else spec.origin


def _files() -> Iterator[tuple[str, str]]:
    """All files to lend: where they are, and their place in the lend folder."""
    own = _package("meshcode")
    for name in _OWN:
        if os.path.exists(os.path.join(own, name)):
            yield os.path.join(own, name), f"meshcode/{name}"
    trees = [(os.path.join(own, name), f"meshcode/{name}") for name in _OWN_FOLDERS]
    zmq = _package("zmq")
    trees += [(zmq, "zmq"), (_package("msgpack"), "msgpack")]
    # Wheels of pyzmq keep libzmq in a folder beside the package and find it by a relative path.
    trees.append((os.path.join(os.path.dirname(zmq), "pyzmq.libs"), "pyzmq.libs"))
    for root, place in trees:
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(set(folders) - _NOT_LENT)
            for name in sorted(names):
                if name.endswith(_SUFFIXES) or ".so." in name:
                    path = os.path.join(folder, name)
                    yield path, os.path.join(place, os.path.relpath(path, root))


def ensure(cache: str) -> str:
    """The lend folder of these versions below `cache`; made when it is not there.

    Raises:
        MountFailed: a package to lend is gone from this node.
    """
    files = list(_files())
    digest = blake2b(str(sysconfig.get_config_var("SOABI")).encode(), digest_size=10)
    for path, place in files:
        status = os.stat(path)
        digest.update(f"{place}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    final = os.path.join(cache, "lend", digest.hexdigest())
    if os.path.isdir(final):
        return final
    with locked(os.path.join(cache, "locks", "lend.lock")):
        if not os.path.isdir(final):
            _make(files, final)
    return final


def _make(files: list[tuple[str, str]], final: str) -> None:
    import shutil  # Late: it brings bz2 and lzma, and this is done once a version.

    aside = final + ".building"
    shutil.rmtree(aside, ignore_errors=True)
    for path, place in files:
        target = os.path.join(aside, place)
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        shutil.copyfile(path, target)
    # Compiled here, with the final place in the tracebacks: workers must not write into it.
    # Without columns, which only tracebacks through our own code would show: smaller workers.
    program = "import compileall, sys; compileall.compile_dir(sys.argv[1], quiet=2,"
    program += " stripdir=sys.argv[1], prependdir=sys.argv[2])"
    subprocess.run(
        [sys.executable, "-I", "-X", "no_debug_ranges", "-c", program, aside, final], check=True
    )
    os.rename(aside, final)


def bootstrap_path(folder: str) -> str:
    """The program that a worker's interpreter runs."""
    return os.path.join(folder, "meshcode", "worker", "bootstrap.py")


def main() -> None:
    """`python -m meshcode.worker.lend CACHE` prints the lend folder."""
    print(ensure(sys.argv[1]))


if __name__ == "__main__":
    main()
