"""Repositories: which commit is mounted, and what is said when it cannot be."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from meshcode.errors import MountFailed
from meshcode.worker import git
from meshcode.worker.repository import Checkout, Repository, clean_trees
from tests.worker.conftest import Repo


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def checkout(repo: Repo, cache: str, **wanted: object) -> Checkout:
    return Repository(str(repo.folder), cache).checkout(**wanted)  # type: ignore[arg-type]


def content(found: Checkout) -> str:
    return Path(found.folder, "m.py").read_text()


def failure(call, *args, **kwargs) -> tuple[str, str]:
    with pytest.raises(MountFailed) as caught:
        call(*args, **kwargs)
    assert caught.value.fields["step"] == "fetch"
    return caught.value.fields["reason"], caught.value.text


def test_the_branch_main_is_the_default(repo: Repo, cache: str):
    repo.commit({"m.py": "old"})
    head = repo.commit({"m.py": "new"})
    found = checkout(repo, cache)
    assert (found.commit, content(found)) == (head, "new")
    assert found.url == f"file://{repo.folder}"


def test_without_main_it_is_the_branch_of_the_remote(repo: Repo, cache: str):
    repo.git("checkout", "-q", "-b", "trunk")
    head = repo.commit({"m.py": "x"})
    assert checkout(repo, cache).commit == head
    assert failure(checkout, repo, cache, branch="main")[0] == "no_branch"


def test_tag_over_commit_over_branch(repo: Repo, cache: str):
    first = repo.commit({"m.py": "1"})
    repo.git("tag", "-a", "v1", "-m", "annotated")
    second = repo.commit({"m.py": "2"})
    third = repo.commit({"m.py": "3"})
    assert checkout(repo, cache, tag="v1", commit=second, branch="main").commit == first
    assert checkout(repo, cache, commit=second, branch="main").commit == second
    assert checkout(repo, cache, branch="main").commit == third


def test_a_short_commit_is_resolved(repo: Repo, cache: str):
    head = repo.commit({"m.py": "1"})
    assert checkout(repo, cache, commit=head[:7].upper()).commit == head


def test_a_branch_that_moves_is_followed_and_old_trees_stay(repo: Repo, cache: str):
    repo.commit({"m.py": "1"})
    old = checkout(repo, cache)
    repo.commit({"m.py": "2"})
    new = checkout(repo, cache)
    assert (content(old), content(new)) == ("1", "2")


def test_a_branch_that_was_rewritten(repo: Repo, cache: str):
    repo.commit({"m.py": "1"})
    checkout(repo, cache)
    repo.git("commit", "-q", "--amend", "-m", "other")
    assert checkout(repo, cache).commit == repo.git("rev-parse", "HEAD")


def test_a_commit_on_no_branch_is_asked_for_by_its_id(repo: Repo, cache: str):
    repo.commit({"m.py": "1"})
    repo.git("checkout", "-q", "--detach")
    loose = repo.commit({"m.py": "loose"})
    repo.git("checkout", "-q", "main")
    assert content(checkout(repo, cache, commit=loose)) == "loose"


def test_a_mirror_has_no_file_contents_but_those_mounted(repo: Repo, cache: str):
    repo.git("config", "uploadpack.allowFilter", "true")
    repo.commit({"m.py": "1", "data": "old " * 20_000})
    repo.commit({"m.py": "2", "data": "new " * 20_000})
    found = checkout(repo, cache)
    mirror = Repository(str(repo.folder), cache).mirror
    listed = subprocess.run(
        ["git", "-C", mirror, "rev-list", "--objects", "--all", "--missing=print"],
        check=True,
        capture_output=True,
    )
    missing = [line for line in listed.stdout.decode().splitlines() if line.startswith("?")]
    assert len(missing) == 2, "m.py and data of the first commit"
    assert Path(found.folder, "data").stat().st_size == 80_000


def test_a_pinned_commit_needs_no_remote(repo: Repo, cache: str):
    head = repo.commit({"m.py": "1"})
    checkout(repo, cache)
    repo.folder.rename(repo.folder.with_name("gone"))
    assert content(checkout(repo, cache, commit=head)) == "1"
    assert content(checkout(repo, cache, offline=True)) == "1"


def test_an_unreachable_remote_is_told_and_the_mirror_used(repo: Repo, cache: str):
    head = repo.commit({"m.py": "1"})
    checkout(repo, cache)
    repo.folder.rename(repo.folder.with_name("gone"))
    told: list[str] = []
    mounted = Repository(str(repo.folder), cache, tell=lambda _step, text: told.append(text))
    assert mounted.checkout().commit == head
    assert "the remote could not be asked" in told[-1] and head[:12] in told[-1]
    reason, text = failure(checkout, repo, cache, branch="new")
    assert reason == "unreachable" and "does not appear to be a git repository" in text


def test_nothing_is_had_offline_before_the_first_mount(repo: Repo, cache: str):
    repo.commit({"m.py": "1"})
    assert failure(checkout, repo, cache, offline=True)[0] == "unreachable"


def test_what_is_missing_is_named(repo: Repo, cache: str, tmp_path: Path):
    repo.commit({"m.py": "1"})
    repo.git("branch", "dev")
    url = f"file://{repo.folder}"
    assert failure(checkout, repo, cache, branch="nope") == (
        "no_branch",
        f"the repository {url} has no branch 'nope'; it has dev, main; nothing was mounted",
    )
    assert failure(checkout, repo, cache, tag="v9") == (
        "no_tag",
        f"the repository {url} has no tag 'v9'; it has no tag at all; nothing was mounted",
    )
    reason, text = failure(checkout, repo, cache, commit="d" * 40)
    assert reason == "no_commit" and f"has no commit {'d' * 40}" in text
    assert failure(checkout, repo, cache, commit="deadbeef")[0] == "no_commit"
    reason, text = failure(Repository(str(tmp_path / "none"), cache).checkout)
    assert reason == "no_repository"
    assert f"there is no repository at file://{tmp_path}/none" in text
    assert failure(Repository(str(tmp_path), cache).checkout)[0] == "no_repository"


def test_an_empty_repository(repo: Repo, cache: str):
    reason, text = failure(checkout, repo, cache)
    assert reason == "no_branch" and "it has no branch at all" in text


def test_a_checkout_cut_short_is_done_again(repo: Repo, cache: str):
    """A crash between the worktree and its mark: the folder may hold anything."""
    repo.commit({"m.py": "1"})
    found = checkout(repo, cache)
    os.unlink(found.folder + ".whole")
    Path(found.folder, "m.py").write_text("half")
    assert content(checkout(repo, cache)) == "1"


def test_unused_worktrees_are_removed(repo: Repo, cache: str):
    repo.commit({"m.py": "1"})
    old = checkout(repo, cache)
    repo.commit({"m.py": "2"})
    new = checkout(repo, cache)
    for found in (old, new):
        os.utime(found.folder + ".whole", (0, 0))

    assert clean_trees(cache, 60, keep=[new.folder]) == [old.folder]
    assert not os.path.exists(old.folder)
    assert content(checkout(repo, cache, commit=old.commit)) == "1", "made again when wanted"
    assert clean_trees(cache, 60) == [new.folder], "a mount made the other one new"


def test_a_mirror_cut_short_is_made_again(repo: Repo, cache: str):
    repo.commit({"m.py": "1"})
    mirror = Repository(str(repo.folder), cache).mirror
    os.makedirs(mirror)
    Path(mirror, "HEAD").write_text("half")
    assert content(checkout(repo, cache)) == "1"


def test_hooks_and_configuration_of_others_are_not_run(repo: Repo, cache: str, tmp_path: Path):
    """A hook in the mirror, a template and a global configuration that would run a program."""
    repo.commit({"m.py": "1", ".gitattributes": "*.py filter=evil\n"})
    evil = tmp_path / "evil"
    config = tmp_path / "home"
    config.mkdir()
    (config / ".gitconfig").write_text(
        f'[filter "evil"]\n\tsmudge = touch {evil}\n[core]\n\tsshCommand = touch {evil}\n'
        f"[alias]\n\tfetch = !touch {evil}\n"
    )
    before = os.environ["HOME"]
    os.environ["HOME"] = str(config)
    try:
        mounted = Repository(str(repo.folder), cache)
        mounted.checkout()
        hook = Path(mounted.mirror, "hooks", "post-checkout")
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {evil}\n")
        hook.chmod(0o755)
        repo.commit({"m.py": "2"})
        assert content(mounted.checkout()) == "2"
    finally:
        os.environ["HOME"] = before
    assert not evil.exists()


def test_a_password_is_given_to_its_own_server_and_to_no_other():
    """A server may lead git to another one, which asks for a password, too."""
    remote = git.parse_remote("https://ann:sesame@git.example.org:8443/shop/cart")

    def ask(host: str, protocol: str = "https") -> str:
        wanted = f"protocol={protocol}\nhost={host}\n\n"
        return git.run("credential", "fill", remote=remote, stdin=wanted)

    assert "username=ann\npassword=sesame" in ask("git.example.org:8443")
    for other in ("evil.example", "git.example.org", "git.example.org:8444", "x.git.example.org"):
        with pytest.raises(git.GitFailed):
            ask(other)
    with pytest.raises(git.GitFailed):
        ask("git.example.org:8443", "http")


def test_a_ca_of_ones_own_reaches_git(monkeypatch: pytest.MonkeyPatch):
    """Git with GnuTLS reads no SSL_CERT_FILE."""
    monkeypatch.setenv("GIT_SSL_CAINFO", "/etc/ssl/ours.pem")
    monkeypatch.setenv("GIT_SSL_CAPATH", "/etc/ssl/ours")
    found = git.environment(git.parse_remote("https://h/p"), network=True)
    assert (found["GIT_SSL_CAINFO"], found["GIT_SSL_CAPATH"]) == (
        "/etc/ssl/ours.pem", "/etc/ssl/ours",
    )  # fmt: skip


def test_host_and_path_of_ssh_is_a_path_below_the_login_as_for_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str, repo: Repo
):
    """A server whose repositories lie in the home of its login, with an ssh that runs git there."""
    home, programs = tmp_path / "login", tmp_path / "bin"
    home.mkdir()
    programs.mkdir()
    repo.commit({"m.py": "1"})
    repo.folder.rename(home / "app.git")
    stub = programs / "ssh"
    stub.write_text(
        f'#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\ncd {home} && exec sh -c "$1"\n'
    )
    stub.chmod(0o700)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    assert content(Repository("git@server:app.git", cache).checkout()) == "1"
    with pytest.raises(MountFailed):
        Repository("ssh://git@server/app.git", cache).checkout()
    absolute = f"ssh://git@server{home}/app.git"
    assert content(Repository(absolute, cache).checkout()) == "1"


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://Example.COM/a/b.git", "https://example.com/a/b.git"),
        ("https://example.com/a/b/#egg=b", "https://example.com/a/b"),
        ("https://user:key@example.com/a/b", "https://example.com/a/b"),
        ("git+https://example.com/a", "https://example.com/a"),
        ("https://example.com:8443/a", "https://example.com:8443/a"),
        ("git@example.com:a/b.git", "ssh://git@example.com/a/b.git"),
        ("ssh://git@example.com/a", "ssh://git@example.com/a"),
        ("ssh://git@example.com./a", "ssh://git@example.com/a"),
        ("file:///nowhere/a", "file:///nowhere/a"),
        ("/nowhere/with space".replace(" ", "%20"), "file:///nowhere/with%2520space"),
        ("file://localhost/nowhere/a", "file:///nowhere/a"),
    ],
)
def test_addresses_are_normalised(url: str, normal: str):
    assert git.parse_remote(url).url == normal


@pytest.mark.parametrize(
    "url",
    [
        "",
        "-u/tmp/x",
        "git@host:-x",
        "--upload-pack=touch /tmp/x",
        "ext::sh -c touch% /tmp/x",
        "ext::sh",
        "http://example.com/a",
        "git://example.com/a",
        "ftp://example.com/a",
        "relative/path",
        "https://",
        "https:///a",
        "https://-evil/a",
        "ssh://-oProxyCommand=x/a",
        "ssh://-oProxyCommand=x@host/a",
        "https://example.com",
        "https://example.com/a b",
        "https://example.com/a\nb",
        "https://example.com:port/a",
        "file://other.host/a",
        "https://example.com/a?x=1",
    ],
)
def test_addresses_that_are_refused(url: str):
    with pytest.raises(MountFailed) as caught:
        git.parse_remote(url)
    assert caught.value.fields["reason"] == "bad_url"


def test_files_can_be_forbidden():
    with pytest.raises(MountFailed, match="repositories on this host are not allowed here"):
        git.parse_remote("/tmp/x", allow_file=False)


def test_passwords_are_kept_out_of_everything():
    remote = git.parse_remote("https://user:s3cret@example.com/a")
    assert (remote.user, remote.password) == ("user", "s3cret")
    assert "s3cret" not in remote.url
    assert git.environment(remote)["MESH_GIT_PASSWORD"] == "s3cret"
    assert git.hide_secrets("at https://user:s3cret@example.com/a") == "at https://example.com/a"


@pytest.mark.parametrize(
    "name",
    ["", "-x", "--upload-pack=x", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "@",
     "a@{1}", "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a.", "x" * 201, "a\x00b"],
)  # fmt: skip
def test_names_that_are_no_refs(name: str):
    with pytest.raises(MountFailed) as caught:
        git.check_ref(name, "branch")
    assert caught.value.fields["reason"] == "bad_ref"


@pytest.mark.parametrize("name", ["main", "feature/a-b_c", "v1.2.3", "a@b", "héé", "a+b"])
def test_names_that_are_refs(name: str):
    assert git.check_ref(name, "branch") == name


@pytest.mark.parametrize("text", ["abc", "abcdef", "g" * 40, "a" * 65, "-abcdef0", "abcdef0 "])
def test_texts_that_are_no_commits(text: str):
    with pytest.raises(MountFailed, match="7 to 64 hexadecimal digits"):
        git.check_commit(text)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository to somebody else")
def test_a_repository_of_somebody_else_is_read_when_git_was_told_so(
    repo: Repo, cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    head = repo.commit({"m.py": "x"})
    for path in (repo.folder, *repo.folder.rglob("*")):
        os.chown(path, 65534, -1)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)

    reason, text = failure(checkout, repo, cache)

    assert reason == "unreachable"
    assert f"{repo.folder} belongs to nobody and is read as root" in text
    assert f"git config --global --add safe.directory {repo.folder}" in text
    assert "cannot be reached" not in text
    (tmp_path / ".gitconfig").write_text(
        f'[safe]\n\tdirectory = "/else/where"\n\tdirectory = {repo.folder}\n'
        f'\tdirectory = {repo.folder}/.git\n[url "file:///nowhere/"]\n\tinsteadOf = file:///\n'
    )
    assert checkout(repo, cache).commit == head, "and nothing else of the configuration counts"
