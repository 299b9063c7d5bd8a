"""The working tree of a program as a git repository of its own, with what is not committed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from meshcode.errors import BadRequest

_NOT_CODE = (
    "__pycache__/", "*.pyc", ".venv/", "venv/", ".tox/", ".nox/", "node_modules/", ".*_cache/",
    "*.egg-info/", "build/", "dist/",
)  # fmt: skip
_SAID = (
    "-c", "user.name=meshcode", "-c", "user.email=meshcode@localhost", "-c", "commit.gpgsign=false",
    "-c", "core.autocrlf=false", "-c", "core.safecrlf=false", "-c", "core.hooksPath=/dev/null",
)  # fmt: skip
ADD_S = 120


def commit_of(root: Path, repository: Path) -> str:
    """Commit all files below `root` that git would not ignore; the id of the commit.

    The repository of the program itself, its index and its files stay as they are.

    Args:
        root: what holds the modules; needs to be no repository.
        repository: a folder for the bare repository; made when it is not there.

    Raises:
        BadRequest: git is not there or refuses; the text says what it said.
    """
    if not repository.exists():
        _git("init", "--quiet", "--bare", "--initial-branch=main", str(repository))
        exclude = repository / "info" / "exclude"
        exclude.parent.mkdir(exist_ok=True)
        exclude.write_text("\n".join(_NOT_CODE) + "\n")
    place = (f"--git-dir={repository}", f"--work-tree={root}")
    _git(*place, "add", "--all", "--", ".", cwd=root)
    _git(*place, "commit", "--quiet", "--allow-empty", "--message", "working tree", cwd=root)
    return _git(*place, "rev-parse", "HEAD").strip()


def module_path(root: Path, module: str) -> str:
    """Where below `root` a module is: "" for the root itself, or "src".

    Raises:
        BadRequest: there is no such module; the text says where was looked.
    """
    parts = module.split(".")
    for folder in ("", "src"):
        place = root / folder / Path(*parts)
        if place.with_suffix(".py").is_file() or (place / "__init__.py").is_file():
            return folder
    raise BadRequest(
        f"there is no module {module!r} in {root} or {root / 'src'}; the name of a socket is "
        "module.function, the ini option mesh_root says where modules are"
    )


def _git(*words: str, cwd: Path | None = None) -> str:
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    try:
        run = subprocess.run(
            ["git", *_SAID, *words],
            env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=ADD_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadRequest(f"git cannot be run: {error}; nothing was mounted") from None
    if run.returncode:
        raise BadRequest(f"git {words[2:3]} failed: {run.stderr.strip()}; nothing was mounted")
    return run.stdout
