"""The Celery application, as its worker and its client import it."""

from __future__ import annotations

import json
import os

from celery import Celery

app = Celery("peers", broker=os.environ["PEERS_BROKER"], backend=os.environ["PEERS_BACKEND"])
app.conf.update(json.loads(os.environ["PEERS_SETTINGS"]))


@app.task
def nop(value: int) -> int:
    """Return what came."""
    return value


@app.task
def count(values: list[int]) -> int:
    """How many there are."""
    return len(values)
