"""Which commit the others run of what is to be mounted here, so that a mesh agrees on one.

A branch goes on between two mounts.  Whoever mounts what others have mounted before, as it is new
there, was away or lost it, asks them before it fetches: `runs` with the processor and a digest of
what the model wants of its code, `running` with the commit, or "".  Who mounted it for another
digest runs what was wanted before, or will be, and says "": so all fetch the newest when it is
asked for.

Nobody is waited for longer than `limits.CODE_ASK_MS`, and a mount goes on without who has not
answered.  No links and no clock, as `codeshare`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from meshcode import limits
from meshcode.node.codeserve import Send

ASK_AGAIN_MS = 500  # Who has not answered, and who came meanwhile, is asked so often.


@dataclass(slots=True)
class _Question:
    """About one processor."""

    number: int
    code: str  # Its digest (`processor.digest_of`).
    since_ms: int
    asked_ms: int
    over_ms: int = 0  # When it was over; 0 while it is not.
    answers: dict[bytes, str] = field(default_factory=dict)  # "": does not run it.


class Others:
    """Both sides of the question."""

    def __init__(
        self,
        send: Send,
        may_run: Callable[[str], list[bytes]],
        runs: Callable[[str, str], str],
        answered: Callable[[int], None],
    ) -> None:
        """Nothing is asked.

        Args:
            send: hands a message to a peer; False when it could not be, which is no failure.
            may_run: peers that may know a processor, also who may be here soon; the best first.
            runs: the commit that is mounted here of a processor for a digest, or "".
            answered: called with now_ms when `of` has the answers to a question.
        """
        self._send = send
        self._may_run = may_run
        self._runs = runs
        self._answered = answered
        self._questions: dict[str, _Question] = {}  # By processor.
        self._number = 0

    def of(self, processor: str, code: str, now_ms: int) -> dict[str, int] | None:
        """How many others run each commit; None while they are asked.

        What they said is given once, and is asked for anew when it is older than
        `limits.CODE_ASK_MS`.
        """
        asked = self._questions.get(processor)
        if asked is not None and asked.code == code:
            if not asked.over_ms:
                return None
            if now_ms < asked.over_ms + limits.CODE_ASK_MS:
                del self._questions[processor]
                return Counter(commit for commit in asked.answers.values() if commit)
        self.forget(processor)
        if not self._may_run(processor):
            return {}
        self._number += 1
        asked = self._questions[processor] = _Question(self._number, code, now_ms, now_ms)
        self._ask(processor, asked)
        return None

    def asks(self, processor: str) -> bool:
        """Whether they are asked about it, or have answered and `of` was not called yet."""
        return processor in self._questions

    def forget(self, processor: str) -> None:
        """It is not to be mounted any more."""
        self._questions.pop(processor, None)

    def answer(self, node: bytes, message: dict[str, Any]) -> None:
        """Tell a peer what this node runs."""
        commit = self._runs(message["processor"], message["code"])
        self._send(node, {"op": "running", "ask": message["ask"], "commit": commit})

    def heard(self, node: bytes, message: dict[str, Any], now_ms: int) -> str:
        """Take an answer; returns what is wrong with it, or "", also where it comes too late."""
        if message["ask"] > self._number:
            return "running to a question that was not asked"
        for processor, asked in self._questions.items():
            if asked.number == message["ask"] and not asked.over_ms:
                if node not in self._whom(processor):
                    return "running from a node that was not asked"
                asked.answers[node] = message["commit"]
                self._look(processor, asked, now_ms)
                return ""
        return ""  # Who was asked again may answer twice.

    def tick(self, now_ms: int) -> None:
        """Ask again, and end what took too long or was never fetched."""
        for processor, asked in list(self._questions.items()):
            if self._questions.get(processor) is not asked:
                continue  # Who was told of the end of another one asks anew.
            if not asked.over_ms:
                self._look(processor, asked, now_ms)
                if not asked.over_ms and now_ms >= asked.asked_ms + ASK_AGAIN_MS:
                    asked.asked_ms = now_ms
                    self._ask(processor, asked)
            elif now_ms >= asked.over_ms + limits.CODE_ASK_MS:
                del self._questions[processor]

    def is_busy(self) -> bool:
        """Whether `tick` has something to do."""
        return bool(self._questions)

    def _whom(self, processor: str) -> list[bytes]:
        return self._may_run(processor)[: limits.CODE_PEERS_ASKED_MAX]

    def _ask(self, processor: str, asked: _Question) -> None:
        """Ask all who have not answered, and who came meanwhile."""
        message = {"op": "runs", "ask": asked.number, "processor": processor, "code": asked.code}
        for node in self._whom(processor):
            if node not in asked.answers:
                self._send(node, message)

    def _look(self, processor: str, asked: _Question, now_ms: int) -> None:
        late = now_ms >= asked.since_ms + limits.CODE_ASK_MS
        if late or asked.answers.keys() >= set(self._whom(processor)):
            asked.over_ms = now_ms
            self._answered(now_ms)
