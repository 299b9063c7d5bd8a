"""Environments: one Python environment per code and requirements, built once and shared.

An environment is found by a key over everything that can change its content.  It is built in a
folder aside and renamed into place, so a half-built one is never seen; two builders of the same
key wait for each other; one that cannot be built leaves all others as they are.  A worktree comes
first on `sys.path`, so the code that runs is always the code at the pinned commit; what a
repository's own setup adds is its dependencies, entry points and compiled parts.

    <cache>/envs/<key>/bin/python     <cache>/envs/<key>/mesh-env.json
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Collection
from typing import NamedTuple

from meshcode.digest import blake2b
from meshcode.errors import MountFailed
from meshcode.worker import child
from meshcode.worker.git import hide_secrets
from meshcode.worker.repository import Checkout, Tell, _silent, locked

FORMAT = 1  # Raised when the way environments are built changes: older ones are not found again.
BUILD_SECONDS_MAX = 1800  # Compiling a scientific package on a small board takes this long.
TAIL_LINES = 30  # Of a failed builder's output, for the error.
NESTED_FILES_MAX = 32  # Requirements files that include each other.

_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_KEPT_PREFIXES = ("PIP_", "UV_", "LC_")
_KEPT_ANY_CASE = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
# A requirement that is a place on disk: its content is not in its text.
_LOCAL = re.compile(r"^(\.|/|~|file:|-e\b|--editable\b)|@\s*file:|\.(whl|zip|tar\.gz)\s*$")


class Environment(NamedTuple):
    """A finished environment."""

    key: str
    folder: str
    python: str  # Its interpreter.
    builder: str  # "uv" or "venv": who built it.
    built: bool  # Built just now; False: it was there.


class Wanted(NamedTuple):
    """What an environment must hold."""

    checkout: Checkout
    project: str | None  # Folder within the worktree whose own setup is installed; None: no setup.
    file: str  # Requirements file within the worktree, or "".
    lines: tuple[str, ...]  # Requirements given inline.
    key: str


def inside(worktree: str, path: str, what: str) -> str:
    """`path` within the worktree, as an absolute path without links.

    Raises:
        MountFailed: step "environment": it is not there, or leads out of the worktree.
    """
    root = os.path.realpath(worktree)
    found = os.path.realpath(os.path.join(root, path))
    if found != root and not found.startswith(root + os.sep):
        raise MountFailed(
            f"the {what} {path!r} leads out of the repository; nothing was built",
            step="environment",
            reason="bad_path",
        )
    if not os.path.exists(found):
        raise MountFailed(
            f"the repository has no {what} {path!r} at this commit; nothing was built",
            step="environment",
            reason="no_path",
        )
    return found


def import_path(worktree: str, module_path: str) -> list[str]:
    """What goes first on `sys.path`: the folder of `module_path`, then the worktree.

    Raises:
        MountFailed: see `inside`.
    """
    root = os.path.realpath(worktree)
    if not module_path:
        return [root]
    folder = inside(worktree, module_path, "module path")
    if os.path.isfile(folder):
        folder = os.path.dirname(folder)
    return [folder, root] if folder != root else [root]


def _is_project(folder: str) -> bool:
    """There is something to install: not only tool settings in a pyproject.toml."""
    if os.path.exists(os.path.join(folder, "setup.py")):
        return True
    try:
        with open(os.path.join(folder, "pyproject.toml"), "rb") as file:
            data = tomllib.load(file)
    except FileNotFoundError:
        return False
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return True  # The builder says better what is wrong with it.
    return "project" in data or "build-system" in data


def _read_requirements(worktree: str, name: str, seen: dict[str, str]) -> None:
    """Read a requirements file and all it includes into `seen`: path -> text."""
    path = inside(worktree, name, "requirements file")
    if path in seen or len(seen) >= NESTED_FILES_MAX:
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        seen[path] = file.read()
    for line in seen[path].splitlines():
        nested = re.match(r"\s*(?:-r|-c|--requirement|--constraint)[\s=]*(\S+)", line)
        if nested and "://" not in nested[1]:
            _read_requirements(worktree, os.path.join(os.path.dirname(path), nested[1]), seen)


def _inline(requirements: str) -> tuple[str, ...]:
    """Requirements given as text: one a line, or a list with commas (not those of a version)."""
    lines: list[str] = []
    for line in requirements.splitlines():
        text = re.sub(r"(^|\s)#.*", "", line)
        # "a>=1,<2" is one requirement: a comma before an operator belongs to the version; commas in
        # brackets are extras.
        lines += re.split(r",(?=\s*[A-Za-z0-9./~])(?![^\[]*\])", text)
    return tuple(line.strip() for line in lines if line.strip())


def wanted(checkout: Checkout, requirements: str = "", module_path: str = "") -> Wanted:
    """Work out what the environment of this code must hold, and its key.

    Args:
        requirements: a requirements file of the repository, or requirements, one a line or with
            commas between.

    Raises:
        MountFailed: step "environment": a path that is not there or leads out of the repository,
            or a requirement that is an option.
    """
    root = os.path.realpath(checkout.folder)
    project = next((p for p in import_path(root, module_path) if _is_project(p)), "")
    text, file = requirements.strip(), ""
    lines: tuple[str, ...] = ()
    content: dict[str, str] = {}
    if text and "\n" not in text and _names_a_file(root, text):
        file = os.path.relpath(inside(root, text, "requirements file"), root)
        _read_requirements(root, file, content)
    else:
        lines = _inline(text)
        for line in lines:
            if line.startswith("-"):
                raise MountFailed(
                    f"the requirement {line!r} begins with a dash; put options into a requirements"
                    " file of the repository; nothing was built",
                    step="environment",
                    reason="bad_requirement",
                )
    every = [*lines, *(line.strip() for part in content.values() for line in part.splitlines())]
    of_commit = bool(project) or any(_LOCAL.search(line) for line in every)
    facts = [
        str(FORMAT),
        checkout.name,
        checkout.commit if of_commit else "",
        os.path.relpath(project, root) if project else "",
        *lines,
        *(f"{os.path.relpath(path, root)}\n{part}" for path, part in sorted(content.items())),
        sys.implementation.cache_tag,
        str(sysconfig.get_config_var("SOABI")),
        sysconfig.get_platform(),
        os.path.realpath(sys.base_prefix),
    ]
    digest = blake2b("\0".join(facts).encode(), digest_size=12).hexdigest()
    where = os.path.relpath(project, root) if project else None
    return Wanted(checkout, where, file, lines, f"{checkout.name[:40]}-{digest}")


def _names_a_file(root: str, text: str) -> bool:
    if os.path.isfile(os.path.join(root, text)):
        return True
    return text.endswith((".txt", ".in")) or ("/" in text and not re.search(r"[@ ,;=<>]|^\.", text))


def find_uv() -> str:
    """The uv program: beside this interpreter, or on PATH; "" when there is none."""
    beside = os.path.join(os.path.dirname(sys.executable), "uv")
    return beside if os.access(beside, os.X_OK) else shutil.which("uv") or ""


def _builder_environment(folder: str) -> dict[str, str]:
    found = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES) or name.lower() in _KEPT_ANY_CASE
    }
    found.pop("UV_PROJECT_ENVIRONMENT", None)
    found.update(
        VIRTUAL_ENV=folder,
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_NO_INPUT="1",
        PIP_REQUIRE_VIRTUALENV="0",
        UV_NO_CONFIG="1",
        UV_NO_PROGRESS="1",
        GIT_TERMINAL_PROMPT="0",
    )
    return found


class _Builder:
    """Builds one environment in `folder`; `source` is a copy of the worktree."""

    def __init__(self, folder: str, source: str, tell: Tell) -> None:
        self.folder = folder
        self.source = source
        self.tell = tell
        self.python = os.path.join(folder, "bin", "python")

    def run(self, *command: str) -> None:
        """Run one step of the build in the source folder.

        Raises:
            MountFailed: with the tail of what it printed.
        """
        with child.group(
            command,
            cwd=self.source,
            env=_builder_environment(self.folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                out, _ = process.communicate(timeout=BUILD_SECONDS_MAX)
                status = f"status {process.returncode}"
            except subprocess.TimeoutExpired:
                child.kill(process)
                out, _ = process.communicate()
                status = f"no end within {BUILD_SECONDS_MAX} s"
        if process.returncode != 0:
            lines = hide_secrets(out.decode("utf-8", "replace")).strip().splitlines()
            tail = "\n".join(lines[-TAIL_LINES:])
            raise MountFailed(
                f"the environment could not be built ({os.path.basename(command[0])}: {status});"
                f" environments built before are as they were. The builder said:\n{tail}",
                step="environment",
                reason="build_failed",
            )

    def arguments(self, want: Wanted) -> list[str]:
        """What to install, as arguments behind `--`-safe forms; paths begin with the source."""
        found = []
        if want.project is not None:
            found.append(os.path.normpath(os.path.join(self.source, want.project)))
        if want.file:
            found += ["-r", os.path.join(self.source, want.file)]
        return [*found, *want.lines]

    def with_uv(self, uv: str, want: Wanted) -> None:
        """Build by uv: files are linked from its cache where the file system can."""
        self.run(
            *(uv, "venv", "--quiet", "--no-project", "--prompt", want.checkout.name),
            *("--python", sys.executable, self.folder),
        )
        install = self.arguments(want)
        if install:
            self.tell("environment", "installing with uv")
            self.run(
                *(uv, "pip", "install", "--python", self.python, "--compile-bytecode"),
                *("--quiet", *install),
            )

    def with_venv(self, want: Wanted) -> None:
        """Build by the standard library's venv and pip."""
        install = self.arguments(want)
        own_pip = importlib.util.find_spec("pip") is not None
        seed = ["--without-pip"] if own_pip or not install else []
        prompt = ["--prompt", want.checkout.name]
        self.run(sys.executable, "-I", "-m", "venv", *seed, *prompt, self.folder)
        if install:
            self.tell("environment", "installing with pip")
            pip = [sys.executable, "-I", "-m", "pip", "--python", self.python]
            if not own_pip:
                pip = [self.python, "-I", "-m", "pip"]
            self.run(*pip, "install", "--quiet", "--no-warn-script-location", *install)


def _settle(folder: str, final: str) -> None:
    """Rewrite the building place into the final place in the text files that name it."""
    old, new = os.fsencode(folder), os.fsencode(final)
    names = [os.path.join(folder, "bin", name) for name in os.listdir(os.path.join(folder, "bin"))]
    for path in [*names, os.path.join(folder, "pyvenv.cfg")]:
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            data = file.read()
        if old in data and b"\0" not in data[:1024]:
            # A new file, because a linked one may be shared with a package cache.
            mode = os.stat(path).st_mode
            with open(path + ".new", "wb") as file:
                file.write(data.replace(old, new))
            os.chmod(path + ".new", mode & 0o777)
            os.rename(path + ".new", path)


class Environments:
    """All environments below one cache folder."""

    def __init__(self, cache: str, *, builder: str = "auto", tell: Tell = _silent) -> None:
        """`builder`: "auto" (uv when there is one), "uv" or "venv"."""
        assert builder in ("auto", "uv", "venv"), builder
        self.folder = os.path.join(cache, "envs")
        self.locks = os.path.join(cache, "locks")
        self.builder = builder
        self.tell = tell

    def ready(self, want: Wanted) -> Environment | None:
        """The finished environment of this key, if there is one; marks it as used."""
        folder = os.path.join(self.folder, want.key)
        stamp = os.path.join(folder, "mesh-env.json")
        try:
            os.utime(stamp)
            with open(stamp, encoding="utf-8") as file:
                builder = json.load(file)["builder"]
        except (OSError, ValueError, KeyError):
            return None
        python = os.path.join(folder, "bin", "python")
        if not os.path.exists(python):  # The Python it was made of has been removed.
            return None
        return Environment(want.key, folder, python, builder, False)

    def ensure(self, want: Wanted) -> Environment:
        """The environment of this key; builds it when it is not there.

        Raises:
            MountFailed: step "environment", with the tail of the builder's output.
        """
        found = self.ready(want)
        if found:
            return found
        with locked(os.path.join(self.locks, f"env-{want.key}.lock")):
            found = self.ready(want)  # Another process may have built it while this one waited.
            return found or self._build(want)

    def _build(self, want: Wanted) -> Environment:
        uv = find_uv() if self.builder != "venv" else ""
        if self.builder == "uv" and not uv:
            raise MountFailed(
                "uv was asked for and is not installed; install it or choose the builder venv;"
                " nothing was built",
                step="environment",
                reason="no_builder",
            )
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        final = os.path.join(self.folder, want.key)
        aside = f"{final}.building"
        source = f"{final}.source"
        self.tell("environment", f"building {want.key}")
        _remove(aside, source)
        try:
            # Builders write beside the sources they build; the worktree must stay as it is.
            if want.project is not None or want.file or want.lines:
                shutil.copytree(want.checkout.folder, source, symlinks=True)
            else:
                os.mkdir(source)
            builder = _Builder(aside, source, self.tell)
            if uv:
                builder.with_uv(uv, want)
            else:
                builder.with_venv(want)
            _settle(aside, final)
            name = "uv" if uv else "venv"
            with open(os.path.join(aside, "mesh-env.json"), "w", encoding="utf-8") as file:
                json.dump({"builder": name, "url": want.checkout.url, "key": want.key}, file)
            _remove(final)  # Only a broken one can be here: `ready` refused it.
            os.rename(aside, final)
        finally:
            _remove(aside, source)
        return Environment(want.key, final, os.path.join(final, "bin", "python"), name, True)

    def clean(self, older_than_s: float, keep: Collection[str] = ()) -> list[str]:
        """Remove environments not mounted for that many seconds; returns their keys.

        Args:
            keep: keys of environments that running workers use.
        """
        removed = []
        horizon = time.time() - older_than_s
        names = sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else []
        for name in names:
            stamp = os.path.join(self.folder, name, "mesh-env.json")
            if name in keep or not os.path.exists(stamp):
                continue
            with locked(os.path.join(self.locks, f"env-{name}.lock")):
                if os.path.getmtime(stamp) < horizon:
                    # Aside first: a removal cut short must not leave a broken one in place.
                    gone = os.path.join(self.folder, f"{name}.building")
                    _remove(gone)
                    os.rename(os.path.join(self.folder, name), gone)
                    _remove(gone)
                    removed.append(name)
        return removed


def _remove(*folders: str) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
