"""Every story of several nodes is right: played again, the mesh does what the file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshcode.sim.mesh import story
from meshcode.sim.mesh.network import Network
from meshcode.sim.violation import Violation

FOLDER = Path(__file__).parent
STORIES = sorted(FOLDER.glob("*.story"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_the_mesh_does_what_the_story_says(path):
    """`python -m meshcode.sim.mesh.story --rewrite FILE` records it; read the difference first."""
    text = path.read_text()

    assert story.run(text) == text


def test_there_are_stories_for_everything_a_newcomer_needs():
    """A moved folder must not make the test above pass with nothing."""
    assert len(STORIES) >= 20


def test_every_story_says_what_it_is_about():
    """The first line is for people, and no block was left without its record."""
    for path in STORIES:
        text = path.read_text()
        assert text.startswith("# "), path.name
        assert "----\n\n" not in text, path.name


def test_a_story_tells_what_differs(tmp_path, capsys):
    """The command prints a diff and fails; with --rewrite it writes what happened."""
    path = tmp_path / "wrong.story"
    path.write_text("# Wrong.\nmesh 1\nsubmit n0 s0 c1 from=ann\n----\nann <- REFUSED c1\n")

    wrong = story.main([str(path)])
    told = capsys.readouterr().out
    rewritten = story.main(["--rewrite", str(path)])

    assert wrong == 1
    assert "+ann <- ACCEPTED c1 local 1/1" in told
    assert rewritten == 0
    assert path.read_text().endswith("----\nann <- ACCEPTED c1 local 1/1\n")


def test_the_checker_looks_on(monkeypatch):
    """Without the fence of the channels a late STORE would bring a forgotten call back."""
    monkeypatch.setattr(Network, "accepts", lambda *_: True)

    with pytest.raises(Violation, match="I9 resurrection"):
        story.run((FOLDER / "late_store_after_forgetting.story").read_text())


@pytest.mark.parametrize(
    ("act", "what"),
    [
        ("deliver", "a story begins with the act `mesh`"),
        ("mesh 1\ndone c1 at n0", "c1 is no call of this story"),
        ("mesh 1\nsubmit n0 s0 c1 from=ann\ndone c1 at n0", "c1 does not run at n0"),
        ("mesh 1\nfly n0", "there is no act `fly`"),
    ],
)
def test_an_act_that_cannot_be_says_why(act, what):
    with pytest.raises(AssertionError, match=what):
        story.run(act + "\n----\n")
