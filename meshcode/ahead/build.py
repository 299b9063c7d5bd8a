"""Compile the core: mypyc makes C of it, the C compiler a library; a minute or two.

Everything is made in a folder of its own and put in its place by one rename, so a node that starts
meanwhile sees all of it or nothing.  A node that runs keeps what it has loaded.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from meshcode import ahead
from meshcode.errors import MeshError

# Of the C compiler.  Without debug information, and deaf to what it says of generated code.
FLAGS = ["-O2", "-g0", "-w"]
_MYPY = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports"]

_NEEDED = (
    "a compiler and Python's headers are needed (Debian: apt-get install gcc libc6-dev python3-dev)"
)
_MISSING = (
    "mypy and setuptools are needed to compile the core and are not here; it runs from its source"
    " as before; install meshcode[compile]"
)


class CannotCompile(MeshError):
    """The core could not be compiled; nothing was changed, and its source runs as before."""


def build() -> tuple[Path, bool]:
    """Compile the core as it lies here, for this Python.

    Returns:
        The folder of the machine code, and whether it was made now: False when it was there.

    Raises:
        CannotCompile: mypy or a C compiler is missing, one of them failed, or the folder of the
            package cannot be written.
    """
    wanted = ahead.BUILT / ahead.key()
    if wanted.is_dir():
        return wanted, False
    try:
        ahead.BUILT.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="making-", dir=ahead.BUILT) as made:
            _make(Path(made), Path(made) / "out")
            if wanted.name != ahead.key():
                raise CannotCompile(
                    "the source of the core changed while it was compiled; nothing was kept;"
                    " compile it again"
                )
            try:
                os.rename(Path(made) / "out", wanted)
            except OSError:
                if not wanted.is_dir():  # Else another one was quicker, and made the same.
                    raise
    except OSError as error:
        raise CannotCompile(
            f"the compiled core cannot be written to {ahead.BUILT}: {error}; the core runs from"
            " its source as before; compile as the user who installed meshcode"
        ) from error
    for other in ahead.BUILT.iterdir():
        if other != wanted and not other.name.startswith("making-"):
            shutil.rmtree(other, ignore_errors=True)
    return wanted, True


def _make(work: Path, out: Path) -> None:
    """Make the libraries of the core under `out`, with what is needed on the way under `work`."""
    compiler = _c_compiler()
    extensions = _to_c(work / "c")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    include = [sysconfig.get_path("include"), sysconfig.get_path("platinclude")]

    def compile_one(job: tuple[Any, str]) -> list[str]:
        extension, source = job
        places = [*extension.include_dirs, *include]
        made: list[str] = compiler.compile(
            [source], output_dir=str(work / "o"), include_dirs=places, extra_postargs=FLAGS
        )
        return made

    jobs = [(extension, source) for extension in extensions for source in extension.sources]
    try:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            objects = list(pool.map(compile_one, jobs))
        for extension in extensions:
            own = [
                name
                for job, names in zip(jobs, objects, strict=True)
                for name in names
                if job[0] is extension
            ]
            path = out / (extension.name.replace(".", "/") + suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            compiler.link_shared_object(own, str(path))
    except Exception as error:
        raise CannotCompile(
            f"the C compiler failed: {error}; the core runs from its source as before; {_NEEDED}"
        ) from error


def _c_compiler() -> Any:
    """The compiler that Python's own build names, or $CC."""
    try:
        from setuptools._distutils.ccompiler import new_compiler
        from setuptools._distutils.sysconfig import customize_compiler
    except ImportError as error:
        raise CannotCompile(_MISSING) from error
    compiler: Any = new_compiler()
    customize_compiler(compiler)
    program = compiler.compiler_so[0]
    if shutil.which(program) is None:
        raise CannotCompile(
            f"there is no C compiler {program!r}; the core runs from its source as before;"
            f" {_NEEDED}"
        )
    return compiler


def _to_c(target: Path) -> list[Any]:
    """The extensions that mypyc makes of the core, their C files under `target`."""
    try:
        from mypyc.build import mypycify
    except ImportError as error:
        raise CannotCompile(_MISSING) from error
    target.mkdir()
    names = [str(path.relative_to(ahead.ROOT.parent)) for path in ahead.sources()]
    with _inside(ahead.ROOT.parent):
        try:
            # One file of C for each module, so that all processors have work.
            found: list[Any] = mypycify(
                [*_MYPY, f"--cache-dir={target / 'cache'}", *names],
                target_dir=str(target), multi_file=True, debug_level="0",
            )  # fmt: skip
        except SystemExit as error:
            raise CannotCompile(
                "mypy refused the source of the core, its messages are above; it runs as before,"
                " not compiled"
            ) from error
    return found


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """The working folder, for mypy names modules by where they lie from it."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
