"""Environments: what they hold, when they are shared, and how they come into place."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcode.errors import MountFailed
from meshcode.worker import environment
from meshcode.worker.environment import Environments, find_uv, wanted
from meshcode.worker.repository import Checkout, Repository
from tests.worker.conftest import Repo
from tests.worker.wheels import BACKEND, PYPROJECT, make_wheel, repack

BUILDERS = [
    pytest.param("uv", marks=pytest.mark.skipif(not find_uv(), reason="uv is not installed")),
    "venv",
]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of wheels that is the whole package index of the test."""
    folder = tmp_path / "wheels"
    make_wheel(folder, "tiny", "1.0", {"tiny.py": "VERSION = '1.0'\n"})
    make_wheel(folder, "tiny", "2.0", {"tiny.py": "VERSION = '2.0'\n"})
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "UV_OFFLINE": "1",
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(folder),
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
    }.items():
        monkeypatch.setenv(name, value)
    yield folder


def checkout(repo: Repo, tmp_path: Path) -> Checkout:
    return Repository(str(repo.folder), str(tmp_path / "cache")).checkout()


def says(python: str, program: str) -> str:
    done = subprocess.run([python, "-I", "-c", program], capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.mark.parametrize("builder", BUILDERS)
def test_requirements_are_installed_and_nothing_else(
    repo: Repo, tmp_path: Path, index: Path, builder: str
):
    repo.commit({"m.py": "", "requirements.txt": "-r more.txt\n", "more.txt": "tiny==1.0\n"})
    builds = Environments(str(tmp_path / "cache"), builder=builder)
    made = builds.ensure(wanted(checkout(repo, tmp_path), "requirements.txt"))

    assert (made.builder, made.built) == (builder, True)
    assert says(made.python, "import tiny; print(tiny.VERSION)") == "1.0"
    assert says(made.python, "import sys; print(sys.prefix)") == made.folder
    missing = "import importlib.util as u; print([n for n in ('zmq','click') if u.find_spec(n)])"
    assert says(made.python, missing) == "[]"
    assert not builds.ensure(wanted(checkout(repo, tmp_path), "requirements.txt")).built
    assert [n for n in os.listdir(builds.folder) if n != made.key] == []


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_project_is_installed_with_its_requirements_and_works_where_it_is_put(
    repo: Repo, tmp_path: Path, index: Path, builder: str
):
    """Built aside and renamed: scripts, tracebacks and settings name the final place only."""
    repo.commit({"pyproject.toml": PYPROJECT, "backend.py": BACKEND, "m.py": ""})
    found = checkout(repo, tmp_path)
    made = Environments(str(tmp_path / "cache"), builder=builder).ensure(wanted(found))

    assert says(made.python, "import demo_built; print(demo_built.WHERE)").startswith(made.folder)
    assert says(made.python, "import tiny; print(tiny.VERSION)") == "2.0"
    script = Path(made.folder, "bin", "demo").read_text()
    assert ".building" not in script and (made.folder in script or "realpath" in script)
    for name in ["pyvenv.cfg", *(f"bin/{n}" for n in os.listdir(f"{made.folder}/bin"))]:
        path = Path(made.folder, name)
        if path.is_file() and not path.is_symlink():
            assert b".building" not in path.read_bytes(), name
    assert not Path(found.folder, "left-behind-by-the-build").exists(), "the worktree is untouched"


def test_a_setup_py_is_installed(repo: Repo, tmp_path: Path, index: Path):
    """As the seed did it, with build isolation and no network."""
    bundled = list(Path(sys.base_prefix).glob("lib/python3*/ensurepip/_bundled/setuptools-*.whl"))
    if bundled:
        (index / bundled[0].name).write_bytes(bundled[0].read_bytes())
    else:
        repack(index, "setuptools")
    for name in ("wheel", "packaging"):
        repack(index, name)
    repo.commit({
        "setup.py": "from setuptools import setup\n"
        "setup(name='old', version='1', py_modules=['old'], install_requires=['tiny<2'])\n",
        "old.py": "A = 1\n",
    })  # fmt: skip
    made = Environments(str(tmp_path / "cache")).ensure(wanted(checkout(repo, tmp_path)))
    assert says(made.python, "import old, tiny; print(old.A, tiny.VERSION)") == "1 1.0"


def test_inline_requirements_and_local_paths(repo: Repo, tmp_path: Path, index: Path):
    wheel = make_wheel(repo.folder / "vendor", "near", "0.1", {"near.py": "HERE = True\n"})
    repo.commit({"m.py": ""})
    want = wanted(checkout(repo, tmp_path), f"tiny>=1,<2, ./vendor/{wheel.name}")
    assert want.lines == ("tiny>=1,<2", f"./vendor/{wheel.name}")
    made = Environments(str(tmp_path / "cache")).ensure(want)
    assert says(made.python, "import near, tiny; print(near.HERE, tiny.VERSION)") == "True 1.0"


def test_an_environment_that_cannot_be_built(repo: Repo, tmp_path: Path, index: Path):
    """The error ends with what the builder said; what was there before goes on being there."""
    repo.commit({"m.py": ""})
    found = checkout(repo, tmp_path)
    builds = Environments(str(tmp_path / "cache"))
    good = builds.ensure(wanted(found, "tiny==1.0"))
    with pytest.raises(MountFailed) as caught:
        builds.ensure(wanted(found, "no-such-package==1.0"))
    assert caught.value.fields["step"] == "environment"
    assert "no-such-package" in caught.value.text
    assert "environments built before are as they were" in caught.value.text
    assert os.listdir(builds.folder) == [good.key], "nothing half-built is left"
    assert not builds.ensure(wanted(found, "tiny==1.0")).built


def test_two_builders_build_once(repo: Repo, tmp_path: Path, index: Path):
    repo.commit({"m.py": ""})
    want = wanted(checkout(repo, tmp_path), "tiny")
    made = []
    threads = [
        threading.Thread(
            target=lambda: made.append(Environments(str(tmp_path / "cache")).ensure(want))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.built for one in made) == [False, False, True]


def test_a_build_cut_short_is_done_again(repo: Repo, tmp_path: Path):
    """A crash while building, and one that left a broken environment in place."""
    repo.commit({"m.py": ""})
    builds = Environments(str(tmp_path / "cache"))
    want = wanted(checkout(repo, tmp_path))
    for name in (f"{want.key}.building", f"{want.key}.source", want.key):
        os.makedirs(os.path.join(builds.folder, name, "bin"))
    made = builds.ensure(want)
    assert made.built and says(made.python, "print(1)") == "1"
    os.unlink(made.python)
    assert builds.ensure(want).built, "its interpreter was gone"


def test_unused_environments_are_removed(repo: Repo, tmp_path: Path, index: Path):
    repo.commit({"m.py": ""})
    found = checkout(repo, tmp_path)
    builds = Environments(str(tmp_path / "cache"))
    keys = [builds.ensure(wanted(found, line)).key for line in ("tiny==1.0", "tiny==2.0", "")]
    old = time.time() - 1000
    for key in keys[:2]:
        os.utime(os.path.join(builds.folder, key, "mesh-env.json"), (old, old))

    assert builds.clean(2000) == []
    assert builds.clean(500, keep=[keys[1]]) == [keys[0]]
    assert sorted(os.listdir(builds.folder)) == sorted(keys[1:])
    assert builds.ensure(wanted(found, "tiny==2.0")).key == keys[1]
    assert builds.clean(500) == [], "using it made it new again"


def test_the_key_follows_what_matters(make_repo, tmp_path: Path):
    repo, other = make_repo("one"), make_repo("two")
    repo.commit({"m.py": "", "r.txt": "tiny\n"})
    other.commit({"m.py": "", "r.txt": "tiny\n"})
    first = checkout(repo, tmp_path)
    repo.commit({"m.py": "changed"})
    second = checkout(repo, tmp_path)
    repo.commit({"r.txt": "tiny>1\n"})
    third = checkout(repo, tmp_path)
    key = wanted(first, "r.txt").key
    assert wanted(second, "r.txt").key == key, "code alone needs no new environment"
    assert wanted(third, "r.txt").key != key
    assert wanted(checkout(other, tmp_path), "r.txt").key != key
    assert wanted(first).key != key
    assert wanted(first, "./vendor").key != wanted(second, "./vendor").key, "a local path"
    repo.commit({"setup.py": ""})
    fourth = checkout(repo, tmp_path)
    repo.commit({"m.py": "again"})
    assert wanted(fourth).key != wanted(checkout(repo, tmp_path)).key, "a setup of its own"


def test_tool_settings_alone_are_no_project(repo: Repo, tmp_path: Path):
    repo.commit({"pyproject.toml": "[tool.ruff]\nline-length = 99\n"})
    assert wanted(checkout(repo, tmp_path)).project is None
    repo.commit({"pyproject.toml": "[project]\nname = 'x'\n"})
    assert wanted(checkout(repo, tmp_path)).project == "."


def test_the_project_of_the_module_path_comes_first(repo: Repo, tmp_path: Path):
    repo.commit({"setup.py": "", "services/a/setup.py": "", "services/b/m.py": ""})
    found = checkout(repo, tmp_path)
    assert wanted(found, "", "services/a").project == "services/a"
    assert wanted(found, "", "services/b/m.py").project == "."
    root = os.path.realpath(found.folder)
    assert environment.import_path(root, "services/b/m.py") == [f"{root}/services/b", root]
    assert environment.import_path(root, "") == environment.import_path(root, ".") == [root]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ()),
        ("a", ("a",)),
        ("a, b", ("a", "b")),
        ("a>=1,<2,b", ("a>=1,<2", "b")),
        ("a[x,y]>=1, b", ("a[x,y]>=1", "b")),
        ("a  # why\n# all\n\nb==1.0\n", ("a", "b==1.0")),
        ("a @ https://x/y.whl, b", ("a @ https://x/y.whl", "b")),
        ("a; python_version < '3.12'", ("a; python_version < '3.12'",)),
    ],
)
def test_inline_requirements_are_told_apart(text: str, lines: tuple[str, ...]):
    assert environment._inline(text) == lines


@pytest.mark.parametrize(
    ("requirements", "module_path", "text"),
    [
        ("no.txt", "", "the repository has no requirements file 'no.txt' at this commit"),
        ("../x.txt", "", "leads out of the repository"),
        ("/etc/hosts.txt", "", "leads out of the repository"),
        ("link.txt", "", "leads out of the repository"),
        ("", "no/where", "the repository has no module path 'no/where'"),
        ("", "..", "leads out of the repository"),
        ("nested.txt", "", "leads out of the repository"),
        ("--index-url=http://evil", "", "begins with a dash"),
        ("tiny\n-e .", "", "begins with a dash"),
    ],
)
def test_paths_and_options_that_are_refused(
    repo: Repo, tmp_path: Path, requirements: str, module_path: str, text: str
):
    (repo.folder / "link.txt").symlink_to("/etc/hostname")
    repo.commit({"nested.txt": "-r ../../../../etc/hostname\n"})
    with pytest.raises(MountFailed) as caught:
        wanted(checkout(repo, tmp_path), requirements, module_path)
    assert text in caught.value.text
    assert caught.value.fields["step"] == "environment"
