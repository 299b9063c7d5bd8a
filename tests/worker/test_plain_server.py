"""A repository behind a plain web server, which knows nothing of git (its "dumb" protocol)."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from meshcode.errors import MountFailed
from meshcode.worker.repository import Checkout, Repository
from tests.worker.conftest import Repo

ENOUGH = 20  # Requests of one process for some loose objects; git that starts itself makes more.


class _Files(SimpleHTTPRequestHandler):
    asked: list[str]

    def log_message(self, format: str, *args: object) -> None:
        self.asked.append(self.path)


class Site:
    """Folders served by https on loopback."""

    def __init__(self, folder: Path, certificate: Path, key: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        handler = type("Files", (_Files,), {"asked": self.asked})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def push(self, repo: Repo, name: str = "repo.git") -> str:
        """Serve what a repository has now; returns the address."""
        bare = self.folder / name
        if not bare.exists():
            repo.git("init", "-q", "--bare", str(bare))
        repo.git("push", "-q", "--all", str(bare))
        repo.git(f"--git-dir={bare}", "update-server-info")
        return f"https://127.0.0.1:{self.server.server_port}/{name}"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for loopback that vouches for itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "c.pem", folder / "k.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture
def site(
    tmp_path: Path, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    monkeypatch.setenv("GIT_SSL_CAINFO", str(pair[0]))
    (tmp_path / "www").mkdir()
    made = Site(tmp_path / "www", *pair)
    yield made
    made.close()


def checkout(url: str, tmp_path: Path, **wanted: str) -> Checkout:
    return Repository(url, str(tmp_path / "cache")).checkout(**wanted)


def content(found: Checkout) -> str:
    return Path(found.folder, "m.py").read_text()


def test_a_repository_on_a_plain_web_server_is_mounted_by_one_git(
    repo: Repo, site: Site, tmp_path: Path
):
    """It was fetched by a git that started itself for each object, and that one again, for ever."""
    first = repo.commit({"m.py": "1"})
    url = site.push(repo)
    assert content(checkout(url, tmp_path)) == "1"
    assert len(site.asked) < ENOUGH, site.asked

    site.asked.clear()
    repo.commit({"m.py": "2", "sub/n.py": "x"})
    site.push(repo)
    assert content(checkout(url, tmp_path)) == "2"
    assert content(checkout(url, tmp_path, commit=first)) == "1"
    assert len(site.asked) < ENOUGH, site.asked


def test_one_that_is_packed_is_mounted_too(repo: Repo, site: Site, tmp_path: Path):
    for number in range(5):
        head = repo.commit({"m.py": str(number)})
    url = site.push(repo)
    repo.git(f"--git-dir={site.folder / 'repo.git'}", "repack", "-q", "-a", "-d")
    site.push(repo)
    found = checkout(url, tmp_path)
    assert (found.commit, content(found)) == (head, "4")
    assert len(site.asked) < ENOUGH, site.asked


def test_what_a_plain_server_gives_is_checked_as_that_of_any_other(
    repo: Repo, site: Site, tmp_path: Path
):
    """git takes it as it comes; a tree that holds `.git` would be refused from a git server."""
    good = repo.commit({"m.py": "1"})
    url = site.push(repo)
    blob = repo.git("rev-parse", f"{good}:m.py")
    named = b"100644 .GIT\0" + bytes.fromhex(blob)
    made = subprocess.run(
        ["git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin"],
        cwd=repo.folder, input=named, check=True, capture_output=True,
    )  # fmt: skip
    tree = made.stdout.decode().strip()
    bad = repo.git("commit-tree", "-m", "bad", "-p", good, tree)
    repo.git("update-ref", "refs/heads/main", bad)
    site.push(repo)

    with pytest.raises(MountFailed) as caught:
        checkout(url, tmp_path)
    assert caught.value.fields["reason"] == "no_files"
    assert "is no sound repository" in caught.value.text and "hasDotgit" in caught.value.text
    repo.git("update-ref", "refs/heads/main", good)
    repo.git("push", "-q", "--force", "--all", str(site.folder / "repo.git"))
    site.push(repo)
    assert checkout(url, tmp_path).commit == good, "once it is mended it is mounted"
