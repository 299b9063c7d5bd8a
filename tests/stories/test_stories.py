"""Every story is right: played again, the node does what the file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshcode.sim import story

STORIES = sorted(Path(__file__).parent.glob("*.story"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_the_node_does_what_the_story_says(path):
    """`python -m meshcode.sim.story --rewrite FILE` records it anew; read the difference first."""
    text = path.read_text()

    assert story.run(text) == text


def test_there_are_stories_for_everything_a_newcomer_needs():
    """A moved folder must not make the test above pass with nothing."""
    assert len(STORIES) >= 28


def test_a_story_tells_what_differs(tmp_path, capsys):
    """The command prints a diff and fails; with --rewrite it writes what happened."""
    path = tmp_path / "wrong.story"
    path.write_text("socket a\nsubmit a c1 from=ann\n----\nann <- REFUSED c1\n")

    wrong = story.main([str(path)])
    told = capsys.readouterr().out
    rewritten = story.main(["--rewrite", str(path)])

    assert wrong == 1
    assert "+ann <- ACCEPTED c1" in told
    assert rewritten == 0
    assert path.read_text().endswith("----\nann <- ACCEPTED c1\n")
