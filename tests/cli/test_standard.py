"""A full disk, a closed stream: what cannot be written is told, and nothing is cut in silence."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

MODES = ["unset PYTHONUNBUFFERED", "export PYTHONUNBUFFERED=1"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("where", "why"), [(">/dev/full", "No space left on device"), (">&-", "it is closed")]
)
def test_output_that_cannot_be_written_is_one_line_and_status_74(shell, mode, where, why):
    said = shell.bash(f"{mode}; mesh ls queues 2>&1 {where}; echo $?")

    assert said == (
        f"mesh: stdout cannot be written: {why}; output is missing; what the command did holds\n"
        "74\n"
    )
    for command in ("mesh --version", "mesh --help", "mesh status"):
        said = shell.bash(f"{mode}; {command} 2>&1 {where}; echo $?").splitlines()
        assert (len(said), said[-1]) == (2, "74"), (command, said)


def test_the_id_of_a_safe_call_is_told_where_it_can_be(shell):
    said = shell.bash("mesh run shop.add 2 --no-wait 2>&1 >/dev/full; echo $?")
    id = said.split("; call ")[1].split()[0]
    given = shell.bash("mesh run shop.add 3 2>&1 >&-; echo $?")

    assert said.endswith(f"call {id} is safe: `mesh call get {id}` waits for it\n74\n")
    assert shell("call", "get", id) == ("2\n", "")
    assert "; what call " in given
    assert given.endswith(" prints it\n74\n")


def test_an_error_stays_the_status_when_it_cannot_be_told_either(shell):
    assert shell.bash("mesh ls queue nope >/dev/full 2>/dev/full; echo $?") == "3\n"
    assert shell.bash("mesh ls queue nope >&- 2>&-; echo $?") == "3\n"
    assert shell.bash("mesh run shop.add 2 2>&-; echo $?") == "2\n0\n"


@pytest.mark.parametrize("mode", MODES)
def test_a_result_is_never_cut_in_silence(shell, mode, tmp_path):
    """Python ignores SIGXFSZ, so a limit of a file's size is a short write."""
    run = "mesh run shop.do_this \"$(printf 'x%.0s' $(seq 1 100000))\""
    file = tmp_path / "out"
    status = shell.bash(f"{mode}; (ulimit -f 20; {run} >{file} 2>/dev/null); echo $?")
    gone = shell.bash(f"{mode}; {run} | head -c 5; echo \" ${{PIPESTATUS[@]}}\"")

    assert status == "74\n"
    assert file.stat().st_size < 100_000
    assert gone == "Do th 141 0\n"


def test_a_closed_stdin_is_told(shell):
    said = "mesh: stdin cannot be read: it is closed; nothing was sent\n2\n"

    assert shell.bash("mesh run shop.add - 2>&1 <&-; echo $?") == said
    assert shell.bash("mesh apply -f - 2>&1 <&-; echo $?") == said


def test_ctrl_c_while_the_command_is_loaded_is_quiet():
    """The module that is loaded first raises what Ctrl-C would."""
    code = (
        "import os, signal, sys\n"
        "class Early:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'meshcode.cli.app':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Early())\n"
        "from meshcode.cli import main\n"
        "sys.exit(main(['ls', 'queues']))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True,
        cwd=__file__.rsplit("/tests/", 1)[0],
    )  # fmt: skip

    assert (found.returncode, found.stdout, found.stderr) == (128 + signal.SIGINT, "", "")
