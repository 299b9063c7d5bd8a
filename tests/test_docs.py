"""The documentation is run: commands against a real node, links, names of commands, Python."""

from __future__ import annotations

import ast
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from random import sample

import pytest

from meshcode.cli.lazy import ALIASES, Group
from meshcode.cli.registry import COMMANDS
from tests.live.harness import ROOT, Mesh

DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "bench/README.md"]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
EXIT = re.compile(r"\s+# exit (\d+)$")
SESSION_S = 90


def name_of(path: Path) -> str:
    """The page as people name it."""
    return path.relative_to(ROOT).as_posix()


def fenced(text: str, language: str) -> list[list[str]]:
    """The lines of every block of a language."""
    return [
        block.splitlines() for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    ]


def commands_of(page: Path) -> list[tuple[str, int, list[str]]]:
    """Every `$ command` of the console blocks: its text, its exit status, the output shown."""
    found: list[tuple[str, int, list[str]]] = []
    for block in fenced(page.read_text(), "console"):
        for line in block:
            if line.startswith("$ "):
                status = EXIT.search(line)
                found.append((EXIT.sub("", line[2:]), int(status[1]) if status else 0, []))
            elif line.startswith("> ") or line == ">":
                command, exit_status, shown = found[-1]
                found[-1] = (command + "\n" + line[2:], exit_status, shown)
            else:
                found[-1][2].append(line)
    return found


def run_session(commands: list[str], folder: Path, env: dict[str, str]) -> list[tuple[int, str]]:
    """Run them in one shell, one after another; the exit status and output of each."""
    mark = "@@@meshcode-docs@@@"
    script = "\n".join(f"{command}\nprintf '%s%s\\n' '{mark}' $?" for command in commands)
    file = folder / "session.sh"  # Not on stdin, which belongs to the commands.
    file.write_text(script)
    said = folder / "session.txt"  # Not a pipe: a node in the background would hold it open.
    with said.open("wb") as out:
        shell = subprocess.Popen(
            ["bash", str(file)], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out,
            stderr=out, start_new_session=True,
        )  # fmt: skip
        try:
            shell.wait(SESSION_S)
        except subprocess.TimeoutExpired:  # Below it is told which command it was.
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    found = []
    rest = whole = said.read_text()
    for command in commands:
        output, seen, rest = rest.partition(mark)
        assert seen, f"the shell did not end {command!r}:\n{whole[-2000:]}"
        status, _, rest = rest.partition("\n")
        found.append((int(status), output))
    return found


def matches(shown: list[str], output: str) -> bool:
    """Whether the output is what the page shows; `...` stands for any lines."""
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line) + "\n" for line in shown)
    return re.fullmatch(pattern, output if not output or output.endswith("\n") else output + "\n")


def free_ports() -> str:
    """In the place of the `174` of the page's three ports: others use this machine, too."""
    for first in sample(range(101, 320), 200):
        try:
            for n in (1, 2, 3):
                with socket.socket() as link:
                    link.bind(("127.0.0.1", int(f"{first}{n}0")))
            return str(first)
        except OSError:
            continue
    raise AssertionError("200 times three ports, and none of them is free")


def test_the_quickstart_runs_as_it_is_written(tmp_path: Path):
    """Each command, in order, in one shell; its exit status and its output."""
    mesh = Mesh(tmp_path / "home")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, words in (("mesh", "-m meshcode.cli"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (tools / name).chmod(0o755)
    env = {**mesh.env, "PATH": f"{tools}:{os.environ['PATH']}", "NO_COLOR": "1"}
    commands = commands_of(ROOT / "docs/quickstart.md")
    ours = f"tcp://127.0.0.1:{free_ports()}"
    words = [command.replace("tcp://127.0.0.1:174", ours) for command, _, _ in commands]

    try:
        done = run_session(words, tmp_path, env)
    finally:
        for home in (mesh, *(Mesh(tmp_path / name) for name in ("n1", "n2", "n3"))):
            home.mesh("down", seconds=60)  # Also those that a session which failed has left.

    for (command, status, shown), (got, output) in zip(commands, done, strict=True):
        assert got == status, f"$ {command}\n{output}\nexit {got}, the page says {status}"
        assert matches(shown, output), f"$ {command}\n{output}\nthe page shows\n" + "\n".join(shown)


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_links_lead_somewhere(page: Path):
    dead = [
        target
        for target in LINK.findall(page.read_text())
        if not target.startswith(("http:", "https:")) and not (page.parent / target).exists()
    ]

    assert not dead


def is_command(words: list[str]) -> bool:
    """Whether `mesh WORDS...` begins with a command there is."""
    entries = COMMANDS
    for word in words:
        if word.startswith("-"):
            return True
        entry = entries.get(ALIASES.get(word, word))
        if entry is None:
            return False
        if not isinstance(entry, Group):
            return True
        entries = entry.entries
    return True


MENTION = re.compile(r"(?:`|^\$ |^    |\| )mesh ((?:[a-z]+|-{1,2}[a-z-]+)(?: [a-z|-]+)?)", re.M)


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_commands_that_are_named_exist(page: Path):
    unknown = []
    for mention in MENTION.findall(page.read_text()):
        first, _, second = mention.partition(" ")
        group = isinstance(COMMANDS.get(ALIASES.get(first, first)), Group)
        for word in second.split("|") if group and second else [""]:
            if not is_command([first, word] if word else [first]):
                unknown.append(f"mesh {first} {word}".rstrip())

    assert not unknown


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_dev_commands_that_are_named_exist(page: Path):
    known = set(re.findall(r"^([a-z-]+)\)", (ROOT / "dev").read_text(), re.M)) | {"help"}

    named = set(re.findall(r"\./dev ([a-z]+)", page.read_text()))

    assert not named - known


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_python_in_the_docs_is_python(page: Path):
    broken = []
    for block in fenced(page.read_text(), "python"):
        try:
            ast.parse("\n".join(block))
        except SyntaxError as error:
            broken.append(f"{error}: {block[:3]}")

    assert not broken


def test_dev_help_and_unknown_commands():
    """The script itself, without installing anything."""
    shown = subprocess.run([ROOT / "dev", "help"], capture_output=True, text=True, check=False)
    wrong = subprocess.run([ROOT / "dev", "tset"], capture_output=True, text=True, check=False)

    assert shown.returncode == 0
    assert "demo" in shown.stdout
    assert wrong.returncode == 2
    assert "there is no command 'tset'" in wrong.stderr


def test_dev_says_which_debian_command_helps(tmp_path: Path):
    """A python3 without venv, as a fresh Debian has it."""
    fake = tmp_path / "python3"
    fake.write_text('#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; *) exit 0 ;; esac\n')
    fake.chmod(0o755)
    env = {
        **os.environ, "MESHCODE_PYTHON": str(fake), "MESHCODE_VENV": str(tmp_path / "venv"),
    }  # fmt: skip

    run = subprocess.run(
        [ROOT / "dev", "setup"], env=env, capture_output=True, text=True, check=False
    )

    assert run.returncode == 3
    assert run.stderr == f"dev: {fake} has no venv; on Debian: apt-get install python3-venv\n"
