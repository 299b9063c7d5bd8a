"""Giving code: what is mounted, in order, and no more than one peer may ask."""

from __future__ import annotations

from pathlib import Path

from meshcode import limits
from tests.node.code_world import World, fill, gone, settled
from tests.node.scarcity import no_descriptors
from tests.worker.conftest import Repo


def test_only_what_is_mounted_is_given(world: World, repo: Repo, tmp_path: Path):
    head = fill(repo)
    a, b = world.node("a"), world.node("b")
    found = a.mount(str(repo.folder))
    private = Repo(tmp_path / "private")
    other = fill(private)

    for url, commit in (
        (f"file://{private.folder}", other), (found.url, other), (found.url, "d" * 40),
        (f"file://{a.cache}/mirrors/{found.name}.git", head), (str(repo.folder), head),
        (found.url + "/../private", other), ("../private", other),
    ):  # fmt: skip
        assert a.hear_say(b, op="want", ask=1, url=url, commit=commit) == ""
        sorry = world.words("a", "b", "sorry")[-1]
        assert (sorry["commit"], sorry["why"]) == (commit, "it is not mounted here")
    assert a.share.server.job is None
    message = {"op": "read", "ask": 1, "commit": head, "sha256": "0" * 64, "offset": 0}
    assert a.hear_say(b, **message) == ""
    assert world.words("a", "b", "sorry")[-1]["why"] == "that bundle is not here any more"


def test_reading_past_the_end_is_refused(world: World, repo: Repo):
    head = fill(repo)
    a, b = world.node("a"), world.node("b")
    a.mount(str(repo.folder))
    b.want(gone(repo))
    world.run(lambda: settled(b))
    offer = next(iter(a.share.server.offers.values()))

    for offset in (offer.size, offer.size + 1, (1 << 63) - 1):
        a.hear_say(b, op="read", ask=1, commit=head, sha256=offer.sha256, offset=offset)
        assert world.words("a", "b", "sorry")[-1]["why"] == f"the bundle ends at {offer.size}"
    a.hear_say(b, op="read", ask=1, commit=head, sha256=offer.sha256, offset=offer.size - 1)
    assert len(world.words("a", "b", "chunk")[-1]["data"]) == 1
    Path(offer.file).write_bytes(b"short")
    a.hear_say(b, op="read", ask=1, commit=head, sha256=offer.sha256, offset=0)
    assert world.words("a", "b", "sorry")[-1]["why"] == "that bundle cannot be read any more"


def test_a_peer_may_not_fill_the_line_for_bundles(world: World, repo: Repo):
    """Many numbers of searches for one commit: four wait, the others hear why not."""
    head = fill(repo)
    a, b, c = world.node("a"), world.node("b"), world.node("c")
    found = a.mount(str(repo.folder))
    want = {"op": "want", "url": found.url, "commit": head}

    for ask in range(20):
        a.hear_say(b, **want, ask=ask)
    for _ in range(3):
        a.hear_say(b, **want, ask=0)
    a.hear_say(c, **want, ask=1)

    sorry = {row["why"] for row in world.words("a", "b", "sorry")}
    assert sorry == {"too many bundles are asked of this node"}
    assert len(world.words("a", "b", "sorry")) == 20 - limits.CODE_MAKES_PER_PEER_MAX
    world.run(lambda: a.share.server.job is None)
    assert len(world.words("a", "b", "bundle")) == limits.CODE_MAKES_PER_PEER_MAX
    assert len(world.words("a", "c", "bundle")) == 1
    assert not a.share.server.waiting


def test_a_node_that_can_start_nothing_says_so_to_all_who_wait(world: World, repo: Repo):
    """They ask another, or again."""
    head = fill(repo)
    a, b, c = world.node("a"), world.node("b"), world.node("c")
    want = {"op": "want", "url": a.mount(str(repo.folder)).url, "commit": head}
    with no_descriptors():
        a.hear_say(b, **want, ask=1)
        a.hear_say(c, **want, ask=1)
    why = "nothing can be started here now: [Errno 24] Too many open files"
    for peer in ("b", "c"):
        assert [row["why"] for row in world.words("a", peer, "sorry")] == [why]
    assert not a.share.server.waiting

    a.hear_say(b, **want, ask=2)
    world.run(lambda: a.share.server.job is None)
    assert len(world.words("a", "b", "bundle")) == 1
