"""The commands themselves: each is there, has examples, and refuses what is wrong with status 2."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import click
import pytest

from meshcode import errors
from meshcode.cli import app, main, output
from meshcode.cli.lazy import Group, LazyGroup
from meshcode.cli.registry import COMMANDS

MESH = [sys.executable, "-m", "meshcode.cli"]


def every_command(entries=COMMANDS, path=()):
    for name, entry in entries.items():
        if isinstance(entry, Group):
            yield from every_command(entry.entries, (*path, name))
        else:
            yield (*path, name), entry


def find(path):
    group, context = app.root(), click.Context(app.root(), info_name="mesh")
    for name in path:
        group = group.get_command(context, name)
        assert group is not None, path
    return group


@pytest.mark.parametrize("path", [path for path, _ in every_command()], ids=" ".join)
def test_every_command_loads_and_has_examples_that_name_it(path):
    found = find(path)

    assert isinstance(found, click.Command)
    text = found.help or ""
    assert "\nExamples:\n" in text
    examples = text.partition("\nExamples:\n")[2]
    assert "mesh " in examples
    assert path[-1] in examples
    assert all(len(line) <= 100 for line in text.splitlines())


def test_every_help_line_is_a_sentence_and_short():
    def lines(entries):
        for name, entry in entries.items():
            yield name, entry.help
            if isinstance(entry, Group):
                yield from lines(entry.entries)

    for name, text in lines(COMMANDS):
        assert text.endswith("."), name
        assert len(text) <= 76, name


def run(*arguments, capsys):
    status = main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A home without a node."""
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.delenv("MESH_NODE", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lss calls", "mesh: mesh has no command 'lss'; did you mean ls?"),
        ("ls call", "mesh: name one call, as ID or with --id ID"),
        ("ls callss", "mesh: mesh ls has no command 'callss'; did you mean calls or call?"),
        ("ad queue -n q", "mesh: mesh has no command 'ad'; did you mean add?"),
        ("zzz", "mesh: mesh has no command 'zzz'; it has dev, up, down, "),
        ("add queues", "mesh: mesh add has no command 'queues'; did you mean queue?"),
        ("add queue", "mesh: name one queue, as NAME or with -n NAME"),
        ("add queue a -n b", "mesh: name one queue, as NAME or with -n NAME; this names 'a' and"),
        ("add queue a b", "mesh: Got unexpected extra argument (b)"),
        (
            "add queue -n q --message-ttl 5",
            "mesh: Invalid value for '--message-ttl': '5' has no unit;",
        ),
        (
            "add queue -n q --max-length x",
            "mesh: Invalid value for '--max-length': 'x' is not a valid",
        ),
        (
            "add queue -n q --max-length-bytes 5Q",
            "mesh: Invalid value for '--max-length-bytes': '5Q' is not a size; write bytes,",
        ),
        ("add processor -n p", "mesh: Missing option '-g' / '--gitrepo'."),
        (
            "add processor -n p -g u -m m --env A",
            "mesh: Invalid value for '--env': write NAME=VALUE,",
        ),
        ("add socket -n s -q q", "mesh: Missing option '-pn' / '--procname'."),
        ("add socket -n s --cron 5", "mesh: No such option '--cron'"),
        ("update queue -n q", "mesh: nothing to change: give an option of queue 'q'"),
        ("update queue", "mesh: name one queue, as NAME or with -n NAME"),
        (
            "get queue a -n b",
            "mesh: name one queue, as NAME or with -n NAME; this names 'a' and 'b'",
        ),
        ("delete queue q", "mesh: delete queue q? Nobody is here to ask; say -y to go ahead"),
        ("proc remove p", "mesh: remove processor p? Nobody is here to ask; say -y to go ahead"),
        ("ls queues -o xml", "mesh: Invalid value for '-o' / '--output': 'xml' is not one of"),
        ("ls queues --columns ,", "mesh: Invalid value for '--columns': write column names"),
        ("ls calls -p 0", "mesh: Invalid value for '-p' / '--page': 0 is not in the range x>=1."),
        ("ls calls -r 5000", "mesh: Invalid value for '-r' / '--rows': 5000 is not in the range"),
        ("ls calls --state GONE", "mesh: Invalid value for '--state': 'GONE' is not one of"),
        ("run", "mesh: Missing argument 'SOCKET'."),
        ("run a.b 1 --nope", "mesh: No such option '--nope'."),
        ("run a.b -x", "mesh: No such option '-x'."),
        ("run a.b -k x", "mesh: -k wants NAME=VALUE, this has no '=': 'x'"),
        ("run a.b -k x=1 -k x=2", "mesh: -k x is given twice"),
        ("run a.b - -", "mesh: stdin can be one argument only, and - is given twice"),
        ("run a.b --priority 10", "mesh: Invalid value for '--priority': 10 is not in the range"),
        ("run a.b --timeout 5", "mesh: Invalid value for '--timeout': '5' has no unit; write 5s"),
        ("run a.b 1 --set x=1", "mesh: --set goes before the command: `mesh --set NAME=VALUE run"),
        ("ls calls --home=/h", "mesh: --home goes before the command: `mesh --home DIR ls calls"),
        ("ls queues --color never", "mesh: --color goes before the command: `mesh --color [auto|"),
        ("task run a 1", "mesh: Got unexpected extra argument (1)"),
        ("task run a -n b", "mesh: name one, as SOCKET, with -s SOCKET or with -n TASK; this"),
        ("task run --data 1", "mesh: give a socket, or a task with -n"),
        ("task run -s a --data [1 --json-stdin", "mesh: give --data or --json-stdin, not both"),
        ("task run -s a --data {1}", "mesh: --data is not plain data: line 1, column 1: a set is"),
        ("logs", "mesh: name a SOCKET, or one call with --call ID"),
        ("completion tcsh", "mesh: Invalid value for '{bash|zsh|fish}': 'tcsh' is not one of"),
        ("--color sometimes ls queues", "mesh: Invalid value for '--color': 'sometimes' is not"),
    ],
)
def test_what_is_wrong_is_refused_before_any_node_is_asked(line, message, nowhere, capsys):
    status, out, err = run(*line.split(), capsys=capsys)

    assert (status, out) == (2, "")
    assert err.startswith(message)


def test_no_arguments_show_the_help(capsys):
    status, out, err = run(capsys=capsys)

    assert (status, err) == (0, "")
    assert out.startswith("Usage: mesh [OPTIONS] COMMAND [ARGS]...")
    assert all(f"  {name} " in out for name in COMMANDS)


def test_a_group_without_a_command_shows_its_help_and_fails(capsys):
    status, out, err = run("ls", capsys=capsys)

    assert (status, out) == (2, "")
    assert "  sockets " in err


def test_list_and_rm_are_other_names(capsys):
    for line, usage in [
        (("list", "calls", "--help"), "Usage: mesh ls calls"),
        (("rm", "queue", "--help"), "Usage: mesh delete queue"),
    ]:
        status, out, _ = run(*line, capsys=capsys)
        assert status == 0
        assert usage.split()[-1] in out.splitlines()[0]


def test_the_version_is_the_same_on_both_ways(capsys):
    quick = run("--version", capsys=capsys)
    full = run("--color", "never", "--version", capsys=capsys)

    assert quick == full == (0, f"mesh {__import__('meshcode').__version__}\n", "")


@pytest.mark.parametrize(
    "line",
    [
        "status", "ls queues", "ls calls", "ls workers", "run a.b 1", "run a.b -5", "call get abcd",
        "call cancel abcd", "add queue -n q", "delete queue q -y", "proc start p", "task show a.b",
        "task code a.b", "logs a.b", "ls call abcd", "get socket s", "update queue q --expires 5s",
        "add processor -n p -g file:///r -m a.b -br main -rq r.txt -mp src -w 2 -r 3 -cs 2 -d",
        "add socket -n pkg.m.fn -q q1 -pn p -t fn", "add deployment -n p -d d -h localhost -c 2",
        "task run -s a.b --data ['x']",
    ],
)  # fmt: skip
def test_without_a_node_the_status_is_7_and_the_text_says_what_to_do(line, nowhere, capsys):
    status, out, err = run(*line.split(), capsys=capsys)

    address = f"ipc://{nowhere}/run/clients.ipc"
    assert (status, out) == (7, "")
    assert err == f"mesh: no node answers at {address}; start one with `mesh up` or `mesh dev`\n"


def test_a_link_left_by_a_dead_node_is_no_node(nowhere, capsys):
    """A node killed with -9 leaves its link file; connecting to it must not wait for 5 seconds."""
    import socket

    (nowhere / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as link:
        link.bind(str(nowhere / "run" / "clients.ipc"))

    assert run("status", capsys=capsys)[0] == 7


def test_down_without_a_node_is_done(nowhere, capsys):
    assert run("down", capsys=capsys) == (0, "", f"no node is up in {nowhere}\n")


def test_home_goes_before_the_environment(nowhere, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MESH_NODE", "ipc:///somewhere/else")
    other = tmp_path / "other"

    status, _, err = run("--home", str(other), "status", capsys=capsys)

    assert status == 7
    assert f"ipc://{other}/run/clients.ipc;" in err


def test_node_goes_before_home(nowhere, capsys):
    status, _, err = run(
        "--node", "ipc:///not/there", "--home", str(nowhere), "status", capsys=capsys
    )

    assert status == 7
    assert "no node answers at ipc:///not/there;" in err


STATUS_OF = {
    errors.CallerError: 2,
    errors.UnknownSocket: 3,
    errors.UnknownCall: 3,
    errors.UnknownObject: 3,
    errors.ObjectExists: 6,
    errors.WrongArguments: 2,
    errors.BadData: 2,
    errors.TooLarge: 2,
    errors.BadRequest: 2,
    errors.QueueFull: 9,
    errors.Busy: 9,
    errors.Refused: 9,
    errors.NotAllowed: 4,
    errors.WrongState: 6,
    errors.ResultExpired: 5,
    errors.CallCancelled: 5,
    errors.NoNode: 7,
    errors.WaitTimeout: 124,
    errors.RemoteError: 1,
    errors.WorkerDied: 1,
    errors.TimeLimit: 1,
    errors.BadResult: 1,
    errors.ModelUnavailable: 9,
}


@pytest.mark.parametrize("kind", STATUS_OF, ids=lambda kind: kind.__name__)
def test_each_error_has_its_exit_status(kind, monkeypatch, capsys):
    def fail(self, *_args, **_kwargs):
        raise kind("this and that; do so")

    monkeypatch.setattr(LazyGroup, "invoke", fail)

    assert run("status", capsys=capsys) == (STATUS_OF[kind], "", "mesh: this and that; do so\n")


@pytest.mark.parametrize("words", [[], ["add"], ["add", "queue"]], ids=" ".join)
def test_help_before_the_words_is_help_after_them(words: list[str], capsys):
    assert run("help", *words, capsys=capsys) == run(*words, "--help", capsys=capsys)
    assert run("help", *words, capsys=capsys)[0] == 0


def test_ctrl_c_is_130(monkeypatch, capsys):
    def interrupt(self, *_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(LazyGroup, "invoke", interrupt)

    assert run("status", capsys=capsys) == (130, "", "")


def test_a_task_that_raised_shows_its_traceback_first(monkeypatch, capsys):
    def fail(self, *_args, **_kwargs):
        fields = {"type": "ValueError", "traceback": "Traceback ...\nValueError: boom\n"}
        raise errors.from_data({"code": "remote", "text": "ValueError: boom", "fields": fields})

    monkeypatch.setattr(LazyGroup, "invoke", fail)

    assert run("status", capsys=capsys) == (
        1,
        "",
        "Traceback ...\nValueError: boom\nmesh: ValueError: boom\n",
    )


def test_a_reader_that_goes_away_is_not_an_error_to_talk_about():
    process = subprocess.Popen([*MESH, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()

    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


def test_sigterm_ends_it_as_shells_expect():
    """A reader that never reads keeps the command in its write until the signal comes."""
    code = (
        "import os, signal\n"
        "from meshcode.cli import app\n"
        "from meshcode.cli.lazy import LazyGroup\n"
        "LazyGroup.invoke = lambda *a, **k: os.kill(os.getpid(), signal.SIGTERM)\n"
        "app.run(['status'])\n"
    )

    found = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)

    assert (found.returncode, found.stderr) == (-signal.SIGTERM, b"")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_for_mesh(shell, capsys):
    status, out, _ = run("completion", shell, capsys=capsys)

    assert status == 0
    assert "_MESH_COMPLETE" in out


def test_a_tab_completes_commands_and_stays_silent_without_a_node(nowhere):
    def complete(words, index):
        environment = {
            **os.environ, "_MESH_COMPLETE": "bash_complete", "COMP_WORDS": words,
            "COMP_CWORD": str(index), "MESH_HOME": str(nowhere),
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-c", "from meshcode.cli import main; main([])"],
            check=False, capture_output=True, text=True, env=environment,
        )  # fmt: skip

    commands = complete("mesh ls so", 2)
    names = complete("mesh run sh", 2)
    settings = complete("mesh --set retention_a", 2)

    assert commands.stdout.split() == ["plain,sockets", "plain,socket"]
    assert (names.stdout.strip(), names.stderr) == ("", "")
    assert settings.stdout.split() == ["plain,retention_age="]


def test_colour_follows_the_option_then_the_environment(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    assert not output.has_colour(sys.stdout)  # Captured: not a terminal.
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert output.has_colour(sys.stdout)
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.has_colour(sys.stdout)
    output.set_colour("never")
    assert not output.has_colour(sys.stdout)
    output.set_colour("auto")
    monkeypatch.delenv("FORCE_COLOR")
    assert not output.has_colour(sys.stdout)


def test_an_option_that_a_command_has_too_is_its_own(nowhere, capsys):
    status, _, err = run("ls", "calls", "--node=n2", capsys=capsys)

    assert status == 7
    assert err.startswith("mesh: no node answers")
