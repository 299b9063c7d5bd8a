"""A branch mounted as other nodes have it, as far as its own history allows that."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from meshcode.worker.policy import Policy, read
from meshcode.worker.repository import Repository
from tests.worker.conftest import Repo

NOT_THERE = "d" * 40


class Mounts:
    """Mounts of one repository on one host."""

    def __init__(self, repo: Repo, cache: Path) -> None:
        self.repo = repo
        self.cache = cache
        self.rules: Policy = read([])
        self.told: list[str] = []

    def __call__(self, running: dict[str, int], **wanted: str) -> str:
        """The commit that is taken when others run these."""
        self.told.clear()
        found = Repository(
            str(self.repo.folder), str(self.cache), rules=self.rules,
            tell=lambda _step, text: self.told.append(text),
        ).checkout(running=running, **wanted)  # fmt: skip
        self.warning = found.warning
        assert Path(found.folder, "m.py").exists()
        return found.commit


@pytest.fixture
def mounts(repo: Repo, tmp_path: Path) -> Mounts:
    return Mounts(repo, tmp_path / "cache")


def test_what_most_run_is_taken_and_of_as_many_the_newest(repo: Repo, mounts: Mounts):
    old, middle, _, newest = (repo.commit({"m.py": f"{n}"}) for n in range(4))

    assert mounts({}) == newest
    assert mounts({old: 1}) == old
    assert f"{old[:12]}, as 1 other nodes; the newest is 3 on" in mounts.told
    assert mounts({old: 2, middle: 1}) == old
    assert mounts({old: 1, middle: 1}, branch="main") == middle
    assert mounts({middle: 3, newest: 3, old: 1}) == newest


def test_what_is_not_in_its_history_is_not_taken(repo: Repo, mounts: Mounts):
    """It never was there, is of another branch, was taken back, or is no commit."""
    first = repo.commit({"m.py": "1"})
    taken_back = repo.commit({"m.py": "2"})
    assert mounts({}) == taken_back, "the mirror has it"
    repo.git("reset", "-q", "--hard", first)
    newest = repo.commit({"m.py": "3"})
    repo.git("checkout", "-q", "-b", "side")
    side = repo.commit({"m.py": "4"})
    repo.git("checkout", "-q", "main")
    tree = repo.git("rev-parse", "HEAD^{tree}")

    bad = {taken_back: 9, side: 9, NOT_THERE: 9, tree: 9, "e" * 64: 9}
    assert mounts(bad) == newest
    assert mounts.told[-1] == f"{newest[:12]}, which cannot be what other nodes run"
    assert mounts({**bad, first: 1}) == first


def test_a_commit_gone_from_the_remote_costs_nothing(repo: Repo, mounts: Mounts, tmp_path: Path):
    """This host never had it: the newest is mounted as without others."""
    repo.commit({"m.py": "1"})
    gone = repo.commit({"m.py": "2"})
    repo.git("reset", "-q", "--hard", "HEAD^")
    repo.git("reflog", "expire", "--expire=now", "--all")
    repo.git("gc", "-q", "--prune=now")
    newest = repo.commit({"m.py": "3"})

    assert mounts({gone: 2}) == newest


def test_a_merge_has_both_sides_in_its_history(repo: Repo, mounts: Mounts):
    repo.commit({"m.py": "1"})
    repo.git("checkout", "-q", "-b", "side")
    side = repo.commit({"n.py": "2"})
    repo.git("checkout", "-q", "main")
    repo.commit({"m.py": "3"})
    repo.git("merge", "-q", "--no-ff", "-m", "both", "side")

    assert mounts({side: 1}) == side


def test_a_tag_that_was_moved_on_is_as_a_branch_and_a_pinned_commit_is_not(
    repo: Repo, mounts: Mounts
):
    old = repo.commit({"m.py": "1"})
    newest = repo.commit({"m.py": "2"})
    repo.git("tag", "v1")

    assert mounts({old: 1}, tag="v1", commit=newest) == old
    assert mounts({old: 1}, commit=newest) == newest
    assert mounts({old: 1}, commit=newest[:12]) == newest


def test_what_may_not_run_here_holds_nobody_back(repo: Repo, mounts: Mounts, tmp_path: Path):
    """The newest is signed, what others run is not."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    first = repo.commit({"m.py": "unsigned"})
    signing = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}", "commit", "-q", "-S")
    for _ in range(2):
        repo.git(*signing, "--allow-empty", "-m", "signed")
    newest, signed = repo.git("rev-parse", "HEAD"), repo.git("rev-parse", "HEAD^")
    signers = f"a@b {key.with_suffix('.pub').read_text()}"
    mounts.rules = read([{"name": "r", "url": str(repo.folder), "signers": signers}])

    assert mounts({first: 2}) == newest
    assert any("not as 2 other nodes" in text and "is not signed" in text for text in mounts.told)
    assert mounts({first: 2, signed: 1}) == signed


def test_the_mirror_of_a_remote_that_is_away_goes_as_far_as_it_knows(repo: Repo, mounts: Mounts):
    """What is warned of is what is mounted."""
    old, newest = repo.commit({"m.py": "1"}), repo.commit({"m.py": "2"})
    assert mounts({}) == newest and mounts({old: 1}) == old and not mounts.warning
    repo.folder.rename(repo.folder.with_name("gone"))

    assert mounts({old: 1, NOT_THERE: 2}) == old
    assert "the remote could not be asked" in mounts.warning
    assert f"; using {old[:12]} from the mirror" in mounts.warning
    assert mounts({NOT_THERE: 2}) == newest
    assert f"; using {newest[:12]} from the mirror" in mounts.warning
