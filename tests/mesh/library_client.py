"""The same client made of the client library, for its own way of going to another node.

python -m tests.mesh.library_client CONFIG.json
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

from meshcode import connect
from meshcode.client.call import Call
from tests.mesh.notes import Notes

OPEN_MAX = 1_000
TICK_S = 0.02
CONNECT_S = 30.0
NOBODY_KNOWS = {"unknown_call", "no_node", "timeout"}  # How the library gives up on a call.


def call_for_ever(config: dict[str, Any]) -> None:
    """Call at the rate until told to stop, then wait for every outcome."""
    addresses = [address for _, address in config["addresses"]]
    first = config["first"]
    history = Path(config["history"])
    notes, rng = Notes(history), Random(f"{config['seed']} {history.name}")
    stop_file, pause = history.parent / "stop", Event()
    opened: list[tuple[Call, bool]] = []
    with connect(",".join(addresses[first:] + addresses[:first]), timeout=CONNECT_S) as client:
        socket = client.socket(config["socket"])
        if config["ack"]:
            socket = socket.options(ack=config["ack"])
        owed, last = 0.0, time.monotonic()
        while not (stopping := stop_file.exists()) or opened:
            now = time.monotonic()
            owed, last = owed + (now - last) * config["rate"], now
            while not stopping and owed >= 1 and len(opened) < OPEN_MAX:
                value = rng.randrange(1 << 31)
                call = socket.submit(value)
                notes.add("submit", "invoke", call.id, value, level=config["ack"])
                opened.append((call, False))
                owed -= 1
            opened = [one for one in (look_at(call, told, notes) for call, told in opened) if one]
            notes.write()
            pause.wait(TICK_S)


def look_at(call: Call, told: bool, notes: Notes) -> tuple[Call, bool] | None:
    """Write down what is new of a call; None when nothing more will come."""
    if not told and call.accepted:
        notes.add("submit", "ok", call.id, level=call.accepted.split()[0])
        told = True
    if not call.done():
        return call, told
    error = call.exception(0)
    if error is None:
        notes.add("result", "ok", call.id, call.result(0))
    elif told and error.code not in NOBODY_KNOWS:
        notes.add("result", "fail", call.id, error.code)
    else:  # Refused, or given up: which node may have taken it, the library does not say.
        notes.add("submit", "info", call.id, error.code)
    return None


if __name__ == "__main__":
    call_for_ever(json.loads(Path(sys.argv[1]).read_text()))
