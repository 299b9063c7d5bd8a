"""What an installed meshcode tells package indexes and type checkers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from email.parser import Parser
from pathlib import Path

from tests.live.harness import ROOT

METADATA = """
import sys
from setuptools import build_meta
print(build_meta.prepare_metadata_for_build_wheel(sys.argv[1]))
"""
TYPED = """
from meshcode import Socket, connect
from meshcode.testing import LocalMesh

def first(mesh: LocalMesh) -> None:
    reveal_type(mesh.client)
    reveal_type(Socket("shop.price").submit(1))
    connect(address=7)
"""


def test_the_metadata_says_what_it_is_and_where_it_runs(tmp_path: Path):
    """It names no licence and no address as long as the project has none."""
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "meshcode").mkdir()
    (tmp_path / "out").mkdir()
    shutil.copy(ROOT / "meshcode/__init__.py", tmp_path / "meshcode")
    done = subprocess.run(
        [sys.executable, "-c", METADATA, str(tmp_path / "out")], cwd=tmp_path, check=True,
        capture_output=True, text=True, env={"MESHCODE_PURE": "1", "PATH": ""},
    )  # fmt: skip
    folder = tmp_path / "out" / done.stdout.splitlines()[-1]
    found = Parser().parsestr((folder / "METADATA").read_text())

    assert (found["Name"], found["Requires-Python"]) == ("meshcode", ">=3.11")
    assert found["Summary"].startswith("A broker-less mesh")
    assert found["Keywords"] and str(found.get_payload()).startswith("# meshcode\n")
    classifiers = found.get_all("Classifier", [])
    assert {"Typing :: Typed", "Framework :: Pytest"} <= set(classifiers)
    versions = {one.rpartition(" ")[2] for one in classifiers if ":: Python :: 3." in one}
    looked_for = re.search(r"for name in .* python3 (python3\..*); do", (ROOT / "dev").read_text())
    assert looked_for is not None
    assert versions == {name.removeprefix("python") for name in looked_for[1].split()}
    assert any((ROOT / name).exists() for name in ("LICENSE", "LICENSE.md")) == bool(
        found["License-Expression"]
    )


def test_every_module_beside_the_packages_is_checked_strictly():
    """Those that a checked package imports are read, and what is wrong in them is not told."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    files = sorted(path.stem for path in (ROOT / "meshcode").glob("*.py"))

    wanted = {f"meshcode.{name}" if name != "__init__" else "meshcode" for name in files}
    assert set(project["tool"]["mypy"]["modules"]) == wanted


def test_type_checkers_see_the_types_from_another_folder(tmp_path: Path):
    """An editable install that is an import hook would show them nothing."""
    (tmp_path / "program.py").write_text(TYPED)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "program.py"], cwd=tmp_path, check=False,
        capture_output=True, text=True,
    )  # fmt: skip

    lines = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    assert lines[0] == 'note: Revealed type is "meshcode.client.client.Client"', done.stdout
    assert lines[1] == 'note: Revealed type is "meshcode.client.call.Call"'
    assert lines[2].startswith("error: ") and done.returncode == 1
