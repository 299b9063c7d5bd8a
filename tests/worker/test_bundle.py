"""Bundles: one commit in one file, checked by whoever takes it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshcode import limits
from meshcode.errors import MountFailed
from meshcode.worker import bundle
from meshcode.worker.bundle import BundleFailed, digest_of
from meshcode.worker.policy import read
from meshcode.worker.repository import Checkout, Repository, clean_trees, store_of
from tests.worker.conftest import Repo


class Given(dict[str, Any]):
    """The arguments of `bundle.take` for a file that came to this host."""

    @classmethod
    def of(cls, cache: Path, found: Checkout, content: bytes) -> Given:
        path = cache / "bundles" / "incoming" / "x.part"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return cls(
            cache=str(cache), url=found.url, commit=found.commit, file=str(path),
            size=len(content), sha256=digest_of(path),
        )  # fmt: skip


@pytest.fixture
def giver(repo: Repo, tmp_path: Path) -> Checkout:
    """A commit with history behind it, mounted from a remote that leaves out old contents."""
    repo.git("config", "uploadpack.allowFilter", "true")
    repo.commit({"m.py": "1", "data": "old " * 5_000})
    repo.commit({"m.py": "2", "pkg/n.py": "n", "data": "new " * 5_000})
    return Repository(str(repo.folder), str(tmp_path / "a")).checkout()


def made(found: Checkout, tmp_path: Path) -> bytes:
    answer = bundle.make(str(tmp_path / "a"), found.url, found.commit)
    content = Path(answer["file"]).read_bytes()
    assert (answer["size"], answer["sha256"]) == (len(content), digest_of(Path(answer["file"])))
    return content


def take(cache: Path, found: Checkout, content: bytes, **other: Any) -> str:
    """Take a bundle; returns the reason of its refusal, which leaves nothing behind."""
    given = Given.of(cache, found, content) | other
    with pytest.raises(BundleFailed) as caught:
        bundle.take(**given)
    assert not list(cache.glob("commits/*/*")) and not list(cache.glob("bundles/*/*.bundle"))
    return caught.value.reason


def test_a_commit_goes_from_host_to_host_without_the_server(
    giver: Checkout, repo: Repo, tmp_path: Path
):
    """The second host gives it to a third: what came as a bundle can be given as one."""
    repo.folder.rename(repo.folder.with_name("gone"))
    content = made(giver, tmp_path)

    for name in ("b", "c"):
        given = Given.of(tmp_path / name, giver, content)
        taken = bundle.take(**given)
        assert (taken["size"], taken["sha256"]) == (given["size"], given["sha256"])
        assert not Path(given["file"]).exists()
        found = Repository(str(repo.folder), str(tmp_path / name)).checkout(held=giver.commit)
        assert Path(found.folder, "pkg/n.py").read_text() == "n"
        assert found._replace(folder="") == giver._replace(folder="")
        content = Path(bundle.make(str(tmp_path / name), giver.url, giver.commit)["file"])
        content = content.read_bytes()


def test_a_bundle_is_as_large_as_the_files_not_as_the_history(repo: Repo, tmp_path: Path):
    for number in range(4):
        repo.commit({"data": os.urandom(100_000).hex(), "n": str(number)})
    found = Repository(str(repo.folder), str(tmp_path / "a")).checkout()

    assert 100_000 < len(made(found, tmp_path)) < 150_000


def test_a_bundle_is_made_once_and_the_oldest_go(
    giver: Checkout, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "CODE_BUNDLES_KEPT", 2)
    cache, commits = str(tmp_path / "a"), [giver.commit]
    for number in range(3):
        first = bundle.make(cache, giver.url, commits[-1])
        stamp = Path(first["file"]).stat().st_ino
        assert bundle.make(cache, giver.url, commits[-1]) == first
        assert Path(first["file"]).stat().st_ino == stamp
        os.utime(first["file"], (number, number))
        commits.append(repo.commit({"m.py": f"new {number}"}))
        Repository(str(repo.folder), cache).checkout()

    left = sorted(path.name for path in tmp_path.glob("a/bundles/*/*"))
    assert left == sorted(f"{c}.{kind}" for c in commits[1:3] for kind in ("bundle", "json"))


def test_what_was_begun_and_left_is_removed_after_a_day(giver: Checkout, tmp_path: Path):
    names = ("bundles/incoming/x.part", f"bundles/{giver.name}/.aside-1/f", "commits/x/.aside-1/f")
    for old, top in ((True, "bundles"), (False, "bundles")):
        for name in names:
            path = tmp_path / "a" / (name if old else name.replace("x.", "y.").replace("-1", "-2"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(top)
            if old:
                os.utime(path, (0, 0))
                os.utime(path.parent, (0, 0))

    made(giver, tmp_path)

    left = {
        path.name for path in tmp_path.glob("a/*/*/*") if path.name.startswith((".aside", "y", "x"))
    }
    assert left == {"y.part", ".aside-2"}


def test_a_commit_whose_files_are_not_here_is_not_bundled(giver: Checkout, tmp_path: Path):
    """The mirror knows the first commit but never fetched its files; nor does it fetch them now."""
    mirror = tmp_path / "a" / "mirrors" / f"{giver.name}.git"
    first = subprocess.run(
        ["git", f"--git-dir={mirror}", "rev-parse", "main~1"], check=True, capture_output=True
    ).stdout.decode().strip()  # fmt: skip

    for commit in (first, "d" * 40):
        with pytest.raises(BundleFailed) as caught:
            bundle.make(str(tmp_path / "a"), giver.url, commit)
        assert caught.value.reason == "not_here"
    with pytest.raises(BundleFailed, match="is not on this host"):
        bundle.make(str(tmp_path / "b"), giver.url, giver.commit)
    assert not list(tmp_path.glob("a/bundles/*/*"))


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    ("change", "other", "reason"),
    [
        (lambda b: b, {"size": 7}, "bad_size"),
        (lambda b: b, {"sha256": "0" * 64}, "bad_digest"),
        (lambda b: b, {"commit": "d" * 40}, "bad_bundle"),
        (lambda b: b"", {}, "bad_bundle"),
        (lambda b: b"# v2 git bundle\n", {}, "bad_bundle"),
        (lambda b: os.urandom(4_096), {}, "bad_bundle"),
        (lambda b: b[:-1], {}, "bad_bundle"),
        (lambda b: b[: len(b) // 2], {}, "bad_bundle"),
        (lambda b: flipped(b, len(b) - 30), {}, "bad_bundle"),
        (lambda b: flipped(b, 20), {}, "bad_bundle"),
        (lambda b: b.replace(b"refs/mesh/commit", b"refs/heads/main1"), {}, "bad_bundle"),
        (lambda b: b.replace(b"\n\nPACK", b"\n" + b"d" * 40 + b" refs/x\n\nPACK"), {},
         "bad_bundle"),
        (lambda b: b.replace(b"\n", b"\n-" + b"d" * 40 + b" x\n", 1), {}, "bad_bundle"),
    ],
)  # fmt: skip
def test_what_is_not_the_announced_commit_is_refused_whole(
    giver: Checkout, tmp_path: Path, change, other: dict[str, Any], reason: str
):
    content = change(made(giver, tmp_path))

    assert take(tmp_path / "b", giver, content, **other) == reason


def test_a_bundle_of_another_commit_under_the_wanted_name_is_refused(
    giver: Checkout, repo: Repo, tmp_path: Path
):
    """The header says the wanted id; the objects, named anew from their content, do not."""
    other = repo.commit({"m.py": "evil"})
    found = Repository(str(repo.folder), str(tmp_path / "a")).checkout()
    content = made(found, tmp_path).replace(other.encode(), giver.commit.encode())

    assert take(tmp_path / "b", giver, content) == "bad_bundle"


def test_a_bundle_that_lacks_a_file_of_the_commit_is_refused(giver: Checkout, tmp_path: Path):
    """Commit and trees alone: every object in it is right, but one is missing."""
    store = tmp_path / "a" / "mirrors" / f"{giver.name}.git"
    objects = f"{giver.commit}\n{giver.commit}^{{tree}}\n"
    ids = subprocess.run(
        ["git", f"--git-dir={store}", "cat-file", "--batch-check=%(objectname)"],
        input=objects.encode(), check=True, capture_output=True,
    ).stdout  # fmt: skip
    pack = subprocess.run(
        ["git", f"--git-dir={store}", "pack-objects", "--stdout", "-q"],
        input=ids, check=True, capture_output=True,
    ).stdout  # fmt: skip
    head = f"# v2 git bundle\n{giver.commit} {bundle.REF}\n\n".encode()

    assert take(tmp_path / "b", giver, head + pack) == "bad_bundle"


def test_a_commit_that_git_would_not_take_from_a_server_is_refused(repo: Repo, tmp_path: Path):
    """A tree with an entry `.git`: the objects are whole, and an attack."""
    repo.commit({"m.py": "1"})
    blob = repo.git("rev-parse", "HEAD:m.py")
    row = b"100644 .git\0" + bytes.fromhex(blob)
    (repo.folder / "tree").write_bytes(row)
    tree = repo.git("hash-object", "-t", "tree", "-w", "--literally", "tree")
    commit = repo.git("commit-tree", "-m", "evil", tree)
    repo.git("update-ref", bundle.REF, commit)
    repo.git("bundle", "create", "-q", "evil.bundle", bundle.REF)
    url = f"file://{repo.folder}"
    found = Checkout(url, commit, "", Repository(url, "").name)

    assert take(tmp_path / "b", found, (repo.folder / "evil.bundle").read_bytes()) == "bad_bundle"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_is_no_lie_of_the_peer(giver: Checkout, tmp_path: Path):
    """The file system of the cache is too small for the commit."""
    cache = tmp_path / "b"
    cache.mkdir()
    content = made(giver, tmp_path)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=40", "tmpfs", str(cache)], check=True
    )
    try:
        answer = bundle.serve({"op": "take", **Given.of(cache, giver, content)})
    finally:
        subprocess.run(["umount", str(cache)], check=True)
    assert (answer["ok"], answer["reason"]) in ((False, "git"), (False, "os")), answer


def run_program(request: dict[str, Any], most: int) -> dict[str, Any]:
    """The program, with a smaller limit of its own files."""
    code = (
        "import sys; from meshcode import limits; from meshcode.worker import bundle;"
        f"limits.CODE_BUNDLE_BYTES_MAX = {most}; sys.exit(bundle.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(request).encode(), capture_output=True, check=False,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if answer["ok"] else 1), done.stderr
    return answer


def test_a_bundle_over_the_limit_is_not_made(repo: Repo, tmp_path: Path):
    repo.commit({"data": os.urandom(200_000).hex()})
    found = Repository(str(repo.folder), str(tmp_path / "a")).checkout()
    request = {
        "op": "make", "cache": str(tmp_path / "a"), "url": found.url, "commit": found.commit,
    }  # fmt: skip

    refused = run_program(request, 100_000)
    assert (refused["reason"], refused["text"]) == (
        "too_large",
        f"the files of commit {found.commit[:12]} need more than the 100000 bytes that nodes"
        " hand to each other",
    )
    assert not list(tmp_path.glob("a/bundles/*/*"))
    assert run_program(request, 1_000_000)["ok"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.mark.parametrize("commit", ["", "../../x", "abc1234", "D" * 40, "d" * 40 + "\n"])
def test_a_name_that_is_no_commit_reaches_no_path(tmp_path: Path, commit: str):
    answer = bundle.serve({"op": "make", "cache": str(tmp_path), "url": "file:///x",
                           "commit": commit})  # fmt: skip

    assert answer == {"ok": False, "reason": "git", "text": f"{commit!r} is no full commit id"}
    assert not list(tmp_path.iterdir())


def mount_refusal(tmp_path: Path, url: str, **wanted: str) -> str:
    with pytest.raises(MountFailed) as caught:
        Repository(url, str(tmp_path / "b")).checkout(**wanted)
    return str(caught.value.fields["reason"])


def test_a_held_commit_must_be_the_pinned_one_and_from_a_peer(
    giver: Checkout, repo: Repo, tmp_path: Path
):
    url, head = str(repo.folder), giver.commit
    bundle.take(**Given.of(tmp_path / "b", giver, made(giver, tmp_path)))

    assert mount_refusal(tmp_path, url, held=head, commit="dddddddd") == "no_commit"
    assert mount_refusal(tmp_path, url, held="d" * 40) == "no_commit"
    assert mount_refusal(tmp_path, url, held="../x") == "bad_ref"
    found = Repository(url, str(tmp_path / "b")).checkout(held=head, commit=head[:9].upper())
    assert found.commit == head


def test_a_commit_from_a_peer_that_nobody_mounts_is_removed(giver: Checkout, tmp_path: Path):
    cache = str(tmp_path / "b")
    bundle.take(**Given.of(tmp_path / "b", giver, made(giver, tmp_path)))
    found = Repository(giver.url, cache).checkout(held=giver.commit)
    os.utime(found.folder + ".whole", (0, 0))

    assert clean_trees(cache, 60) == [found.folder]
    assert not os.path.exists(store_of(cache, giver.name, giver.commit))


@pytest.mark.parametrize("held", [False, True])
def test_the_list_of_repositories_holds_for_server_and_peers(
    giver: Checkout, tmp_path: Path, held: bool
):
    bundle.take(**Given.of(tmp_path / "b", giver, made(giver, tmp_path)))
    wanted = {"held": giver.commit} if held else {}
    folder = giver.url.rpartition("/")[0]

    for listed, good in ((["file://" + folder[7:-1]], False), (["https://x/y"], False),
                         ([folder], True), ([giver.url], True), ([], True)):  # fmt: skip
        rules = read({"name": url, "url": url, "access": "allow"} for url in listed)
        mounting = Repository(giver.url, str(tmp_path / "b"), rules=rules)
        if good:
            assert mounting.checkout(**wanted).commit == giver.commit
            continue
        with pytest.raises(MountFailed, match="none of the 1 rules that allow") as caught:
            mounting.checkout(**wanted)
        assert caught.value.fields["reason"] == "not_allowed"


@pytest.mark.parametrize("held", [False, True])
def test_only_allowed_signers_for_server_and_peers(repo: Repo, tmp_path: Path, held: bool):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    repo.commit({"m.py": "unsigned"})
    repo.git("branch", "plain")
    repo.git("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}", "commit", "-q", "-S",
             "--allow-empty", "-m", "signed")  # fmt: skip
    signers, nobody = tmp_path / "signers", tmp_path / "nobody"
    signers.write_text(f"a@b {key.with_suffix('.pub').read_text()}")
    nobody.write_text("a@b ssh-ed25519 AAAA")

    for branch, file, good in (("plain", signers, False), ("main", nobody, False),
                               ("main", signers, True)):  # fmt: skip
        found = Repository(str(repo.folder), str(tmp_path / "a")).checkout(branch=branch)
        wanted = {"branch": branch}
        if held:
            bundle.take(**Given.of(tmp_path / "b", found, made(found, tmp_path)))
            wanted = {"held": found.commit}
        rules = read([{"name": "r", "url": str(repo.folder), "signers": file.read_text()}])
        mounting = Repository(str(repo.folder), str(tmp_path / "b"), rules=rules)
        if good:
            assert mounting.checkout(**wanted).commit == found.commit
            continue
        with pytest.raises(MountFailed, match="is not signed by any of the 1 signers") as caught:
            mounting.checkout(**wanted)
        assert caught.value.fields["reason"] == "not_signed"
