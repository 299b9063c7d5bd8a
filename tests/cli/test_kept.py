"""Settings, secrets, files, flows and versions with a real node: typed, listed, used."""

from __future__ import annotations

import hashlib
import json
import subprocess

import pytest

from meshcode.cli.flow import LS_COLUMNS
from meshcode.cli.kept import FLOW
from tests.cli.conftest import git

TOKEN = "tok-5e6f7a8b-never-shown"


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    """A repository whose task tells how its environment looks."""
    folder = tmp_path_factory.mktemp("vault")
    (folder / "vault.py").write_text(
        "import hashlib\nimport os\n\nAT_IMPORT = os.environ['TOKEN']\n\n"
        "def digest():\n    same = os.environ['TOKEN'] == AT_IMPORT\n"
        "    return [same, hashlib.sha256(AT_IMPORT.encode()).hexdigest()]\n"
    )
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "tasks")
    return folder


def test_a_secret_reaches_the_worker_and_nothing_else(fresh, vault, tmp_path):
    """Not the model, its database and backup, the log, the audit log, or any answer."""
    fresh("up")
    place = tmp_path / "token"
    place.write_text(TOKEN + "\n")
    place.chmod(0o640)
    fresh("add", "secret", "-n", "token", "-s", f"file:{place}")
    fresh("add", "queue", "-n", "q")
    file = tmp_path / "net.json"
    file.write_text(json.dumps({
        "processors": {"vault": {"git": vault.as_uri(), "module": "vault", "branch": "main",
                                 "env": {"TOKEN": "secret:token"}}},
        "sockets": {"v.digest": {"processor": "vault", "task": "digest", "queue": "q"}},
    }))  # fmt: skip
    fresh("apply", "-f", str(file), "-y")

    def problem():
        rows = {row["name"]: row for row in fresh.json("ls", "processors")}
        return rows["vault"]["status"] == "failed"

    fresh.wait_until(problem)
    said = fresh("update", "processor", "vault", "-w", "1", "--wait", status=1)[1]
    assert "has mode 0640, so others can use it, and it must be 0600" in said

    place.chmod(0o600)
    fresh("update", "setting", "mount_retry_ms", "-v", "1s", status=3)
    fresh("add", "setting", "-n", "mount_retry_ms", "-v", "1s")
    fresh("proc", "restart", "-n", "vault", "--wait")
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    assert json.loads(fresh("run", "v.digest")[0]) == [True, digest]

    backup = tmp_path / "backup.db"
    fresh("db", "backup", str(backup))
    answers = "".join(
        fresh(*words)[0]
        for words in (
            ("get", "secret", "token"), ("ls", "secrets", "-o", "json"), ("export",),
            ("get", "processor", "vault", "-o", "json"), ("status", "-o", "json"),
            ("db", "json"), ("audit", "show"),
        )
    )  # fmt: skip
    assert "secret:token" in answers
    assert TOKEN not in answers
    fresh("down")
    found = subprocess.run(
        ["grep", "-rlF", TOKEN, fresh.home, str(backup)], check=False, capture_output=True,
        text=True,
    )  # fmt: skip
    assert (found.stdout, found.returncode) == ("", 1)
    known = ["grep", "-rlF", "secret:token", fresh.home]
    other = subprocess.run(known, capture_output=True, check=True)
    assert other.stdout  # So grep does find what is in the log and the database.


def test_a_secret_in_the_nodes_own_home_is_refused(fresh, vault):
    fresh("up")
    fresh("add", "secret", "-n", "own", "-s", f"file:{fresh.home}/model/model.db")
    file = json.dumps({"processors": {"thief": {
        "git": vault.as_uri(), "module": "vault", "env": {"TOKEN": "secret:own"}}}})  # fmt: skip
    fresh("apply", "-f", "-", "-y", stdin=file.encode())

    said = fresh("proc", "start", "-n", "thief", "--wait", status=1)[1]

    assert "is in the node's own home, which it never gives away" in said


def test_a_setting_has_the_unit_of_its_name(shell):
    shell("add", "setting", "-n", "retention_age_ms", "-v", "30d")
    shell("add", "setting", "-n", "worker_bytes", "-v", "1GiB")
    try:
        rows = {row["name"]: row for row in shell.json("ls", "settings")}
        assert rows["retention_age_ms"]["value"] == 30 * 86_400_000
        assert rows["worker_bytes"]["value"] == 1 << 30
        shell("update", "setting", "worker_bytes", "-v", "2d", status=2)
        said = shell("add", "setting", "-n", "retention", "-v", "1", status=2)[1]
        assert "did you mean 'retention_calls'?; it has: retention_age_ms" in said
    finally:
        for name in ("retention_age_ms", "worker_bytes"):
            shell("delete", "setting", name, "-y")


def test_steps_as_written_and_steps_that_run_have_two_names():
    """A pipeline of two calls is three as written, and two that run."""
    titles = [
        next(column.title for column in columns if column.key == "steps")
        for columns in (FLOW.columns, LS_COLUMNS)
    ]

    assert titles == ["Steps As Written", "Steps"]


def test_a_file_that_is_too_large_is_refused_by_its_own_size(shell, tmp_path):
    path = tmp_path / "big"
    path.write_bytes(bytes(70_000))  # Goes as base64, which is longer and not what anybody sees.

    err = shell("add", "file", "-n", "big", "--from", str(path), status=2)[1]

    said = "file 'big': the content has 70000 bytes, the most is 65536; nothing was changed"
    assert said in err and "AAAA" not in err


def test_a_file_goes_in_and_comes_out_byte_for_byte(shell, tmp_path):
    path = tmp_path / "raw"
    path.write_bytes(bytes(range(256)))
    shell("add", "file", "-n", "raw", "--from", str(path), "--folder", "a/b")
    try:
        shell("update", "file", "raw", "--from", "-", stdin=b"text\n")
        assert shell.run(["get", "file", "raw", "--content"])[1] == b"text\n"
        assert shell.run(["get", "version", "raw@1", "--content"])[1] == bytes(range(256))
        rows = shell.json("ls", "versions", "raw")
        assert [(row["name"], row["bytes"]) for row in rows] == [
            ("file:raw@1", 256), ("file:raw@2", 5),
        ]  # fmt: skip
        shell("update", "file", "raw", "--restore", "1")
        assert shell.run(["get", "file", "raw", "--content"])[1] == bytes(range(256))
        said = shell("get", "version", "raw@9", status=3)[1]
        assert "file 'raw' has no version 9; kept are 1 to 3" in said
        for count in range(4, 19):
            shell("update", "file", "raw", "--from", "-", stdin=b"%d" % count)
        said = shell("get", "version", "file:raw@2", "--content", status=3)[1]
        assert "file 'raw' has no version 2; kept are 3 to 18" in said
    finally:
        shell("delete", "file", "raw", "-y")
    assert shell.json("ls", "versions", "raw") == []


def test_a_flow_is_read_from_yaml_checked_and_written_back(shell, tmp_path):
    path = tmp_path / "night.yaml"
    path.write_text(
        "pipeline:\n  - shop.do_this\n  - funnel: [shop.raw, shop.upto]\n    body: shop.kind\n"
    )
    shell("add", "flow", "-n", "night", "-f", str(path))
    try:
        flow = shell.json("get", "flow", "night")[0]
        assert flow["sockets"] == ["shop.do_this", "shop.raw", "shop.upto", "shop.kind"]
        said = shell("update", "flow", "night", "-f", "-", status=2, stdin=b'{"funnel": ["a"]}')[1]
        assert "a funnel with a body at $, and there is none" in said
        said = shell("delete", "socket", "shop.raw", "-y", status=6)[1]
        assert "used by flow 'night'" in said
        text = shell("export", "flows", "-o", "toml")[0].encode()
        assert shell("diff", "-f", "-", "--format", "toml", stdin=text)[0] == ""
    finally:
        shell("delete", "flow", "night", "-y")


def test_a_node_does_what_a_setting_says_from_then_on(shell):
    """Workers are replaced after one call, without a restart of anything."""

    def ids():
        found = shell.json("ls", "workers")
        return {row["id"] for row in found if row["state"] == "ready"}

    before = shell.wait_until(lambda: len(ids()) == 2 and ids())
    shell("add", "setting", "-n", "worker_calls", "-v", "1")
    try:
        for _ in range(2):
            assert shell("run", "shop.add", "2", "3")[0] == "5\n"
        shell.wait_until(lambda: len(ids()) == 2 and ids() - before)
    finally:
        shell("delete", "setting", "worker_calls", "-y")
    assert shell("run", "shop.add", "2", "3")[0] == "5\n"
