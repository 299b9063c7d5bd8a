"""The git repository of the demo, made on the spot, and the files it works on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import zipfile
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

import meshcode
from meshcode.errors import MountFailed

TEXTLIB = Path(__file__).with_name("textlib")
FILE_BYTES_MAX = 80_000  # Larger ones take longer than the demo wants to.
FILE_BYTES_MIN = 2_000
GIT_S = 30.0

INDEX_REQUIREMENT = "humanize>=4,<5"
INDEX_PACKAGE = "humanize"
LOCAL_PACKAGE = "plainsize"

_PLAINSIZE = '''"""Sizes for people, without any dependency."""

__version__ = "1.0"


def naturalsize(size, binary=True):
    """`12.3 KiB` of a number of bytes."""
    base, units = (1024, "Bytes KiB MiB GiB TiB") if binary else (1000, "Bytes kB MB GB TB")
    value = float(size)
    for unit in units.split():
        if value < base or unit == "TiB" or unit == "TB":
            break
        value /= base
    return f"{value:.0f} {unit}" if unit == "Bytes" else f"{value:.1f} {unit}"
'''


def git(folder: Path, *words: str) -> str:
    """Run git there, without anybody's configuration; returns what it printed.

    Raises:
        MountFailed: git is missing or failed; the text has what it said.
    """
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
    }
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        environment.pop(name, None)
    who = ["-c", "user.name=mesh demo", "-c", "user.email=demo@localhost"]
    try:
        found = subprocess.run(
            ["git", *who, *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MountFailed(f"the demo cannot run git: {error}; install git 2.25 or newer") from None
    if found.returncode != 0:
        raise MountFailed(f"git {words[0]} failed in {folder}: {found.stderr.strip()}")
    return found.stdout.strip()


def make_repository(folder: Path) -> str:
    """A repository with three modules and the requirements of one of them; returns its commit."""
    package = folder / "textlib"
    package.mkdir(parents=True)
    for source in sorted(TEXTLIB.glob("*.py")):
        shutil.copyfile(source, package / source.name)
    wheel = make_wheel(folder / "vendor")
    (folder / "requirements.txt").write_text(INDEX_REQUIREMENT + "\n")
    (folder / "requirements-local.txt").write_text(f"{LOCAL_PACKAGE} @ {wheel.as_uri()}\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "textlib: count the words of files")
    return git(folder, "rev-parse", "HEAD")


def make_wheel(folder: Path) -> Path:
    """Write the package that stands in for the one of the index; returns the wheel."""
    folder.mkdir()
    wheel = folder / f"{LOCAL_PACKAGE}-1.0-py3-none-any.whl"
    info = f"{LOCAL_PACKAGE}-1.0.dist-info"
    files = {
        f"{LOCAL_PACKAGE}/__init__.py": _PLAINSIZE,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {LOCAL_PACKAGE}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: mesh demo\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = "".join(f"{name},{_digest(text)},{len(text)}\n" for name, text in files.items())
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


def _digest(text: str) -> str:
    return "sha256=" + urlsafe_b64encode(sha256(text.encode()).digest()).rstrip(b"=").decode()


def real_files(count: int) -> list[str]:
    """Files that every machine with Python has: sources of its library, else our own.

    The sizes are mixed, so that workers finish in another order than they began.
    """
    roots = [Path(sysconfig.get_path("stdlib")), Path(meshcode.__file__).parent]
    skipped = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
    found: list[str] = []
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            if skipped.intersection(path.relative_to(root).parts) or len(found) >= 4 * count:
                continue
            if FILE_BYTES_MIN <= path.stat().st_size <= FILE_BYTES_MAX:
                found.append(str(path))
        if len(found) >= count:
            break
    step = max(1, len(found) // count)
    return found[::step][:count]
