"""`mesh demo`: it passes, it leaves nothing, and it would not pass if something were lost."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from meshcode.cli.demo import repository
from meshcode.cli.demo.stage import Stage
from meshcode.cli.demo.story import ECHOES, Story
from meshcode.cli.demo.textlib.count import measure
from meshcode.cli.demo.verify import verify
from meshcode.cli.process import node_environment
from meshcode.errors import MeshError

FILES = 60  # Enough to be in the middle of when the processes are killed.


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A story that was played to its end; its node is up."""
    stage = Stage(tmp_path_factory.mktemp("demo"), quiet=True)
    try:
        played = Story(stage, files=FILES, offline=True)
        try:
            played.play()
        except MeshError as error:
            raise AssertionError(stage.log_end()) from error
        yield played
    finally:
        stage.close(keep=False)


def mismatches(story):
    """Verify a story against its node once more."""
    story.mismatches = []
    with story.stage.connect() as client:
        verify(story, client)
    return story.mismatches


def test_everything_agrees_after_both_kills(story):
    with story.stage.connect() as client:
        found = verify(story, client)

    facts = story.facts
    calls = 2 * FILES + 2 * FILES + 1 + 1 + ECHOES
    assert story.mismatches == []
    assert (found.calls, found.done, found.wrong) == (calls, calls, 0)
    assert facts.open_at_worker_kill > 0
    assert facts.open_at_node_kill > 0
    assert found.ledger_lines == 4 * FILES + found.again


@pytest.fixture
def tampered(story):
    """The story, to be changed by one test; as it was afterwards."""
    with open(story.ledger) as file:
        ledger = file.read()
    kept = {name: copy.deepcopy(getattr(story, name)) for name in ("submitted", "results", "facts")}
    yield story
    for name, value in kept.items():
        setattr(story, name, value)
    Path(story.ledger).write_text(ledger)


def test_a_lost_call_is_found(tampered):
    tampered.submitted["01a20000-0000-7000-8000-000000000000"] = ""
    count = len(tampered.submitted)

    assert mismatches(tampered) == [
        "1 calls are lost, the first is ['01a20000-0000-7000-8000-000000000000']",
        f"the node keeps {count - 1} outcomes, {count} calls were made",
    ]


def test_a_call_nobody_made_is_found(tampered):
    """As a call that was recorded under two ids would be."""
    echo = next(id for id, key in tampered.submitted.items() if not key)
    del tampered.submitted[echo]
    count = len(tampered.submitted)

    assert mismatches(tampered) == [
        f"1 calls were never made, the first is ['{echo}']",
        f"the node keeps {count + 1} outcomes, {count} calls were made",
    ]


def test_a_wrong_result_is_found(tampered):
    key = f"a:{tampered.files[0]}"
    tampered.results[key] = {**tampered.results[key], "words": -1}

    assert mismatches(tampered) == [f"1 results differ from those computed here: ['{key}']"]


def test_a_missing_result_is_found(tampered):
    key = f"b:{tampered.files[0]}"
    del tampered.results[key]

    assert mismatches(tampered) == [f"1 results are missing, the first is ['{key}']"]


def test_a_call_that_never_ran_is_found(tampered):
    lines = Path(tampered.ledger).read_text().splitlines(keepends=True)
    key = lines[0].rsplit(" ", 1)[0]
    kept = [line for line in lines if not line.startswith(f"{key} ")]
    Path(tampered.ledger).write_text("".join(kept))

    assert mismatches(tampered) == [f"1 calls have an outcome and never ran: ['{key}']"]


def test_a_call_that_ran_too_often_is_found(tampered):
    key = f"p:{tampered.files[0]}"
    with open(tampered.ledger, "a") as file:
        file.write(f"{key} 1\n" * 3)

    assert mismatches(tampered) == [f"1 calls ran more often than kills explain: ['{key} 4x']"]


def test_a_wrong_report_is_found(tampered):
    tampered.facts.report["words"] += 1
    words = tampered.facts.report["words"]

    assert mismatches(tampered) == [f"the pipeline counted {words} words, here are {words - 1}"]


def test_the_command_says_so_and_leaves_nothing(short_path, tmp_path):
    login = tmp_path / "login"  # At another mesh; no node of the demo is to be shown it.
    login.write_text("joe.of-elsewhere\n")
    login.chmod(0o600)
    environment = {**node_environment(str(short_path / "unused")), "TMPDIR": str(short_path),
                   "MESH_LOGIN_FILE": str(login)}  # fmt: skip
    found = subprocess.run(
        [sys.executable, "-m", "meshcode.cli", "demo", "--offline", "--files", "100", "-o", "json"],
        check=False, capture_output=True, text=True, env=environment, cwd="/", timeout=120,
    )  # fmt: skip

    assert (found.returncode, found.stderr) == (0, "")
    (item,) = json.loads(found.stdout)["items"]
    assert item["mismatches"] == []
    assert item["package"] == "plainsize"
    assert os.listdir(short_path) == []
    left = [p.pid for p in psutil.process_iter(["cmdline"])
            if any(str(short_path) in word for word in p.info["cmdline"] or ())]  # fmt: skip
    assert left == []


def test_the_repository_is_real_and_its_wheel_installs_what_it_says(tmp_path):
    commit = repository.make_repository(tmp_path / "repo")

    files = repository.git(tmp_path / "repo", "ls-tree", "-r", "--name-only", commit).split()
    assert files == [
        "requirements-local.txt", "requirements.txt", "textlib/__init__.py", "textlib/clean.py",
        "textlib/count.py", "textlib/report.py", "vendor/plainsize-1.0-py3-none-any.whl",
    ]  # fmt: skip
    sys.path.insert(0, str(tmp_path / "repo" / "vendor" / "plainsize-1.0-py3-none-any.whl"))
    try:
        import plainsize
    finally:
        del sys.path[0]
    sizes = [plainsize.naturalsize(n) for n in (0, 1023, 1024, 1_500_000, 2**50)]
    assert sizes == ["0 Bytes", "1023 Bytes", "1.0 KiB", "1.4 MiB", "1024.0 TiB"]


def test_the_files_are_real_and_measured_the_same_everywhere(tmp_path):
    files = repository.real_files(50)
    assert len(files) == len(set(files)) == 50
    assert all(os.path.getsize(path) <= repository.FILE_BYTES_MAX for path in files)

    one = tmp_path / "a.txt"
    one.write_bytes(b"b a\r\nb\xff c\n")
    found = measure(str(one))
    assert (found["bytes"], found["lines"], found["words"], found["top"]) == (11, 2, 0, [])
    one.write_text("the cat\nthe (\n")
    assert measure(str(one))["top"] == [["the", 2], ["cat", 1]]
    assert measure(str(one))["tokens"] == -1
