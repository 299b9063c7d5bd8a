"""Who may import whom, read from the source: a layer that leaks fails here before it hurts.

Two views of the same imports.  *Start-up* imports are those at the top of a module: what a process
pays for and holds.  *All* imports also count those inside functions.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from meshcode.worker import lend

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "meshcode"

# What of meshcode the core may import: leaves, all pure.
ROUTER_LEAVES = {
    "meshcode.errors",
    "meshcode.digest",
    "meshcode.ids",
    "meshcode.limits",
    "meshcode.marks",
    "meshcode.native",
    "meshcode.native.layout",
    "meshcode.nearest",
    "meshcode.schedule",
    "meshcode.wire",
    "meshcode.wire.codec",
    "meshcode.wire.frame",
    "meshcode.wire.kinds",
}
# What of the standard library the core may import.  No time, os, socket, threading or logging;
# of random only the type.
ROUTER_STDLIB = {
    "__future__", "bisect", "collections", "collections.abc", "dataclasses", "enum",
    "functools", "hashlib", "heapq", "itertools", "math", "operator", "re", "struct", "typing",
    "zlib",
}  # fmt: skip
RANDOM_TYPE_ONLY = {"random.Random"}

# Third-party package -> the parts of meshcode that may import it.
OWNERS = {
    "msgpack": ("meshcode.wire.general", "meshcode.worker"),  # Lent: see worker/lend.
    "lmdb": ("meshcode.store", "meshcode.cli.doctor"),
    "sqlalchemy": ("meshcode.model",),
    "psycopg2": ("meshcode.model",),
    "alembic": ("meshcode.model.migrations",),
    "argon2": ("meshcode.model.passwords",),
    "git": ("meshcode.worker.repository",),
    "click": ("meshcode.cli",),
    "cffi": ("meshcode.native", "setup"),
    "nacl": ("meshcode.trust",),
    "zmq": ("meshcode.client", "meshcode.node", "meshcode.peers", "meshcode.trust",
            "meshcode.worker", "meshcode.cli.doctor", "meshcode.cli.doctor_network"),
    "zeroconf": ("meshcode.node.discovery", "meshcode.cli.doctor"),
    "psutil": ("meshcode.node", "meshcode.worker", "meshcode.cli", "meshcode.store",
               "meshcode.testing.node"),
    "pytest": ("meshcode.testing.plugin",),
    "yaml": ("meshcode.cli",),
    "numpy": ("meshcode.wire.codec", "meshcode.wire.plain"),
}

# Layer -> what it must never reach, however far down.
NEVER = {
    "meshcode.router": ("meshcode.node", "meshcode.store", "meshcode.model", "meshcode.client",
                        "meshcode.cli", "meshcode.worker", "meshcode.sim", "zmq", "lmdb"),
    "meshcode.client": ("meshcode.node", "meshcode.model", "meshcode.router", "meshcode.store",
                        "meshcode.cli", "meshcode.sim", "lmdb", "sqlalchemy", "git", "click"),
    "meshcode.node": ("sqlalchemy", "psycopg2", "asyncio", "git", "http", "urllib.request",
                      "meshcode.cli", "meshcode.client", "meshcode.sim", "click"),
    "meshcode.store": ("meshcode.router", "meshcode.node", "meshcode.client", "meshcode.model",
                       "meshcode.cli", "meshcode.worker", "meshcode.sim", "zmq", "sqlalchemy"),
    "meshcode.wire": ("meshcode.router", "meshcode.node", "meshcode.store", "meshcode.client",
                      "meshcode.cli", "meshcode.model", "meshcode.worker", "zmq", "lmdb"),
    "meshcode.model": ("meshcode.router", "meshcode.node", "meshcode.store", "meshcode.client",
                       "meshcode.cli", "meshcode.worker", "meshcode.sim", "lmdb"),
    "meshcode.worker": ("meshcode.router", "meshcode.store", "meshcode.client", "meshcode.cli",
                        "meshcode.model", "meshcode.sim", "lmdb", "sqlalchemy", "click"),
    "meshcode.schedule": ("meshcode.router", "meshcode.node", "meshcode.store", "meshcode.model",
                          "meshcode.client", "meshcode.cli", "meshcode.wire", "zmq", "time"),
    "meshcode.sim": ("meshcode.client", "meshcode.cli", "meshcode.model", "meshcode.worker",
                     "meshcode.store.lmdb_log", "zmq", "lmdb", "threading", "socket"),
}  # fmt: skip

# Lazy imports that are a door on purpose; what lies behind them belongs to another process's rules.
DOORS = {
    ("meshcode.node.embedded", "meshcode.client"),  # The host program calls the node it embeds.
    ("meshcode.node.hostloop", "asyncio"),  # Its own `async def` functions.
}

CLI_START_MUST_NOT_LOAD = (
    "asyncio", "sqlalchemy", "alembic", "lmdb", "git", "zmq", "psutil", "numpy", "meshcode.node",
    "meshcode.model", "meshcode.router", "meshcode.store", "meshcode.client", "importlib.metadata",
    "rich", "http", "ssl",
)  # fmt: skip


class Import:
    """One name a module imports: the target, its line, and whether start-up pays for it."""

    def __init__(self, target: str, line: int, *, at_start: bool) -> None:
        self.target = target
        self.line = line
        self.at_start = at_start


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    return found


def is_typing_guard(node: ast.AST) -> bool:
    """`if TYPE_CHECKING:`: what is under it is never imported."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def walk_imports(node: ast.AST, package: str, *, at_start: bool) -> Iterator[Import]:
    """All imports under `node`, absolute, without those for the type checker alone."""
    for child in ast.iter_child_nodes(node):
        if is_typing_guard(child):
            for other in child.orelse:  # type: ignore[attr-defined]
                yield from walk_imports(other, package, at_start=at_start)
        elif isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_start=at_start)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                up = package.split(".")[: len(package.split(".")) - child.level + 1]
                base = ".".join([*up, base] if base else up)
            for alias in child.names:
                yield Import(f"{base}.{alias.name}", child.lineno, at_start=at_start)
        else:
            inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk_imports(child, package, at_start=at_start and not inner)


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    """What one module imports."""
    path = modules()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return tuple(walk_imports(ast.parse(path.read_text()), package, at_start=True))


def module_of(target: str) -> str | None:
    """The module of ours an import loads: `meshcode.wire.frame.index` -> `meshcode.wire.frame`."""
    while target:
        if target in modules():
            return target
        target = target.rpartition(".")[0]
    return None


def under(name: str, parts: tuple[str, ...] | set[str]) -> bool:
    """Whether a dotted name is one of `parts` or inside one."""
    return any(name == part or name.startswith(part + ".") for part in parts)


def layer(prefix: str) -> list[str]:
    """The modules of one layer."""
    return [name for name in modules() if under(name, (prefix,))]


def reach(start: str, *, at_start_only: bool) -> dict[str, tuple[str, ...]]:
    """Everything `start` loads, ours or not, each with the chain of modules that leads to it."""
    found: dict[str, tuple[str, ...]] = {}
    todo = [(start, (start,))]
    while todo:
        module, chain = todo.pop()
        for item in imports_of(module):
            if at_start_only and not item.at_start:
                continue
            ours = module_of(item.target)
            target = ours or item.target
            if target in found or target == start or (module, target) in DOORS:
                continue
            found[target] = (*chain, f"{target} (line {item.line})")
            if ours is not None and ours != PACKAGE:
                todo.append((ours, (*chain, ours)))
    return found


CORES = ("meshcode.router", "meshcode.replica", "meshcode.membership")


@pytest.mark.parametrize("core", CORES)
def test_a_core_imports_only_leaves(core: str):
    wrong = []
    for module in layer(core):
        for item in imports_of(module):
            ours = module_of(item.target)
            if ours is not None:
                good = ours in ROUTER_LEAVES or under(ours, (core,))
                # The router is the host of the replica, and they share what a step wants done.
                good = good or (core == "meshcode.router" and under(ours, ("meshcode.replica",)))
                good = good or ours == "meshcode.router.effects"
                good = good or ours == PACKAGE == item.target
            else:
                good = item.target in RANDOM_TYPE_ONLY or item.target in ROUTER_STDLIB
                good = good or item.target.rpartition(".")[0] in ROUTER_STDLIB
            if not good:
                wrong.append(f"{module}:{item.line}: {item.target}")

    assert not wrong, "the core may import leaves only:\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", sorted(NEVER))
def test_a_layer_never_reaches(name: str):
    """Transitively, lazy imports included: a function that imports it is a door as well."""
    wrong = []
    for module in layer(name):
        for target, chain in reach(module, at_start_only=False).items():
            if under(target, NEVER[name]) and not under(target, (name,)):
                wrong.append(" -> ".join(chain))

    assert not wrong, f"{name} reaches what it must not:\n" + "\n".join(sorted(set(wrong)))


@pytest.mark.parametrize("package", sorted(OWNERS))
def test_a_package_has_one_owner(package: str):
    wrong = []
    for module in modules():
        for item in imports_of(module):
            if under(item.target, (package,)) and not under(module, OWNERS[package]):
                wrong.append(f"{module}:{item.line}: {item.target}")

    owners = ", ".join(OWNERS[package])
    assert not wrong, f"only {owners} may import {package}:\n" + "\n".join(wrong)


def test_no_two_modules_need_each_other_at_start_up():
    """A cycle of top-level imports works by luck of the order."""
    cycles = []
    for module in modules():
        for target in reach(module, at_start_only=True):
            if target in modules() and target > module:
                back = reach(target, at_start_only=True)
                same_package = under(target, (module,)) or under(module, (target,))
                if module in back and not same_package and not _in_core(module, target):
                    cycles.append(f"{module} <-> {target}")

    assert not cycles, "\n".join(sorted(cycles))


def _in_core(module: str, target: str) -> bool:
    # The handlers of a core take the Router, Replica or Swim they belong to: each is one unit.
    return any(
        under(module, (core,)) and under(target, (core,))
        for core in ("meshcode.router", "meshcode.replica", "meshcode.membership")
    )


def loaded_after(code: str) -> set[str]:
    """The modules a fresh interpreter holds after running `code`."""
    run = subprocess.run(
        [sys.executable, "-c", code + "\nimport sys; print(*sorted(sys.modules), sep='\\n')"],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    return set(run.stdout.splitlines())


@pytest.mark.parametrize(
    "code",
    [
        "import meshcode",
        "import meshcode.cli",
        "from meshcode.cli import main; main(['--version'])",
        "from meshcode.cli import main; main(['--help'])",
    ],
)
def test_the_command_starts_light(code: str):
    loaded = loaded_after(code)

    assert not [m for m in loaded if under(m, CLI_START_MUST_NOT_LOAD)]


def test_a_node_loads_nothing_heavy():
    """What the process of a node holds before its first call."""
    loaded = loaded_after("import meshcode.node.daemon, meshcode.store.lmdb_log")

    heavy = (
        "sqlalchemy", "alembic", "psycopg2", "asyncio", "git", "http", "ssl", "click",
        "meshcode.client",
    )  # fmt: skip
    assert not [m for m in loaded if under(m, heavy)]


def test_a_node_loads_no_openssl():
    """`digest.py` has what is needed of it, 4 MiB lighter."""
    loaded = loaded_after("import meshcode.node.daemon, meshcode.node.loop, meshcode.node.mesh")

    assert loaded.isdisjoint({"hashlib", "hmac", "secrets", "_hashlib", "ssl"})


def test_the_core_loads_nothing_that_touches_the_world():
    """What `import meshcode.router.core` brings in beyond a bare interpreter."""
    loaded = loaded_after("import meshcode.router.core") - loaded_after("pass")

    assert not [m for m in loaded if under(m, ("zmq", "lmdb", "threading", "asyncio", "logging"))]


# Imports each module of a core in a process of its own, and prints those that cannot be first.
_EACH_FIRST = """
import importlib, os, sys
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException as error:
            print(f"{name}: {type(error).__name__}: {error}", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_every_module_of_a_core_may_be_the_first_that_is_loaded():
    """Parts of the core call each other; none may need another of them while it is loaded."""
    names = [name for core in CORES for name in layer(core)]

    run = subprocess.run(
        [sys.executable, "-c", _EACH_FIRST, *names], cwd=ROOT, text=True, capture_output=True,
        check=True,
    )  # fmt: skip

    assert len(names) > 50
    assert run.stdout == ""


def test_what_is_lent_to_workers_needs_only_what_is_lent():
    """A worker has only these files of meshcode: what they import, early or late, is among them."""
    files = [name.removesuffix(".py") for name in lend._OWN if name != "__init__.py"]
    lent = {f"{PACKAGE}.{name}" for name in (*files, *lend._OWN_FOLDERS)}
    wrong = []
    for module in modules():
        for item in imports_of(module) if under(module, lent) else ():
            ours = module_of(item.target)
            if ours not in (None, PACKAGE) and not under(ours, lent):
                wrong.append(f"{module}:{item.line}: {item.target}")

    assert not wrong, "a worker cannot load these:\n" + "\n".join(wrong)
