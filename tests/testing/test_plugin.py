"""The fixtures for tests of users, used as a user does: pytest in a folder of its own."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import psutil
import pytest

from tests.live.harness import ROOT, git, make_repository

pytest_plugins = ["pytester"]

SHOP = '''
"""What the user wrote."""

import os
import time


def price(order, *, tax=0):
    return order["n"] * 2 + tax


def add(*numbers):
    return sum(sum(n) if isinstance(n, list) else n for n in numbers)


def pid():
    return os.getpid()


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)
    return os.getpid()
'''


@pytest.fixture
def user(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of a user, where pytest finds the plugin and nothing of this project's tests."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(pytester.path)]))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return pytester


def run(user: pytest.Pytester, *words: str) -> pytest.RunResult:
    """pytest as the user runs it."""
    return user.runpytest_subprocess("-p", "meshcode.testing.plugin", *words, timeout=120)


def test_pytest_finds_the_plugin_of_an_installed_meshcode():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["entry-points"]["pytest11"] == {"meshcode": "meshcode.testing.plugin"}


def test_the_plugin_costs_nothing_before_it_is_used(user):
    user.makepyfile("""
        import sys

        def test_it():
            loaded = [name for name in sys.modules if name.startswith("meshcode.")]
            assert set(loaded) == {"meshcode.testing", "meshcode.testing.plugin"}
            assert "zmq" not in sys.modules
    """)

    run(user).assert_outcomes(passed=1)


def test_a_scope_that_is_none_is_said(user):
    user.makepyfile("def test_it(): pass")

    found = run(user, "-o", "mesh_scope=bogus")

    assert found.ret == pytest.ExitCode.USAGE_ERROR
    found.stderr.fnmatch_lines(["*mesh_scope is one of function, *session, not 'bogus'*"])
    assert "INTERNALERROR" not in found.stdout.str() + found.stderr.str()


FIRST = """
    import concurrent.futures
    import os
    import shop
    from meshcode.client import Executor, parallel, pipeline


    def test_values(mesh):
        price = mesh.socket("shop.price")
        assert price({"n": 2}, tax=1) == 5
        assert mesh.socket("shop.pid")() != os.getpid()
        assert mesh.calls()[0]["socket"] == "shop.pid"
        assert [call["state"] for call in mesh.calls(socket="shop.price")] == ["DONE"]


    def test_a_flow_is_like_a_call(mesh):
        add = mesh.socket("shop.add")
        flow = mesh.submit(pipeline(add.p(1), parallel(add.p(2), add.p(3)), add.p()), 10)
        assert flow.result(30) == 13 + 14
        assert pipeline(add.p(1), add.p(2))().get(30) == 3


    def test_a_flow_survives_faults(mesh, tmp_path):
        gate = tmp_path / "gate"
        waits, add = mesh.socket("shop.wait_for", retries=3), mesh.socket("shop.add")
        flow = mesh.submit(pipeline(waits.p(str(gate)), add.p(0)))
        flow.wait_accepted(30)
        first = mesh.kill_worker("shop.wait_for")
        gate.touch()
        assert flow.result(60) not in (first, os.getpid())
        mesh.restart(kill=False)
        assert mesh.client.call(flow.id).result(30) == flow.result()


    def test_the_executor_finds_the_functions(mesh):
        with Executor(mesh.client) as executor:
            assert executor.submit(shop.price, {"n": 1}).result(30) == 2
"""


def test_a_node_runs_what_is_in_the_working_tree(user):
    """Of one commit, what changed since, and a file that git does not know yet."""
    old = "def price(order): return 'old'\n"
    make_repository(user.path, {"shop.py": old, ".gitignore": "*.log\n"})
    (user.path / "shop.py").write_text(SHOP)
    user.makeini("[pytest]\nmesh_scope = module\n")
    before = git(user.path, "status", "--porcelain")
    user.makepyfile(test_shop=FIRST)

    result = run(user, "-v")

    result.assert_outcomes(passed=4)
    after = git(user.path, "status", "--porcelain").splitlines()
    assert set(before.splitlines()) <= set(after)
    assert git(user.path, "rev-list", "--count", "HEAD").strip() == "1"


MISTAKES = """
    import pytest
    from meshcode.errors import BadRequest, MountFailed


    def test_mistakes(mesh):
        with pytest.raises(BadRequest, match="there is no module 'shp' in"):
            mesh.socket("shp.price")
        with pytest.raises(BadRequest, match="module 'shop' has no function 'prize'"):
            mesh.socket("shop.prize")
        with pytest.raises(BadRequest, match="is named module.function, not 5"):
            mesh.socket(5)
        with pytest.raises(BadRequest, match="is named module.function, not 'price'"):
            mesh.socket("price")
        with pytest.raises(MountFailed, match="No module named 'a_package_nobody_has'"):
            mesh.socket("broken.it")
        assert mesh.socket("helped.it")() == 1
        assert mesh.home.exists()
        workers = mesh.client.ask("status")["workers"]
        pids = [mesh.client.node["pid"], *(row["pid"] for row in workers)]
        print("\\nLEFT", mesh.home, *pids)
"""


def test_mistakes_say_what_is_wrong_and_nothing_is_left(user):
    """No repository at all here; workers have the packages of the tests, and src is found."""
    user.makepyfile(shop=SHOP, broken="import a_package_nobody_has\ndef it(): ...\n")
    (user.path / "src").mkdir()
    (user.path / "src" / "helped.py").write_text("import pytest\ndef it(): return 1\n")
    user.makepyfile(test_shop=MISTAKES)

    result = run(user, "-s")

    result.assert_outcomes(passed=1)
    [line] = [line for line in result.outlines if line.startswith("LEFT")]
    _, home, *pids = line.split()
    assert not Path(home).exists()
    assert len(pids) >= 2 and not any(psutil.pid_exists(int(pid)) for pid in pids)


WORLD = """
    from meshcode.client import parallel, pipeline


    def test_a_flow_survives(mesh_world):
        done = []
        mesh_world.serve("shop.add", lambda *n: done.append(n) or sum(n), takes=2.0)
        mesh_world.serve("shop.all", sum)
        add, every = mesh_world.socket("shop.add"), mesh_world.socket("shop.all")
        flow = mesh_world.submit(pipeline(add.p(1), parallel(add.p(2), add.p(3)), every.p()))
        mesh_world.advance(1)
        mesh_world.kill(mesh_world.ran[0].node)
        assert mesh_world.result(flow) == 7
        assert len(done) == 4, "the first step ran twice"


    def test_more(make_mesh_world):
        world = make_mesh_world(nodes=1)
        world.serve("f", lambda: 1)
        assert world.nodes == ["n1"] and world.result(world.submit("f")) == 1
        print(f"SEED {world.seed}")


    def test_it_fails(mesh_world):
        assert mesh_world.nodes == []
"""


def test_a_simulated_mesh_has_the_seed_of_the_command_line(user):
    user.makepyfile(test_shop=WORLD)

    result = run(user, "--mesh-seed", "42", "-rP")

    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*SEED 42*"])
    result.stdout.fnmatch_lines(["*--mesh-seed=42*"])


def test_an_environment_that_is_built_has_only_what_the_repository_asks_for(user):
    user.makeini("[pytest]\nmesh_environment = build\n")
    user.makepyfile(shop=SHOP, broken="import pytest\ndef it(): ...\n", test_shop="""
        import pytest
        from meshcode.errors import MountFailed

        def test_it(mesh):
            with pytest.raises(MountFailed, match="No module named 'pytest'"):
                mesh.socket("broken.it")
            assert mesh.socket("shop.add")(1, 2) == 3
    """)  # fmt: skip

    run(user).assert_outcomes(passed=1)


ORDERS = """
def price(order):
    return order["id"] * 2


def total(prices):
    return sum(prices)
"""


def test_the_examples_of_the_guide_run(user):
    text = (ROOT / "docs/testing.md").read_text()
    examples = [part.partition("```")[0] for part in text.split("```python\n")[1:]]
    assert len(examples) == 3
    (user.path / "shop").mkdir()
    (user.path / "shop/__init__.py").touch()
    (user.path / "shop/orders.py").write_text(ORDERS)
    for number, example in enumerate(examples):
        (user.path / f"test_{number}.py").write_text(example)
    user.makeini("[pytest]\nmesh_scope = session\n")

    run(user).assert_outcomes(passed=4)


@pytest.mark.parametrize(
    ("ini", "said"),
    [
        ("mesh_scope = always", "mesh_scope is one of function, class, *, not 'always'"),
        ("mesh_environment = none", "mesh_environment is own or build, not 'none'"),
    ],
)
def test_a_wrong_option_is_refused(user, ini, said):
    user.makeini(f"[pytest]\n{ini}\n")
    user.makepyfile("def test_it(mesh): assert mesh\n")

    result = run(user)

    assert result.ret != 0
    text = result.stdout.str() + result.stderr.str()
    assert all(part in text for part in said.split("*"))
