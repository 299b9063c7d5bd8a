"""A shell with a `mesh` of its own, and a node with tasks, for the live tests of the command."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time

import pytest

from meshcode.cli import main
from meshcode.cli.process import log_tail, node_environment

TASKS = '''
"""Tasks of these tests."""

import os
import sys
import time


def do_something(text):
    """Say what came."""
    return f"Do something: {text}"


def do_this(text):
    """Say what came, too."""
    return f"Do this: {text}"


def add(left, right=0, *, scale=1):
    """The sum of two numbers."""
    return (left + right) * scale


def kind(*values, **named):
    """The types of what came."""
    return [[type(v).__name__ for v in values], {k: type(v).__name__ for k, v in named.items()}]


def raw():
    """Bytes that are no text."""
    return b"\\x00\\xff"


def boom(text):
    """Raise."""
    raise ValueError(text)


def talk(text):
    """Print to both streams."""
    print(text)
    print(text.upper(), file=sys.stderr)
    return len(text)


def upto(count):
    """Give numbers one by one."""
    yield from range(count)


def rest(seconds):
    """Take time."""
    time.sleep(seconds)
    return seconds


def die(*values):
    """End the worker under the call."""
    os._exit(3)
'''
NAMES = ["do_something", "do_this", "add", "kind", "raw", "boom", "talk", "upto", "rest"]


class Shell:
    """A shell whose `mesh` belongs to one home."""

    def __init__(self, home):
        self.home = str(home)
        self.names = []  # Tasks that are offered.
        self.environment = node_environment(self.home)
        self.environment.pop("NO_COLOR", None)
        self.environment.pop("FORCE_COLOR", None)

    def __call__(self, *words, status=0, stdin=None):
        """Run `mesh` in this process; check its exit status; return (stdout, stderr) as text."""
        code, out, err = self.run(words, stdin)
        assert code == status, (words, code, out, err, log_tail(self.home))
        return out.decode(), err.decode()

    def run(self, words, stdin=None):
        """Run `mesh` in this process: (exit status, stdout, stderr), the two as bytes."""
        streams, kept = (sys.stdin, sys.stdout, sys.stderr), dict(os.environ)
        out, err = io.BytesIO(), io.BytesIO()
        with open(os.devnull, "rb") if stdin is None else tempfile.TemporaryFile() as given:
            if stdin is not None:
                given.write(stdin)
                given.seek(0)
            try:
                os.environ.clear()
                os.environ.update(self.environment)
                mine = [io.TextIOWrapper(stream) for stream in (given, out, err)]
                sys.stdin, sys.stdout, sys.stderr = mine
                code = main(words)
                for stream in mine[1:]:
                    stream.flush()
                    stream.detach()  # Dropping it must not close what it wrote to.
            finally:
                sys.stdin, sys.stdout, sys.stderr = streams
                os.environ.clear()
                os.environ.update(kept)
        return code, out.getvalue(), err.getvalue()

    def json(self, *words):
        """The items that `mesh ... -o json` prints."""
        document = json.loads(self(*words, "-o", "json")[0])
        assert document["schema"] == 1
        return document["items"]

    def start(self, *words):
        """Begin `mesh` and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "meshcode.cli", *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self.environment, cwd="/",
        )  # fmt: skip

    def bash(self, line):
        """Run a line of bash in which `mesh` is this command."""
        script = f'mesh() {{ "{sys.executable}" -m meshcode.cli "$@"; }}; {line}'
        found = subprocess.run(
            ["bash", "-c", script], check=True, capture_output=True, text=True,
            env=self.environment, cwd="/", timeout=60,
        )  # fmt: skip
        return found.stdout

    def end(self):
        """Stop the node of this home, whatever state it is in and whoever is logged in."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.home, "login"))
        self.run(["down", "--now"])

    def offer(self, repository, names, *, workers="1"):
        """Declare functions of shop.tasks as sockets shop.NAME."""
        self.names = names
        self("add", "queue", "-n", "shop.queue1", "-t", "direct")
        self(
            "add", "processor", "-n", "proc1", "-g", repository.as_uri(), "-m", "shop.tasks",
            "-br", "main", "-w", workers,
        )  # fmt: skip
        for name in names:
            socket = f"shop.{name}"
            self("add", "socket", "-n", socket, "-q", "shop.queue1", "-pn", "proc1", "-t", name)

    @staticmethod
    def wait_until(condition, seconds=20):
        """Look again until it is true; each look is a question to the node and takes its time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := condition():
                return found
        raise AssertionError("it did not become true")


def git(folder, *words):
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").write_text("")
    (folder / "shop" / "tasks.py").write_text(TASKS)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "tasks")
    return folder


@pytest.fixture(scope="module")
def shell(tmp_path_factory, repository):
    """A node with all tasks as sockets; tests leave it as it was."""
    found = Shell(tmp_path_factory.mktemp("home"))
    try:
        found("up")
        found.offer(repository, NAMES, workers="2")
        yield found
    finally:
        found.end()


@pytest.fixture
def short_path(tmp_path_factory):
    """As tmp_path, without the test's name: a node far below it can still have its ipc address."""
    return tmp_path_factory.mktemp("t")


@pytest.fixture
def fresh(tmp_path):
    """A home of one's own, without a node yet; whatever runs in it is stopped afterwards."""
    found = Shell(tmp_path / "home")
    yield found
    found.end()
