"""The runner with the one peer that every Python has, and what surrounds it."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

from bench.peers import __main__ as runner
from bench.peers import environment, tree
from bench.peers.life import Life
from bench.peers.peer import Unavailable
from bench.peers.roster import SYSTEMS

SYSTEMS_FOLDER = Path(runner.__file__).parent / "systems"


def test_a_short_run_measures_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "run.json"
    words = ["--only", "pool", "--rounds", "2", "--seconds", "0.02", "--width", "50"]
    words += ["--submits", "0", "--folder", str(tmp_path), "--out", str(out)]

    status = runner.main(words)

    report = capsys.readouterr().out
    assert status == 0
    for word in ("machine ", "moment ", "others ", "calls/s", "best of all peers"):
        assert word in report
    (row,) = json.loads(out.read_text())["rows"]
    assert (row["name"], row["reason"], sorted(row["samples"])) == ("pool", "", ["0", "1"])
    for sample in row["samples"].values():
        assert sample["rate"] > 100 and sample["start_s"] > 0 and sample["fan_ms"] > 0
        assert sample["chains"] is None
        assert len(sample["singles_ms"]) >= 1
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"], "no folder is left"


def test_what_cannot_start_is_a_row_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MESHCODE_PEERS_VENV", str(tmp_path / "none"))
    words = ["--only", "nats", "--rounds", "1", "--no-install", "--folder", str(tmp_path)]

    status = runner.main(words)

    assert status == 1
    assert "nats: round 1: there is no none" in capsys.readouterr().out


def test_an_import_that_fails_is_the_reason(tmp_path: Path):
    """This Python has no Dask; its process says so and is gone."""
    reason = "start: ModuleNotFoundError: No module named 'dask'"
    with (
        Life("dask", sys.executable, 1, str(tmp_path)) as life,
        pytest.raises(Unavailable, match=reason),
    ):
        life.ask("start")

    assert not list(tmp_path.iterdir())


def test_a_life_ends_with_everything_below_it(tmp_path: Path):
    with Life("pool", sys.executable, 2, str(tmp_path)) as life:
        life.ask("start")
        assert life.ask("bulk", count=300) > 0
        pids = life.pids()
        assert len(pids) >= 3, "a client and two workers"
        assert tree.memory(pids).rss > tree.memory(pids[1:]).rss > 0

    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_an_unknown_system_is_refused(capsys: pytest.CaptureFixture[str]):
    assert runner.main(["--only", "celry"]) == 2
    assert "there is no system 'celry'; there are meshcode, celery-redis" in capsys.readouterr().err


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_of_the_roster_is_defined(name: str):
    """Read, not imported: most of them need the peers' environment."""
    entry = SYSTEMS[name]
    module = ast.parse((SYSTEMS_FOLDER / f"{entry.module}.py").read_text())
    classes = {node.name for node in module.body if isinstance(node, ast.ClassDef)}

    assert entry.maker in classes


def test_every_requirement_is_pinned():
    assert all("==" in line for line in environment.requirements())
    assert len(environment.requirements()) > 10
