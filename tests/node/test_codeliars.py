"""Peers that lie about code: nothing changes, they are not asked again, and others are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from meshcode import limits
from tests.node.code_world import CHUNK, World, content, fill, gone, settled
from tests.worker.conftest import Repo

Tamper = Callable[[str, dict[str, Any]], dict[str, Any]]


def change(word: str, /, **fields: Any) -> Tamper:
    """A tamperer: every message `word` of the node `liar` has these fields instead."""

    def tamper(source: str, message: dict[str, Any]) -> dict[str, Any]:
        if source == "liar" and message["op"] == word:
            made = {key: f(message[key]) if callable(f) else f for key, f in fields.items()}
            return message | made
        return message

    return tamper


def regret(source: str, message: dict[str, Any]) -> dict[str, Any]:
    """Instead of a bundle it is sorry."""
    if source == "liar" and message["op"] == "bundle":
        return {"op": "sorry", "ask": message["ask"], "commit": message["commit"], "why": "no"}
    return message


def false_digest() -> Tamper:
    """The liar offers another digest, and reads out its bundle under that name."""
    real = {}

    def tamper(source: str, message: dict[str, Any]) -> dict[str, Any]:
        if source == "liar" and message["op"] == "bundle":
            real["sha256"] = message["sha256"]
            return message | {"sha256": "0" * 64}
        return message | real if message.get("sha256") == "0" * 64 else message

    return tamper


BIG = limits.CODE_BUNDLE_BYTES_MAX + 1
LIES = {
    "another digest": false_digest(),
    "over the limit": change("bundle", size=BIG),
    "nothing": change("bundle", size=0),
    "larger than it is": change("bundle", size=lambda size: size + 10 * CHUNK),
    "one byte more": change("bundle", size=lambda size: size + 1),
    "one byte less": change("bundle", size=lambda size: size - 1),
    "a long chunk": change("chunk", data=lambda data: (data + b"x")[:CHUNK]),
    "a short chunk": change("chunk", data=lambda data: data[:-1]),
    "other bytes": change("chunk", data=lambda data: bytes(len(data))),
    "one bit": change("chunk", data=lambda data: bytes([data[0] ^ 1]) + data[1:]),
}
# What leads to its being left only: it is no proof of a lie.
SLOW = {
    "a word nobody knows": change("bundle", op="buy"),
    "a digest with a path": change("bundle", sha256="../" * 21 + "x"),
    "another commit": change("bundle", commit="d" * 40),
    "chunks from elsewhere": change("chunk", offset=lambda offset: offset + CHUNK),
    "chunks of the start only": change("chunk", offset=0),
    "an answer to others": change("bundle", ask=77),
    "chunks that are too large": change("chunk", data=bytes(CHUNK + 1)),
    "regrets": regret,
}


@pytest.mark.parametrize("what", [*LIES, *SLOW])
def test_a_peer_that_lies_changes_nothing_and_the_honest_one_is_taken(
    world: World, repo: Repo, what: str
):
    """A liar is never asked for that commit again; in both cases nothing of it is left."""
    head = fill(repo)
    liar, b, c = world.node("liar"), world.node("b"), world.node("c")
    for member in (liar, c):
        member.mount(str(repo.folder))
    url = gone(repo)
    world.tamper = {**LIES, **SLOW}[what]

    b.want(url)
    world.run(lambda: settled(b))

    assert world.words("b", "liar", "want")
    assert b.ready == [("p", head)]
    assert content(b, url, head) == "1"
    assert list(b.share.liars) == ([(liar.id, head)] if what in LIES else [])
    assert {path.name for path in b.cache.iterdir()} == {"bundles", "commits", "locks", "trees"}


@pytest.mark.parametrize("what", LIES)
def test_a_liar_alone_is_not_asked_twice(world: World, repo: Repo, what: str):
    fill(repo)
    liar, b = world.node("liar"), world.node("b")
    liar.mount(str(repo.folder))
    url = gone(repo)
    world.tamper = LIES[what]

    b.want(url)
    world.run(lambda: settled(b))
    first = b.last
    asked = len(world.words("b", "liar", "want"))
    b.want(url)
    world.run(lambda: settled(b))

    assert b.ready == []
    assert "none of 1 other nodes has branch mounted; node liar: " in first
    assert len(world.words("b", "liar", "want")) == asked
    assert not list(b.cache.glob("bundles/*/*.part"))
    assert not list(b.cache.glob("commits/*/*"))


def test_bad_bytes_from_a_dead_peer_do_not_make_the_next_one_a_liar(world: World, repo: Repo):
    """Two peers, one announced digest: when the whole is wrong, all of it comes from one."""
    head = fill(repo)
    liar, b, c = world.node("liar"), world.node("b"), world.node("c")
    liar.mount(str(repo.folder))
    url = gone(repo)
    c.want(url)
    world.run(lambda: settled(c))
    c.mount(url, held=head)

    def lie_and_die(source: str, message: dict[str, Any]) -> dict[str, Any] | None:
        if source == "liar" and message["op"] == "chunk":
            if message["offset"] >= 3 * CHUNK:
                world.kill(liar)
                return None
            return message | {"data": bytes(len(message["data"]))}
        return message

    world.tamper = lie_and_die
    b.want(url)
    world.run(lambda: settled(b))

    assert b.ready == [("p", head)]
    assert not b.share.liars
    assert [m["offset"] for m in world.words("b", "c", "read")].count(0) == 1


def test_a_flood_of_chunks_that_nobody_asked_for_is_dropped(world: World, repo: Repo):
    head = fill(repo)
    a, b, c = world.node("a"), world.node("b"), world.node("c")
    a.mount(str(repo.folder))
    url = gone(repo)
    b.want(url)
    world.run(lambda: len(world.words("a", "b", "chunk")) >= 5)
    pull = next(iter(b.share.searches.values())).pull
    have = pull.have

    chunk = {"op": "chunk", "ask": 1, "commit": head, "data": bytes(CHUNK)}
    for number in range(100):
        offset = number * CHUNK
        said = b.hear_say(c, **chunk, offset=offset)
        assert said == "chunk from a node that was not asked for it"
        if offset != have:
            assert b.hear_say(a, **chunk, offset=offset) == ""
    assert b.hear_say(a, **chunk | {"ask": 9}, offset=0) == "chunk to a question that is over"
    assert b.hear_say(c, op="have", ask=1, commits=[]) == "have that was not asked for, or too late"
    assert pull.have == have
    world.run(lambda: settled(b))
    assert b.ready == [("p", head)]


def test_another_commit_than_the_pinned_one_is_not_even_asked_for(world: World, repo: Repo):
    old, new = fill(repo, "old"), fill(repo, "new")
    liar, b = world.node("liar"), world.node("b")
    liar.mount(str(repo.folder))
    url = gone(repo)
    world.tamper = change("have", commits=[new])

    b.want(url, commit=old)
    world.run(lambda: settled(b))

    assert b.last.startswith(
        f"its code could not be mounted; none of 1 other nodes has commit {old} mounted"
    )
    assert not world.words("b", "liar", "want") and not b.ready
