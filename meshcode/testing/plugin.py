"""What pytest finds where meshcode is installed: the fixtures `mesh` and `mesh_world`.

Nothing of meshcode is imported before a test asks for one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from meshcode.testing.node import LocalMesh
    from meshcode.testing.world import World

_SCOPES = ("function", "class", "module", "package", "session")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the command line and of the ini file."""
    group = parser.getgroup("meshcode")
    group.addoption(
        "--mesh-seed", type=int, default=0, metavar="N",
        help="seed of every mesh_world; 0 as long as nothing is said",
    )  # fmt: skip
    parser.addini("mesh_root", "folder with the modules for the fixture mesh [rootdir]")
    scopes = ", ".join(_SCOPES)
    parser.addini("mesh_scope", f"scope of the fixture mesh: {scopes}", default="function")
    parser.addini(
        "mesh_environment", "packages of its workers: own, those of the tests, or build",
        default="own",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Refuse options that are none before anything is collected.

    Raises:
        pytest.UsageError: the text has those that there are.
    """
    scope = config.getini("mesh_scope")
    if scope not in _SCOPES:
        raise pytest.UsageError(f"mesh_scope is one of {', '.join(_SCOPES)}, not {scope!r}")


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    del fixture_name
    return config.getini("mesh_scope")


@pytest.fixture(scope=_scope)
def mesh(request: pytest.FixtureRequest) -> Iterator[LocalMesh]:
    """A real node with the working tree as it is now: `mesh.socket("module.function")`."""
    from meshcode.testing.node import LocalMesh

    config = request.config
    how = config.getini("mesh_environment")
    if how not in ("own", "build"):
        raise pytest.UsageError(f"mesh_environment is own or build, not {how!r}")
    root = config.rootpath / Path(config.getini("mesh_root") or ".")
    with LocalMesh(root.resolve(), build=how == "build") as found:
        yield found


@pytest.fixture
def make_mesh_world(request: pytest.FixtureRequest) -> Iterator[Callable[..., World]]:
    """Makes simulated meshes: `make_mesh_world(nodes=5, loss=0.1)`; see `World`."""
    from meshcode.testing.world import World

    seed = request.config.getoption("--mesh-seed")
    made: list[World] = []

    def make(**options: Any) -> World:
        made.append(World(**{"seed": seed, **options}))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def mesh_world(
    request: pytest.FixtureRequest, make_mesh_world: Callable[..., World]
) -> Iterator[World]:
    """A simulated mesh of three nodes with a clock of its own; nothing of it is real."""
    world = make_mesh_world()
    request.node.add_report_section("setup", "mesh_world", f"--mesh-seed={world.seed}")
    yield world
