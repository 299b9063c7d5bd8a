"""The first code of a worker process: `<environment's python> -I bootstrap.py CONFIG`.

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
import threading

# Started without -I, Python has put this folder first, and it has modules with common names.
sys.path[:] = [entry for entry in sys.path if entry != (__file__ or "").rpartition("/")[0]]

LENT = frozenset({"meshcode", "zmq", "msgpack"})
SHARED = frozenset({"meshcode"})  # Task code may import it, and gets ours.


class _Loader(importlib.machinery.SourceFileLoader):
    """Gives a lent module builtins whose `__import__` knows the lent packages."""

    world: Lent

    def exec_module(self, module) -> None:
        """Run the module's code with our builtins."""
        module.__dict__["__builtins__"] = self.world.builtins
        super().exec_module(module)


class Lent:
    """The lent packages: a finder for `sys.meta_path`, and the private table of their modules.

    What the runner needs is loaded before there is task code.  A package that is needed later
    (pyzmq for a client, msgpack for data that is not simple) is loaded then, see `_load_late`.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.modules: dict[str, object] = {}
        self.open = LENT  # What is being loaded: it is in `sys.modules` meanwhile, and found here,
        self.loader = threading.get_ident()  # by this thread.
        self.loading = threading.RLock()
        self.builtins = {**builtins.__dict__, "__import__": self.import_}

    def _is_loading(self, top: str) -> bool:
        return top in self.open and self.loader == threading.get_ident()

    def find_spec(self, name: str, path=None, _target=None):
        """Find lent modules; everything else, and private ones from outside, is not ours."""
        top = name.partition(".")[0]
        return self._spec(name, path) if top in SHARED or self._is_loading(top) else None

    def _spec(self, name: str, path):
        spec = importlib.machinery.PathFinder.find_spec(name, path or [self.folder])
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            loader = _Loader(name, spec.origin)
            loader.world = self
            spec.loader = loader
        return spec

    def import_(self, name, globals_=None, locals_=None, fromlist=(), level=0):
        """`__import__` as lent modules see it."""
        full = name
        if level:
            package = (globals_ or {}).get("__package__") or ""
            base = package.rsplit(".", level - 1)[0] if level > 1 else package
            full = f"{base}.{name}" if name else base
        top = full.partition(".")[0]
        if top not in LENT or top in SHARED or self._is_loading(top):
            return builtins.__import__(name, globals_, locals_, fromlist, level)
        if top not in self.modules:
            # In a thread of its own, so that a cancel of the running call does not interrupt it.
            thread = threading.Thread(target=self._load_late, args=(top,), daemon=True)
            thread.start()
            thread.join()
        module = self._private(full)
        if not fromlist:
            return module if level else self._private(top)
        for part in fromlist:
            if part != "*" and not hasattr(module, part) and hasattr(module, "__path__"):
                self._private(f"{full}.{part}")
        return module

    def _private(self, name: str):
        """A lent module that is not in `sys.modules`, loaded now when it was not before."""
        with self.loading:
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

    def _load_late(self, top: str) -> None:
        """Load a package now that task code is there, and may have its own.

        Compiled modules import by `sys.modules` alone, so the package has to be in it meanwhile;
        what the task has under the name is out of it.  A thread of the task that asks for it just
        then waits until ours is loaded, and may be handed ours.
        """
        with self.loading:
            while top not in self.modules:
                if top in sys.modules:
                    importlib.import_module(top)  # Waits for a thread that is loading its own.
                theirs = _taken_out({top})
                self.open, self.loader = frozenset({top}), threading.get_ident()
                try:
                    found = importlib.import_module(top).__spec__.origin or ""
                finally:
                    ours = self.close()
                    sys.modules.update(theirs)
                if not found.startswith(self.folder):  # A thread of the task was quicker.
                    for name in ours:
                        sys.modules[name] = self.modules.pop(name)

    def close(self) -> list[str]:
        """Take the private packages out of `sys.modules`; what holds them keeps them."""
        taken = _taken_out(self.open - SHARED)
        self.modules.update(taken)
        self.open = frozenset()
        return list(taken)


def _taken_out(tops: frozenset[str] | set[str]) -> dict[str, object]:
    """The modules of these packages, out of `sys.modules`."""
    names = [name for name in sys.modules if name.partition(".")[0] in tops]
    return {name: sys.modules.pop(name) for name in names}


def lend_packages(folder: str, *names: str) -> Lent:
    """Load the modules `names` from the lend folder; see the head of this file."""
    world = Lent(folder)
    # What start-up files of the environment imported already belongs to the task code.
    theirs = _taken_out(LENT)
    sys.meta_path.insert(0, world)
    for name in names:
        importlib.import_module(name)
    world.close()
    for name, module in theirs.items():
        if name.partition(".")[0] not in SHARED:
            sys.modules[name] = module
    return world


def main() -> None:
    """Load the runner, read the configuration, run."""
    import signal

    # Until there is a handler, a cancel must not end the process.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    folder = __file__.rpartition("/meshcode/")[0]
    lend_packages(folder, "meshcode.worker.configuration", "meshcode.worker.runner")
    config = sys.modules["meshcode.worker.configuration"].take(sys.argv[1])
    sys.argv[:] = [config.get("processor") or "worker"]
    what = "meshcode.worker.inspection" if config.get("inspect") else "meshcode.worker.runner"
    sys.exit(importlib.import_module(what).main(config))


if __name__ == "__main__":
    main()
