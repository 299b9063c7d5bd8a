"""The first code of a worker process: `<environment's python> -I bootstrap.py CONFIG.json`.

It runs where meshcode is not installed, so it may import nothing but the standard library until
`lend_packages` is done.  That loads meshcode, pyzmq and msgpack from the lend folder into a world
of their own: modules from there see each other through an `__import__` of ours, and what is not
meshcode is taken out of `sys.modules`, so task code importing `zmq` or `msgpack` gets its own
environment's copy or an ImportError.  No folder of the node is ever on `sys.path`.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import sys

# Started without -I, Python has put this folder first, and it has modules with common names.
sys.path[:] = [entry for entry in sys.path if entry != (__file__ or "").rpartition("/")[0]]

LENT = frozenset({"meshcode", "zmq", "msgpack", "_cffi_backend"})
SHARED = frozenset({"meshcode"})  # Task code may import it, and gets ours.
# What pyzmq imports for functions a worker never calls: loaded when one is called, else not.
LATER = frozenset({"json", "pickle", "platform", "random"})
# Two answers pyzmq wants while it is loaded, so that the modules that have them need not be.
ANSWERS = {"DEFAULT_PROTOCOL": 4, "python_implementation": lambda: sys.implementation.name}


class _Loader(importlib.machinery.SourceFileLoader):
    """Gives a lent module builtins whose `__import__` knows the lent packages."""

    world: Lent

    def exec_module(self, module) -> None:
        """Run the module's code with our builtins."""
        module.__dict__["__builtins__"] = self.world.builtins
        super().exec_module(module)


class _Later:
    """Stands for a module of the standard library until one of its names is asked for."""

    def __init__(self, name: str) -> None:
        self.__dict__["__name__"] = name

    def __getattr__(self, attribute: str):
        if attribute in ANSWERS:
            return ANSWERS[attribute]
        return getattr(importlib.import_module(self.__name__), attribute)


class Lent:
    """The lent packages: a finder for `sys.meta_path`, and the private table of their modules."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.modules: dict[str, object] = {}
        self.open = True  # While the packages are loaded, all of LENT is found here.
        self.builtins = {**builtins.__dict__, "__import__": self.import_}

    def find_spec(self, name: str, path=None, _target=None):
        """Find lent modules; everything else, and private ones from outside, is not ours."""
        top = name.partition(".")[0]
        if top not in LENT or not (self.open or top in SHARED):
            return None
        return self._spec(name, path)

    def _spec(self, name: str, path):
        spec = importlib.machinery.PathFinder.find_spec(name, path or [self.folder])
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            loader = _Loader(name, spec.origin)
            loader.world = self
            spec.loader = loader
        return spec

    def import_(self, name, globals_=None, locals_=None, fromlist=(), level=0):
        """`__import__` as lent modules see it."""
        if name in LATER and not fromlist and (globals_ or {}).get("__package__", "")[:3] == "zmq":
            return sys.modules.get(name) or _Later(name)
        full = name
        if level:
            package = (globals_ or {}).get("__package__") or ""
            base = package.rsplit(".", level - 1)[0] if level > 1 else package
            full = f"{base}.{name}" if name else base
        top = full.partition(".")[0]
        if self.open or top not in LENT or top in SHARED:
            return builtins.__import__(name, globals_, locals_, fromlist, level)
        module = self._private(full)
        if not fromlist:
            return module if level else self._private(top)
        for part in fromlist:
            if part != "*" and not hasattr(module, part) and hasattr(module, "__path__"):
                self._private(f"{full}.{part}")
        return module

    def _private(self, name: str):
        """A lent module that is not in `sys.modules`, loaded now when it was not before."""
        module = self.modules.get(name)
        if module is not None:
            return module
        parent = self._private(name.rpartition(".")[0]) if "." in name else None
        spec = self._spec(name, parent.__path__ if parent else None)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        module = importlib.util.module_from_spec(spec)
        self.modules[name] = module
        spec.loader.exec_module(module)
        if parent is not None:
            setattr(parent, name.rpartition(".")[2], module)
        return module

    def close(self) -> None:
        """Take the private packages out of `sys.modules`; what holds them keeps them."""
        for name in list(sys.modules):
            if name.partition(".")[0] in LENT - SHARED:
                self.modules[name] = sys.modules.pop(name)
        self.open = False


def lend_packages(folder: str, *names: str) -> Lent:
    """Load the modules `names` from the lend folder; see the head of this file."""
    world = Lent(folder)
    # What start-up files of the environment imported already belongs to the task code.
    theirs = {n: m for n, m in sys.modules.items() if n.partition(".")[0] in LENT}
    for name in theirs:
        del sys.modules[name]
    sys.meta_path.insert(0, world)
    for name in names:
        importlib.import_module(name)
    world.close()
    for name, module in theirs.items():
        if name.partition(".")[0] not in SHARED:
            sys.modules[name] = module
    return world


def main() -> None:
    """Read the configuration, load the runner, run."""
    import json
    import os
    import signal

    # Until there is a handler, a cancel must not end the process.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    path = sys.argv[1]
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    os.unlink(path)  # It holds the token of this worker.
    sys.argv[:] = [config.get("processor") or "worker"]
    what = "meshcode.worker.inspection" if config.get("inspect") else "meshcode.worker.runner"
    lend_packages(config["lend"], what)
    sys.exit(sys.modules[what].main(config))


if __name__ == "__main__":
    main()
