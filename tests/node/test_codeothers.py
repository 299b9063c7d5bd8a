"""What peers are asked before a mount: nobody there, the silent, the absent, and disagreement."""

from __future__ import annotations

from typing import Any

import pytest

from meshcode import limits
from meshcode.node.codeothers import ASK_AGAIN_MS
from meshcode.node.processor import CODE_FIELDS, Processor, digest_of
from tests.node.code_world import Member, World

CODE, OTHER = "0" * 32, "1" * 32
C1, C2 = "a" * 40, "b" * 40


def asked(member: Member, code: str = CODE) -> dict[str, int] | None:
    """What the others run of the processor `p`, as far as is known."""
    return member.share.others.of("p", code, member.world.now_ms)


def answers(member: Member) -> tuple[dict[str, int], int]:
    """Ask the others and wait: what they run, and how many ms that took."""
    world = member.world
    begun, before = world.now_ms, member.answered
    found = asked(member)
    if found is None:
        world.run(lambda: member.answered > before)
        found = asked(member)
    assert found is not None
    assert not member.share.others.asks("p")
    return found, world.now_ms - begun


def test_without_peers_nobody_is_asked_or_waited_for(world: World):
    a = world.node("a")

    assert asked(a) == {}
    assert not world.sent and a.share.next_due_ms() is None


def test_each_commit_is_counted_and_no_time_passes_when_all_answer(world: World):
    a = world.node("a")
    for name, commit in (("b", C1), ("c", C2), ("d", C1), ("e", "")):
        world.node(name).runs["p", CODE] = commit

    assert answers(a) == ({C1: 2, C2: 1}, 0)
    assert [m["op"] for _, _, m in world.sent].count("runs") == 4


def test_who_runs_what_was_wanted_before_says_nothing_of_it(world: World):
    a, b = world.node("a"), world.node("b")
    b.runs["p", OTHER] = C1

    assert answers(a) == ({}, 0)
    assert world.words("b", "a", "running") == [{"op": "running", "ask": 1, "commit": ""}]


def test_a_silent_peer_is_waited_for_as_long_as_the_limit_says(world: World):
    """It was asked again meanwhile; what the others said counts."""
    a, b = world.node("a"), world.node("b")
    world.node("mute")
    b.runs["p", CODE] = C1
    world.tamper = lambda source, message: None if source == "mute" else message

    assert answers(a) == ({C1: 1}, limits.CODE_ASK_MS)
    assert len(world.words("a", "mute", "runs")) == limits.CODE_ASK_MS // ASK_AGAIN_MS
    assert len(world.words("a", "b", "runs")) == 1


def test_who_comes_while_they_are_asked_is_asked_too(world: World):
    a = world.node("a")
    world.node("mute")
    world.tamper = lambda source, message: None if source == "mute" else message
    assert asked(a) is None

    world.node("late").runs["p", CODE] = C1
    world.run(lambda: a.answered)

    assert asked(a) == {C1: 1}
    assert world.now_ms == 1_000 + limits.CODE_ASK_MS


def test_who_goes_is_not_waited_for(world: World):
    a, b = world.node("a"), world.node("b")
    assert asked(a) is None
    world.kill(b)

    world.run(lambda: a.answered)

    assert asked(a) == {}
    assert world.now_ms == 1_000 + ASK_AGAIN_MS


def test_other_code_is_another_question(world: World):
    """An answer to the first is no answer to the second."""
    a, b = world.node("a"), world.node("b")
    b.runs["p", CODE], b.runs["p", OTHER] = C1, C2
    assert asked(a) is None
    assert asked(a, OTHER) is None

    world.run(lambda: a.answered)

    assert asked(a, OTHER) == {C2: 1}
    assert a.answered == 1
    assert len(world.words("b", "a", "running")) == 2


def test_an_answer_that_nobody_fetched_is_asked_for_anew(world: World):
    a, b = world.node("a"), world.node("b")
    b.runs["p", CODE] = C1
    assert asked(a) is None
    world.run(lambda: a.answered)
    b.runs["p", CODE] = C2
    world.now_ms += limits.CODE_ASK_MS

    assert answers(a) == ({C2: 1}, 0)

    assert asked(a) is None
    world.run(lambda: a.answered == 3)
    world.run(lambda: not a.share.others.is_busy())
    assert not a.share.others.asks("p"), "it is forgotten when nobody fetches it"


def test_what_is_not_mounted_any_more_is_forgotten(world: World):
    a, _ = world.node("a"), world.node("b")
    assert asked(a) is None

    a.share.others.forget("p")
    world.run(lambda: not world.queue)

    assert not a.answered and a.share.next_due_ms() is None


def test_who_was_not_asked_has_no_say(world: World):
    """Nor has an answer to a question that was never asked; a second answer is no fault."""
    a, b = world.node("a"), world.node("b")
    stranger = world.node("c")
    world.kill(stranger)
    assert asked(a) is None
    said: dict[str, Any] = {"op": "running", "ask": 1, "commit": C2}

    assert a.hear_say(stranger, **said) == "running from a node that was not asked"
    assert a.hear_say(b, **said | {"ask": 2}) == "running to a question that was not asked"
    assert a.hear_say(b, **said) == "" and a.answered == 1
    assert a.hear_say(b, **said | {"commit": C1}) == ""

    assert asked(a) == {C2: 1}


def test_no_more_than_the_limit_are_asked(world: World):
    a = world.node("a")
    for number in range(limits.CODE_PEERS_ASKED_MAX + 2):
        world.node(f"n{number}").runs["p", CODE] = C1

    assert answers(a) == ({C1: limits.CODE_PEERS_ASKED_MAX}, 0)


def mounted(**mount: Any) -> Processor:
    """A processor with code."""
    made = Processor("p")
    made.mounted_code = ("file:///x", "main", *[None] * (len(CODE_FIELDS) - 3), 0)
    made.mount = {"commit": C1, "warning": "", "held": "", **mount}
    return made


def test_a_node_tells_the_commit_of_just_the_code_that_is_asked_for():
    one = mounted()
    code = digest_of(one.mounted_code)

    assert one.runs(code) == C1
    assert digest_of([*one.mounted_code, {"an": "override"}, "signers"]) == code
    assert digest_of([*one.mounted_code[:-1], 1]) != code, "a restart was asked for"
    one.mounted_code = (*one.mounted_code[:-1], 1)
    assert one.runs(code) == ""
    assert Processor("p").runs(digest_of(())) == ""


@pytest.mark.parametrize("mount", [{"warning": "it is away"}, {"held": C1}])
def test_what_may_be_an_old_commit_holds_nobody_back(mount: dict[str, str]):
    one = mounted(**mount)

    assert one.runs(digest_of(one.mounted_code)) == ""


def test_a_mount_of_an_older_version_in_the_log_counts():
    """It does not say whether a peer gave it."""
    one = mounted()
    assert one.mount is not None
    del one.mount["held"]

    assert one.runs(digest_of(one.mounted_code)) == C1
