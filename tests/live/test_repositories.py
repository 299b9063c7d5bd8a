"""Rules for repositories on a real node: code stops, its calls wait, and it comes back."""

from __future__ import annotations

import subprocess
from pathlib import Path

from meshcode.client import connect
from tests.live.harness import Mesh, git, make_repository, until


def test_code_that_is_denied_stops_and_goes_on_when_it_is_allowed(fresh: Mesh, repository: Path):
    fresh.offer("live", repository, "live.tasks", ["echo"])
    fresh.wait_ready("live")

    fresh.add("repo", "no-local", url=str(repository.parent), access="deny")
    until(lambda: not fresh.ready_workers("live"), 20, "its workers leave")
    with connect(fresh.address) as client:
        call = client.socket("live.tasks.echo").submit("patient")
        call.wait_accepted(20)
        row = fresh.processor("live")
        assert "is denied by the rule 'no-local'" in row["problem"]
        assert "`mesh ls repos` shows the rules" in row["cure"]
        assert client.ask("call.get", id=str(call.id))["state"] in ("WAITING", "PARKED")

        fresh.stop()
        fresh.start()  # What is mounted is in its log, and does not run.
        assert not fresh.ready_workers("live")

        fresh.ask("model", do="delete", kind="repo", name="no-local")
        assert call.result(60) == "patient"


def test_a_processor_that_failed_is_shown_with_the_reason_and_what_still_runs(
    fresh: Mesh, repository: Path
):
    fresh.offer("shown", repository, "live.tasks", ["echo"])
    fresh.wait_ready("shown")
    commit = fresh.processor("shown")["commit"]
    fresh.ask("model", do="update", kind="processor", name="shown", fields={"branch": "nowhere"})
    until(lambda: fresh.processor("shown")["status"] == "failed", 30, "the branch is missed")

    for words in (("get", "processor", "shown"), ("ls", "processors", "-o", "wide")):
        said = fresh.mesh(*words).stdout
        assert "has no branch 'nowhere'" in said
        assert commit[:12] in said


def test_unsigned_code_is_refused_and_signed_code_runs(fresh: Mesh, tmp_path: Path):
    key, repository = tmp_path / "key", tmp_path / "repository"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    make_repository(repository, {"one.py": "def which():\n    return 'signed'\n"})
    signers = f"ann@example.org {key.with_suffix('.pub').read_text()}"
    fresh.add("repo", "signed", url=str(repository), signers=signers)
    fresh.offer("one", repository, "one", ["which"])
    until(lambda: fresh.processor("one")["problem"], 30, "it is refused")
    assert "is not signed by any of the 1 signers" in fresh.processor("one")["problem"]
    assert not fresh.ready_workers("one")

    git(repository, "-c", "gpg.format=ssh", "-c", f"user.signingkey={key}", "commit", "--quiet",
        "--gpg-sign", "--allow-empty", "--message", "signed")  # fmt: skip
    commit = git(repository, "rev-parse", "HEAD").strip()
    fresh.ask("model", do="update", kind="processor", name="one", fields={"commit": commit})

    with connect(fresh.address) as client:
        assert client.socket("one.which").submit().result(60) == "signed"
