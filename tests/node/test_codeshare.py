"""Commits from peers: found, fetched, checked; and peers that die on the way."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import Any

import pytest

from meshcode import limits
from meshcode.node.codeserve import Held
from meshcode.worker.bundle import kept
from tests.node.code_world import CHUNK, World, content, fill, gone, settled
from tests.worker.conftest import Repo


def test_a_commit_comes_from_a_peer_and_goes_on_to_the_next(world: World, repo: Repo):
    """The first node dies before the third asks: the second gives what it was given."""
    head = fill(repo)
    a, b = world.node("a"), world.node("b")
    a.mount(str(repo.folder))
    url = gone(repo)

    assert b.want(url)
    world.run(lambda: settled(b))
    assert b.ready == [("p", head)]
    assert content(b, url, head) == "1"
    size = kept(str(b.cache), url, head)["size"]
    said = b.told["p"]
    begin = "its git server cannot be reached; "
    assert said[0] == f"{begin}asking 1 nodes for branch"
    assert said[1] == f"{begin}waiting for commit {head[:12]} from node a"
    assert len(world.words("b", "a", "read")) == -(-size // CHUNK)

    world.kill(a)
    c = world.node("c")
    assert c.want(url)
    world.run(lambda: settled(c))
    assert content(c, url, head) == "1"


def test_progress_is_told_while_it_lasts(world: World, repo: Repo):
    head = repo.commit({"data": os.urandom(600_000).hex()})
    a, b = world.node("a"), world.node("b")
    a.mount(str(repo.folder))
    url = gone(repo)
    late: list[int] = []

    def lose_one(_source: str, message: dict[str, Any]) -> dict[str, Any] | None:
        late.append(message.get("offset", 0))
        return None if late.count(20 * CHUNK) == 2 and late[-1] == 20 * CHUNK else message

    world.tamper = lose_one
    b.want(url)
    world.run(lambda: settled(b))

    assert b.ready == [("p", head)]
    size = round(kept(str(b.cache), url, head)["size"] / (1 << 20), 1)
    assert b.last == (
        f"its git server cannot be reached; fetching commit {head[:12]} from node a, 0.3/{size} MiB"
    )


@pytest.mark.parametrize(
    ("wanted", "good"),
    [
        ({"branch": "main"}, True),
        ({"branch": "other"}, False),
        ({}, False),
        ({"tag": "v1"}, False),
        ({"commit": "HEAD"}, True),
        ({"commit": "SHORT"}, True),
        ({"commit": "d" * 40}, False),
        ({"commit": "HEAD", "branch": "other"}, True),
        ({"commit": "HEAD", "tag": "v1"}, False),
    ],
)
def test_what_is_looked_for_decides(world: World, repo: Repo, wanted: dict[str, str], good: bool):
    head = fill(repo)
    a, b = world.node("a"), world.node("b")
    a.mount(str(repo.folder), branch="main")
    url = gone(repo)
    ids = {"HEAD": head, "SHORT": head[:8].upper()}
    wanted = {key: ids.get(value, value) for key, value in wanted.items()}

    b.want(url, **wanted)
    world.run(lambda: settled(b))

    assert (b.ready == [("p", head)]) is good
    if not good:
        assert b.last.startswith("its code could not be mounted; none of 1 other nodes has ")
        assert b.last.endswith(" mounted")


def test_nobody_to_ask(world: World):
    b = world.node("b")
    b.want("https://example.com/a")

    world.run(lambda: settled(b))

    assert b.told["p"][-1] == "its code could not be mounted; no other node can be asked"
    assert world.now_ms == 1_000 + limits.CODE_ASK_MS


def test_a_peer_that_comes_while_others_are_asked_is_asked_too(world: World, repo: Repo):
    head = fill(repo)
    b = world.node("b")
    b.want(str(repo.folder))
    a = world.node("a")
    a.mount(str(repo.folder))

    world.run(lambda: settled(b))

    assert b.ready == [("p", head)]


def test_the_commit_that_most_peers_have_is_the_branch(world: World, repo: Repo):
    """One peer is behind; one names commits nobody else knows."""
    b, members = world.node("b"), [world.node(f"a{number}") for number in range(4)]
    old = fill(repo, "old")
    members[0].mount(str(repo.folder))
    head = fill(repo, "new")
    members[1].mount(str(repo.folder))
    members[2].mount(str(repo.folder))
    url = gone(repo)
    strange = ["f" * 40, "e" * 40]
    members[3].held = [Held(url, "branch", commit) for commit in strange]

    b.want(url)
    world.run(lambda: settled(b))
    b.want(url, "q", commit=old)
    world.run(lambda: settled(b))

    assert b.ready == [("p", head), ("q", old)]


def test_a_peer_that_dies_in_the_middle_is_followed_by_the_next(world: World, repo: Repo):
    """The second one has the same bundle: it goes on where the first ended."""
    head = fill(repo)
    a, b, c = world.node("a"), world.node("b"), world.node("c")
    a.mount(str(repo.folder))
    url = gone(repo)
    c.want(url)
    world.run(lambda: settled(c))
    c.mount(url, held=head)

    def die(source: str, message: dict[str, Any]) -> dict[str, Any] | None:
        if source == "a" and message["op"] == "chunk" and message["offset"] >= 4 * CHUNK:
            world.kill(a)
            return None
        return message

    world.tamper = die
    b.want(url)
    world.run(lambda: settled(b))

    assert b.ready == [("p", head)]
    first = world.words("b", "c", "read")[0]["offset"]
    assert 0 < first <= 4 * CHUNK and first % CHUNK == 0
    assert content(b, url, head) == "1"


def test_a_silent_peer_is_left_for_the_next(world: World, repo: Repo):
    """It is alive and answers who has it, then nothing; it did not lie."""
    head = fill(repo)
    a, b, c = world.node("a"), world.node("b"), world.node("c")
    for member in (a, c):
        member.mount(str(repo.folder))
    url = gone(repo)
    world.tamper = lambda source, m: None if source == "a" and m["op"] != "have" else m

    b.want(url)
    world.run(lambda: settled(b))

    assert b.ready == [("p", head)]
    assert len(world.words("b", "a", "want")) == 4, "asked again before it is left"
    assert limits.CODE_SILENCE_MS <= world.now_ms - 1_000 < limits.CODE_SILENCE_MS + 3_000
    assert not b.share.liars


def test_a_bundle_goes_on_after_a_restart(world: World, repo: Repo):
    head = fill(repo)
    a, b = world.node("a"), world.node("b")
    a.mount(str(repo.folder))
    url = gone(repo)
    b.want(url)
    world.run(lambda: len(world.words("a", "b", "chunk")) == 6)
    world.kill(b)
    b.share.close()
    world.sent.clear()

    again = world.node("b")
    again.want(url)
    world.run(lambda: settled(again))

    assert again.ready == [("p", head)]
    assert world.words("b", "a", "read")[0]["offset"] >= 3 * CHUNK


def test_a_part_that_lost_its_bytes_is_no_fault_of_the_peer(world: World, repo: Repo):
    """Someone empties the folder meanwhile: the search ends, and the next begins anew."""
    head = fill(repo)
    a, b = world.node("a"), world.node("b")
    a.mount(str(repo.folder))
    url = gone(repo)
    b.want(url)
    world.run(lambda: len(world.words("a", "b", "chunk")) == 6)
    for path in b.cache.glob("bundles/incoming/*"):
        path.unlink()

    world.run(lambda: settled(b))
    assert "this host cannot keep the bundle: its file ends elsewhere than at" in b.last
    assert not b.share.liars
    for path in b.cache.glob("bundles/incoming/*"):
        assert path.stat().st_size == 0
    b.want(url)
    world.run(lambda: settled(b))
    assert b.ready == [("p", head)]


def test_parts_that_a_peer_begins_and_leaves_do_not_fill_the_disk(world: World, repo: Repo):
    """Each time another digest and some bytes, then silence."""
    fill(repo)
    liar, b = world.node("liar"), world.node("b")
    liar.mount(str(repo.folder))
    url = gone(repo)
    real: dict[str, str] = {}
    name = [0]

    def tamper(source: str, message: dict[str, Any]) -> dict[str, Any] | None:
        if message["op"] == "bundle":
            real["sha256"] = message["sha256"]
            return message | {"sha256": f"{name[0]:064}"}
        if message["op"] == "read":
            return message | real
        return None if message["op"] == "chunk" and message["offset"] >= 2 * CHUNK else message

    world.tamper = tamper
    for name[0] in range(limits.CODE_PARTS_KEPT + 3):
        b.want(url)
        world.run(lambda: settled(b))

    parts = [path.stat().st_size for path in b.cache.glob("bundles/incoming/*")]
    assert parts == [2 * CHUNK] * (limits.CODE_PARTS_KEPT + 1)


@pytest.mark.parametrize("seed", range(5))
def test_lost_messages_only_cost_time(world: World, repo: Repo, seed: int):
    """One message in six, of any kind, in both directions."""
    head, rng = fill(repo), Random(seed)
    a, b = world.node("a"), world.node("b")
    a.mount(str(repo.folder))
    url = gone(repo)

    world.tamper = lambda _source, m: m if rng.randrange(6) else None
    b.want(url)
    world.run(lambda: settled(b))

    assert b.ready == [("p", head)], b.told


def test_a_full_link_costs_no_repetition(world: World, repo: Repo):
    """The giver's link takes one chunk and is full until time passes: no chunk is sent twice."""
    head = fill(repo)
    a, b = world.node("a"), world.node("b")
    a.mount(str(repo.folder))
    url = gone(repo)
    taken: set[int] = set()

    def full(source: str, message: dict[str, Any]) -> bool:
        if source != "a" or message["op"] != "chunk":
            return False
        was = world.now_ms in taken
        taken.add(world.now_ms)
        return was

    world.refuses = full
    b.want(url)
    world.run(lambda: settled(b))

    assert b.ready == [("p", head)]
    offsets = [message["offset"] for message in world.words("a", "b", "chunk")]
    assert offsets == sorted(set(offsets)) and len(offsets) == len(taken)


def test_what_is_owed_goes_out_in_order(world: World, repo: Repo):
    """The link refuses one chunk and would take the next: that one waits for the first."""
    head = fill(repo)
    a, b = world.node("a"), world.node("b")
    a.mount(str(repo.folder))
    url = gone(repo)
    tries = [0]

    def full(_source: str, message: dict[str, Any]) -> bool:
        tries[0] += message["op"] == "chunk"
        return message["op"] == "chunk" and tries[0] in (1, 2, 7)

    world.refuses = full
    b.want(url)
    world.run(lambda: settled(b))

    assert b.ready == [("p", head)]
    offsets = [message["offset"] for message in world.words("a", "b", "chunk")]
    assert offsets == sorted(set(offsets)) and offsets[0] == 0


def test_two_processors_of_one_repository_share_one_bundle(world: World, repo: Repo):
    """By branch, by branch again and by commit: one transfer, three mounts."""
    head = fill(repo)
    a, b = world.node("a"), world.node("b")
    a.mount(str(repo.folder))
    url = gone(repo)

    for name, wanted in (("p", {}), ("q", {}), ("r", {"commit": head})):
        assert b.want(url, name, **wanted)
        assert b.share.busy(name)
    assert len(b.share.searches) == 2
    world.run(lambda: settled(b))

    assert sorted(b.ready) == [("p", head), ("q", head), ("r", head)]
    assert len(world.words("a", "b", "bundle")) == 1
    b.want(url, "s", commit=head)
    assert (b.ready[-1], settled(b)) == (("s", head), True), "what is here is not asked for"


def test_many_nodes_ask_one_at_once(world: World, repo: Repo):
    head = fill(repo)
    a = world.node("a")
    a.mount(str(repo.folder))
    url = gone(repo)
    others = [world.node(f"b{number}") for number in range(6)]

    for other in others:
        other.want(url)
    world.run(lambda: all(map(settled, others)))

    assert [other.ready for other in others] == [[("p", head)]] * 6


def test_no_more_than_a_few_are_fetched_at_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "CODE_PULLS_MAX", 2)
    a, b = world.node("a"), world.node("b")
    heads = {}
    for number in range(5):
        repo = Repo(tmp_path / f"repo{number}")
        heads[f"p{number}"] = fill(repo)
        a.mount(str(repo.folder))
        b.want(str(repo.folder), f"p{number}")
    most = [0]

    def done() -> bool:
        pulls = [s.pull for s in b.share.searches.values() if s.pull is not None]
        most[0] = max(most[0], sum(pull.stage != "idle" for pull in pulls))
        return settled(b)

    world.run(done)
    assert dict(b.ready) == heads
    assert most[0] == 2
    assert any("waits for other code" in text for texts in b.told.values() for text in texts)


def test_what_is_not_wanted_any_more_is_given_up(world: World, repo: Repo):
    fill(repo)
    a, b = world.node("a"), world.node("b")
    a.mount(str(repo.folder))
    b.want(gone(repo))
    world.run(lambda: world.words("a", "b", "chunk"))

    b.share.forget("p")

    assert settled(b) and not b.share.busy("p")
    world.run(lambda: not world.queue)
    assert b.ready == []
