"""The environment of the tests themselves, for the workers of a node under test.

A node builds an environment for the code that it mounts; in a test the packages are there already.
So an environment is put where the node looks first, which has the packages of this interpreter.
"""

from __future__ import annotations

import json
import os
import site
import sys
import sysconfig
import venv

from meshcode.worker.environment import Environments, wanted
from meshcode.worker.repository import Repository


def provide(cache: str, url: str, module_path: str) -> str:
    """Make the environment of the newest commit of a repository; its interpreter.

    Args:
        cache: the folder `code` of the node's home.
        url: of the repository, as the processor has it.
        module_path: the same.
    """
    checkout = Repository(url, cache).checkout(branch="main")
    want = wanted(checkout, "", module_path)
    builds = Environments(cache)
    found = builds.ready(want)
    if found is None:
        _make(os.path.join(builds.folder, want.key), want.key, checkout.url)
        found = builds.ready(want)
    assert found is not None
    return found.python


def _make(folder: str, key: str, url: str) -> None:
    venv.EnvBuilder(symlinks=os.name != "nt", with_pip=False).create(folder)
    scheme = {"base": folder, "platbase": folder}
    packages = sysconfig.get_path("purelib", "venv", scheme)
    # A line that begins with `import` is run: addsitedir also reads what editable installs left.
    lines = [f"import site; site.addsitedir({place!r})\n" for place in _own_packages()]
    with open(os.path.join(packages, "mesh-own.pth"), "w", encoding="utf-8") as file:
        file.writelines(lines)
    with open(os.path.join(folder, "mesh-env.json"), "w", encoding="utf-8") as file:
        json.dump({"builder": "own", "url": url, "key": key}, file)


def _own_packages() -> list[str]:
    places = [*site.getsitepackages(), site.getusersitepackages()]
    return [place for place in places if place in sys.path]
