"""Rules for repositories: which places they cover, what they refuse, and the attacks on them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcode.errors import MountFailed
from meshcode.node.secrets import Secrets
from meshcode.worker import git, policy
from meshcode.worker.policy import Policy, place_of, read

ORG = "https://git.example.org/shop"


def rules(*words: str) -> Policy:
    """`allow URL` and `deny URL`."""
    rows = [word.split(" ", 1) for word in words]
    return read({"name": f"r{n}", "access": a, "url": u} for n, (a, u) in enumerate(rows))


@pytest.mark.parametrize(
    "url",
    [
        f"{ORG}/cart", f"{ORG}/cart.git", f"{ORG}/cart/", "https://GIT.example.org/shop/cart",
        "https://git.example.org:8443/shop/cart", "ssh://git@git.example.org/shop/cart",
        "ssh://git.example.org:22/shop/cart.git", "git@git.example.org:shop/cart.git",
        "git+https://git.example.org/shop/cart#egg=cart", f"{ORG}/./cart", f"{ORG}/x/../cart",
        f"{ORG}//cart", "https://git.example.org/shop/%63art",
    ],
)  # fmt: skip
def test_every_way_to_a_repository_is_the_same_place(url: str):
    assert place_of(url) == "git.example.org/shop/cart"
    assert policy.refusal(url, rules(f"deny {ORG}/cart")) != ""
    assert policy.refusal(url, rules(f"allow {ORG}")) == ""


@pytest.mark.parametrize(
    ("url", "words", "why"),
    [
        (f"{ORG}/cart", [], ""),
        (f"{ORG}/cart", [f"allow {ORG}/cart"], ""),
        (f"{ORG}/cart", [f"allow {ORG}"], ""),
        (f"{ORG}/cart", [f"allow {ORG}/"], ""),
        (f"{ORG}/cart", [f"deny {ORG}/pay"], ""),
        (f"{ORG}/cart", [f"allow {ORG}/pay"], "is on none of the 1 rules that allow one"),
        (f"{ORG}/cart", [f"allow {ORG}", f"deny {ORG}/cart"], "is denied by the rule 'r1'"),
        (f"{ORG}/cart", [f"deny {ORG}", f"allow {ORG}/cart"], "is denied by the rule 'r0'"),
        (f"{ORG}-evil/cart", [f"allow {ORG}"], "is on none of the 1"),
        ("https://git.example.org.evil.org/shop/cart", [f"allow {ORG}"], "is on none of the 1"),
        ("https://evil.org/git.example.org/shop/cart", [f"allow {ORG}"], "is on none of the 1"),
        (f"{ORG}/../pay/cart", [f"allow {ORG}"], "is on none of the 1"),
        (f"{ORG}/%2e%2e/pay/cart", [f"allow {ORG}"], "is on none of the 1"),
        ("https://git.example.org@evil.org/shop/cart", [f"allow {ORG}"], "is on none of the 1"),
        ("file:///srv/shop", ["allow file:///srv"], ""),
        ("/srv/shop/../bank", ["allow /srv/shop"], "is on none of the 1"),
        ("/srv/shop", [f"allow {ORG}"], "is on none of the 1"),
    ],
)
def test_what_the_rules_refuse(url: str, words: list[str], why: str):
    found = policy.refusal(url, rules(*words))

    assert why in found and bool(found) == bool(why)


# What LIBRARIES and the history of git's wrappers list as attacks: refused before git is started.
ATTACKS = [
    "ext::sh -c touch% /tmp/pwned", "--upload-pack=touch /tmp/pwned", "-uevil", "--config=a.b=c",
    "https://h/p --upload-pack=x", "fd::17/foo", "git://h/p", "http://h/p", "ftp://h/p",
    "ssh://-oProxyCommand=evil/p", "ssh://-oProxyCommand=evil@h/p", "-h:p", "https:///p",
    "https://h", "https://h/", "https://h/p?x=y", "https://h/p\n--upload-pack=x", "https://h/p\0",
    "file://elsewhere/p", "file://-x/p", "", "   ", "transport::address", "sh -c evil",
    "https://h:99999/p", "ssh://h:x/p", "https://[::1/p",
]  # fmt: skip


@pytest.mark.parametrize("url", ATTACKS)
def test_an_address_that_is_an_attack_or_nonsense_is_refused(url: str):
    with pytest.raises(MountFailed) as caught:
        git.parse_remote(url)

    assert caught.value.fields["reason"] == "bad_url" and "nothing was fetched" in caught.value.text


@pytest.mark.parametrize(
    "name",
    ["-x", "--upload-pack=x", "a..b", "a b", "a~1", "a^", "a:b", "@{u}", "a.lock", "/a", "a/", "@",
     "a\\b", "a?", "a*", "a[", "a\x7f", ".a", "a//b"],
)  # fmt: skip
def test_a_ref_that_git_would_read_otherwise_is_refused(name: str):
    with pytest.raises(MountFailed):
        git.check_ref(name, "branch")


def test_a_rule_that_cannot_be_read_refuses_everything():
    """A list with a hole is no list."""
    with pytest.raises(MountFailed, match="the rule 'odd' for repositories cannot be read"):
        read([{"name": "odd", "url": "ext::sh", "access": "deny"}])


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/Evil/Repo", "https://github.com./evil/repo",
        "https://GitHub.com/EVIL/repo.GIT",
        "git@github.com.:Evil/repo", "ssh://git@github.com.:22/evil/repo",
    ],
)  # fmt: skip
def test_no_spelling_evades_what_forbids_or_asks_for_signers(url: str):
    """A server may take them for the same; one that does not is asked for too much, no less."""
    denied = rules("deny https://github.com/evil/repo")
    signed = read([{"name": "s", "url": "https://github.com/evil", "signers": "a@b ssh-ed25519 A"}])

    assert "is denied by the rule 'r0'" in policy.refusal(url, denied)
    assert policy.signers_of(url, signed) is not None


def test_an_allow_is_of_its_own_spelling_only():
    """Where capitals tell, the other repository is somebody else's."""
    allowed = rules("allow https://github.com/acme")
    assert policy.refusal("https://github.com/acme/shop", allowed) == ""
    assert policy.refusal("https://github.com/Acme/shop", allowed) != ""


@given(st.lists(st.sampled_from(["allow", "deny"]), max_size=4), st.integers(0, 3))
def test_a_deny_is_never_outdone(access: list[str], at: int):
    places = [ORG, f"{ORG}/cart", "https://git.example.org/x", f"{ORG}/cart/deep"]
    words = [f"{word} {places[n % 4]}" for n, word in enumerate(access)]
    words.insert(min(at, len(words)), f"deny {ORG}")

    assert "is denied" in policy.refusal(f"{ORG}/cart", rules(*words))


def test_the_closest_rule_says_who_signs_and_what_opens():
    found = read([
        {"name": "all", "url": ORG, "signers": "a@b ssh-ed25519 A", "credential": "env:T1"},
        {"name": "cart", "url": f"{ORG}/cart", "signers": "c@d ssh-ed25519 C"},
    ])

    closest = policy.signers_of(f"{ORG}/cart", found)
    assert closest is not None and closest.name == "cart"
    other = policy.signers_of(f"{ORG}/pay", found)
    assert other is not None and other.name == "all"
    assert policy.signers_of("https://elsewhere.org/x", found) is None


@pytest.mark.parametrize(
    ("text", "user", "password"),
    [("ann:secret", "ann", "secret"), ("token", "git", "token"), ("a:b:c\n", "a", "b:c")],
)
def test_a_credential_is_read_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, user: str, password: str
):
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(0o600)
    monkeypatch.setenv("SHOP_TOKEN", text.strip())
    remote = git.parse_remote(f"{ORG}/cart")

    for reference in (f"file:{file}", "env:SHOP_TOKEN"):
        found = read([{"name": "r", "url": ORG, "credential": reference}])
        opened = policy.with_credential(remote, found)
        assert (opened.user, opened.password) == (user, password)
        environment = git.environment(opened, network=True)
        assert environment["MESH_GIT_PASSWORD"] == password
        assert password not in opened.url


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("env:MESH_PASSWORD", "$MESH_PASSWORD is one of the node's own variables"),
        ("file:{home}/mesh/node.key", "{home}/mesh/node.key is in the node's own home"),
        ("file:{outside}", "has mode 0644, so others can use it, and it must be 0600"),
    ],
)
def test_a_rule_names_no_credential_that_a_secret_may_not_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, why: str
):
    """Else whoever may declare a rule has the node's own keys sent to a server of theirs."""
    home, outside = tmp_path / "home", tmp_path / "token"
    (home / "mesh").mkdir(parents=True)
    for file, mode in ((home / "mesh" / "node.key", 0o600), (outside, 0o644)):
        file.write_text("sesame")
        file.chmod(mode)
    monkeypatch.setenv("MESH_PASSWORD", "sesame")
    places = {"home": home, "outside": outside}
    rule = {"name": "r", "url": ORG, "credential": reference.format(**places)}
    found = read([Secrets(home).rule(rule)])

    with pytest.raises(MountFailed) as caught:
        policy.with_credential(git.parse_remote(f"{ORG}/cart"), found)

    assert why.format(**places) in caught.value.text and "sesame" not in caught.value.text


def test_a_key_for_ssh_is_handed_to_ssh_alone(tmp_path: Path):
    key = tmp_path / "a key"
    key.write_text("x")
    found = read([{"name": "r", "url": ORG, "credential": f"key:{key}"}])

    opened = policy.with_credential(git.parse_remote("git@git.example.org:shop/cart"), found)

    command = git.environment(opened, network=True)["GIT_SSH_COMMAND"]
    assert command.endswith(f"-oIdentitiesOnly=yes -i '{key}'")


@pytest.mark.parametrize("reference", ["env:NOT_SET_HERE", "file:/no/such", "key:/no/such"])
def test_a_credential_that_is_not_here_is_told_by_its_reference(reference: str):
    found = read([{"name": "ours", "url": ORG, "credential": reference}])

    with pytest.raises(MountFailed, match="of the rule 'ours'") as caught:
        policy.with_credential(git.parse_remote(f"{ORG}/cart"), found)

    assert caught.value.fields["reason"] == "no_credential" and reference in caught.value.text
