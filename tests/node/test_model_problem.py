"""What is said of a database that is away."""

from __future__ import annotations

from meshcode.node.modelproblem import ModelProblem


def test_an_outage_is_since_its_first_error_whatever_words_follow():
    said: list[str] = []
    problem = ModelProblem(said.append)

    problem.hear({"error": {"text": "the server closed the connection"}}, 1_000)
    problem.hear({"error": {"text": "connection refused"}}, 5_000)

    assert problem.facts() == {"text": "connection refused", "since_ms": 1_000}
    assert len(said) == 2  # The log has each of them, with its own time.

    problem.hear({"back": True}, 9_000)
    assert problem.facts() is None
    problem.hear({"error": {"text": "connection refused"}}, 12_000)
    assert problem.facts() == {"text": "connection refused", "since_ms": 12_000}
