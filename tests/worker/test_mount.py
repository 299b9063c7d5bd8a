"""Mounting, whole: one request in, JSON lines out, and a worker that runs what was mounted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from meshcode.errors import MountFailed
from meshcode.worker import lend
from meshcode.worker import mount as mount_module
from tests.live.harness import until
from tests.worker.conftest import Repo
from tests.worker.harness import MiniNode
from tests.worker.wheels import make_wheel

MODULE = '''
"""Steps."""
import asyncio
from os.path import join
from meshcode.worker.context import current_call

def clean(text, /, *more, strict=False, width: int = 80, **rest):
    """Make it tidy."""
    return text.strip()

def count(text, sep): return len(text.split(sep))
async def fetch(url): return url
def numbers(n):
    yield from range(n)
async def stream():
    yield 1
def _hidden(): pass
class Thing: pass
VALUE = 3
'''


def run_mount(cache: Path, **request: Any) -> tuple[list[dict[str, Any]], int]:
    """Run the program; its lines and its status."""
    request.setdefault("cache", str(cache / "code"))
    done = subprocess.run(
        [sys.executable, "-m", "meshcode.worker.mount"],
        input=json.dumps(request).encode(),
        capture_output=True,
        check=False,
    )
    assert done.stderr == b""
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def mounted(cache: Path, **request: Any) -> dict[str, Any]:
    lines, status = run_mount(cache, **request)
    assert (lines[-1]["ok"], status) == (True, 0), lines[-1]
    return lines[-1]


def refused(cache: Path, **request: Any) -> dict[str, Any]:
    """The failure of a mount, in this process."""
    request.setdefault("cache", str(cache / "code"))
    with pytest.raises(MountFailed) as caught:
        mount_module.mount(request, lambda _step, _text: None)
    return {"text": caught.value.text, **caught.value.fields}


def test_a_failed_mount_ends_with_one_line_that_says_so(shared: tuple[Repo, Path]):
    repo, folder = shared
    lines, status = run_mount(folder, git=str(repo.folder), module="shop.steps", tag="v9")
    assert status == 1
    assert lines[-1] == {
        "ok": False,
        "code": "mount_failed",
        "step": "fetch",
        "reason": "no_tag",
        "text": f"the repository file://{repo.folder} has no tag 'v9'; it has no tag at all;"
        " nothing was mounted",
    }


def test_what_workers_need_of_the_node_is_whole_after_a_mount_that_failed_at_once(tmp_path: Path):
    """It is made beside git, which is through with a repository that is not there long before."""
    lines, status = run_mount(tmp_path, git=str(tmp_path / "none"), module="shop.steps")
    assert (status, lines[-1]["step"]) == (1, "fetch")
    made = os.listdir(tmp_path / "code" / "lend")
    assert made == [os.path.basename(lend.ensure(str(tmp_path / "code")))]


def test_why_there_is_nothing_to_lend_is_told(repo: Repo, tmp_path: Path, monkeypatch):
    repo.commit({"shop/steps.py": MODULE, "shop/__init__.py": ""})

    def fail(_cache: str) -> str:
        raise MountFailed("the package zmq is gone", step="environment", reason="no_package")

    monkeypatch.setattr(lend, "ensure", fail)
    told = refused(tmp_path, git=str(repo.folder), module="shop.steps")
    assert told == {
        "text": "the package zmq is gone", "step": "environment", "reason": "no_package",
    }  # fmt: skip


def test_what_a_mount_tells(repo: Repo, tmp_path: Path):
    head = repo.commit({"shop/steps.py": MODULE, "shop/__init__.py": ""})
    lines, status = run_mount(tmp_path, git=str(repo.folder), module="shop.steps", name="p")
    assert status == 0
    steps = [line["step"] for line in lines[:-1]]
    assert steps == ["fetch"] * 2 + ["environment"] * 3 + ["import"]
    told = lines[-1]
    assert (told["commit"], told["module"], told["built"]) == (head, "shop.steps", True)
    assert told["import_path"] == [told["worktree"]]
    assert told["python"].startswith(f"{tmp_path}/code/envs/{told['key']}/bin/")
    assert list(told["tasks"]) == ["clean", "count", "fetch", "numbers", "stream"]
    clean = told["tasks"]["clean"]
    assert clean["signature"] == {
        "args": [
            ["text", "posonly", True],
            ["more", "varargs", False],
            ["strict", "kwonly", False],
            ["width", "kwonly", False],
            ["rest", "varkw", False],
        ],
        "text": "(text, /, *more, strict=False, width: int = 80, **rest)",
    }
    assert told["tasks"]["count"]["signature"]["args"] == [
        ["text", "pos", True],
        ["sep", "pos", True],
    ]
    assert (clean["doc"], clean["file"], clean["line"]) == ("Make it tidy.", "shop/steps.py", 7)
    assert clean["source"].startswith("def clean(text, /")
    assert [task["kind"] for task in told["tasks"].values()] == [
        "plain", "plain", "async", "generator", "async_generator",
    ]  # fmt: skip

    again = mounted(tmp_path, git=str(repo.folder), module="shop.steps", tasks=["count"])
    assert (again["built"], again["key"], list(again["tasks"])) == (False, told["key"], ["count"])


def test_a_worker_runs_what_was_mounted_at_its_commit(
    repo: Repo, tmp_path: Path, node: MiniNode, monkeypatch: pytest.MonkeyPatch
):
    """A package of its own requirements, code from the worktree, and a newer commit beside it."""
    wheels = tmp_path / "wheels"
    make_wheel(wheels, "tiny", "1.0", {"tiny.py": "VERSION = '1.0'\n"})
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.setenv(name, str(wheels))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    code = "import tiny, helper\ndef f(x): return [tiny.VERSION, helper.N, x]\n"
    first = repo.commit({
        "src/steps.py": code, "src/helper.py": "N = 1\n", "requirements.txt": "tiny\n",
    })  # fmt: skip
    repo.commit({"src/helper.py": "N = 2\n"})
    request = {
        "git": str(repo.folder), "module": "steps", "module_path": "src",
        "requirements": "requirements.txt",
    }  # fmt: skip
    old = mounted(tmp_path, commit=first, **request)
    new = mounted(tmp_path, **request)
    assert old["key"] == new["key"], "the same requirements share one environment"

    for told, number in ((old, 1), (new, 2)):
        worker = node.worker(
            sockets={"s.f": "f"},
            python=told["python"],
            module=told["module"],
            import_path=told["import_path"],
            lend=told["lend"],
            commit=told["commit"],
        )
        assert worker.result("s.f", "x") == ["1.0", number, "x"]
        assert worker.stop() == 0


@pytest.mark.parametrize(
    ("request_", "step", "text"),
    [
        ({"branch": "nope"}, "fetch", "has no branch 'nope'"),
        ({"git": "/no/where"}, "fetch", "there is no repository at file:///no/where"),
        ({"git": "ext::x"}, "fetch", "is refused"),
        ({"git": ""}, "fetch", "needs the field 'git'"),
        ({"git": 5}, "fetch", "the field 'git' of a mount is 5, wanted a str"),
        ({"allow_file": False}, "fetch", "repositories on this host are not allowed here"),
        ({"offline": True}, "fetch", "fetching is switched off"),
        ({"module": "os; import x"}, "import", "is no name of a module"),
        ({"module": "no_such"}, "import", "No module named 'no_such'"),
        ({"module": "broken"}, "import", "ZeroDivisionError"),
        ({"module": "leaves"}, "import", "SystemExit: 0"),
        ({"module": "dies"}, "import", "ended with status 7 before it answered"),
        ({"tasks": ["clean", "gone"]}, "task", "has no function 'gone'; its functions are: clean"),
        ({"requirements": "none.txt"}, "environment", "no requirements file 'none.txt'"),
        ({"module_path": "../.."}, "environment", "leads out of the repository"),
    ],
)
def test_what_a_mount_refuses(
    shared: tuple[Repo, Path], request_: dict[str, Any], step: str, text: str
):
    repo, folder = shared
    cache = folder / "offline" if request_.get("offline") else folder
    told = refused(cache, **{"git": str(repo.folder), "module": "shop.steps", **request_})
    assert told["step"] == step
    assert text in told["text"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repo, Path]:
    folder = tmp_path_factory.mktemp("shared")
    repo = Repo(folder / "repo")
    repo.commit({
        "shop/steps.py": MODULE,
        "broken.py": "print('before it broke')\ndef inner():\n    return 1 / 0\ninner()\n",
        "leaves.py": "import sys\nsys.exit(0)\n",
        "dies.py": "import os\nprint('last words', flush=True)\nos._exit(7)\n",
        "noisy.py": "import os, sys\nprint('{\"ok\": false}')\nos.write(1, b'more')\n"
        "os.write(2, b'more')\ndef f(): pass\n",
        "hangs.py": "import time\nprint('waiting', flush=True)\ntime.sleep(600)\n",
        "threads.py": "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\ndef f(): pass\n",
        "listed.py": "from os.path import join\n__all__ = ['join', 'x']\nx = 3\ndef f(): pass\n",
    })  # fmt: skip
    return repo, folder


def test_an_import_error_has_its_traceback_and_what_was_printed(shared: tuple[Repo, Path]):
    repo, folder = shared
    text = refused(folder, git=str(repo.folder), module="broken")["text"]
    assert "line 3, in inner" in text
    assert "load_module" not in text and "importlib" not in text
    text = refused(folder, git=str(repo.folder), module="dies")["text"]
    assert text.endswith("it printed:\nlast words")


def test_of_a_package_that_is_missing_an_unnamed_requirements_file_is_told(tmp_path: Path):
    repo = Repo(tmp_path / "repo")
    repo.commit({"shop.py": "import no_such_package\n", "own.py": "def f(): return 1 / 0\nf()\n"})
    request = {"git": str(repo.folder), "name": "p", "module": "shop"}
    hint = (
        "; the repository has a requirements.txt, which is not used as the processor does not name"
        " it: `mesh update processor -n p -rq requirements.txt`"
    )
    assert "requirements.txt" not in refused(tmp_path, **request)["text"]

    repo.commit({"requirements.txt": ""})
    told = refused(tmp_path, **request)

    assert told["text"].endswith(hint) and told["step"] == "import"
    assert "No module named 'no_such_package'" in told["text"]
    assert "requirements.txt" not in refused(tmp_path, **request | {"module": "own"})["text"]
    named = refused(tmp_path, **request, requirements="requirements.txt")["text"]
    assert "No module named 'no_such_package'" in named and hint not in named


def test_what_a_module_prints_does_not_matter(shared: tuple[Repo, Path]):
    repo, folder = shared
    assert list(mounted(folder, git=str(repo.folder), module="noisy")["tasks"]) == ["f"]
    assert list(mounted(folder, git=str(repo.folder), module="threads")["tasks"]) == ["f"]
    assert list(mounted(folder, git=str(repo.folder), module="listed")["tasks"]) == ["join"]


def test_an_import_that_does_not_end_is_stopped(shared: tuple[Repo, Path]):
    repo, folder = shared
    request = {"git": str(repo.folder), "module": "hangs", "cache": str(folder / "code")}
    request["import_ms"] = 1_000
    with pytest.raises(MountFailed) as caught:
        mount_module.mount(request, lambda _step, _text: None)
    assert caught.value.fields == {"step": "import", "reason": "timeout"}
    assert "did not end within 1 s and was stopped; the setting import_ms" in caught.value.text
    assert caught.value.text.endswith("it printed:\nwaiting")


# Both say where they are, in a process of their own beside them, and go on for ever.
LINGERING = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(10**6)"])
pathlib.Path({marker!r}).write_text(f"{{os.getpid()}} {{child.pid}}")
time.sleep(10**6)
"""
BACKEND = '[build-system]\nrequires = []\nbuild-backend = "lingers"\nbackend-path = ["."]\n'


@pytest.mark.parametrize("step", ["import", "environment"])
def test_a_mount_that_is_told_to_end_leaves_nothing(repo: Repo, tmp_path: Path, step: str):
    marker = tmp_path / "marker"
    files = {"m.py": "", "lingers.py": LINGERING.format(marker=str(marker))}
    if step == "environment":
        files["pyproject.toml"] = BACKEND
    repo.commit(files)
    module = "lingers" if step == "import" else "m"
    request = {"git": str(repo.folder), "module": module, "cache": str(tmp_path / "code")}
    with subprocess.Popen(
        [sys.executable, "-m", "meshcode.worker.mount"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()
        until(lambda: marker.exists() and len(marker.read_text().split()) == 2, 60, step)
        process.terminate()
        assert process.wait(20) == 1
        lines = process.stdout.read().splitlines()
        assert process.stderr.read() == b""
    assert json.loads(lines[-1])["step"] == step
    gone = [int(word) for word in marker.read_text().split()]
    until(lambda: not any(map(_runs, gone)), 10, f"{gone} have ended")
    left = [path.name for path in (tmp_path / "code" / "envs").iterdir()]
    assert not [name for name in left if name.endswith((".building", ".source"))]
    assert bool(left) == (step == "import")


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff"])
def test_a_request_that_is_none(data: bytes):
    done = subprocess.run(
        [sys.executable, "-m", "meshcode.worker.mount"],
        input=data,
        capture_output=True,
        check=False,
    )
    told = json.loads(done.stdout)
    assert (told["ok"], told["reason"], done.returncode) == (False, "bad_request", 1)
    assert "not a JSON object" in told["text"]
    assert b"Traceback" not in done.stderr


def test_the_worktree_stays_as_it_was_committed(shared: tuple[Repo, Path]):
    repo, folder = shared
    told = mounted(folder, git=str(repo.folder), module="shop.steps")
    listed = subprocess.run(
        ["git", "-C", told["worktree"], "status", "--porcelain", "--ignored"],
        capture_output=True,
        check=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull},
    )
    changed = [
        line for line in listed.stdout.decode().splitlines() if not line.endswith("__pycache__/")
    ]
    assert changed == []
