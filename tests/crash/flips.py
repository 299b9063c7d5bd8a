"""Single flipped bits in the file of a log; run by test_flips.py.

    python flips.py FOLDER LEFT FLIPS SEED

Each flip is read by a process of its own, as a broken file may kill it.  LEFT says how the log was
left: "power" (the next open verifies it) or "clean" (it does not).  The two root pages are left
alone: a flip in the number of the newer one brings back the turn before it (docs/log.md, "What the
log cannot see").  Prints one JSON object: what the reader made of it -> how often.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

from meshcode.errors import LogDamaged, NodeError
from meshcode.store.contract import DONE, OPEN, STATE
from meshcode.store.lmdb_log import LmdbLog

ROOTS_BYTES = 2 * 4096
Truth = dict[str, dict[bytes, bytes]]


def make(folder: Path, rng: random.Random) -> Truth:
    """A log of about 2 MiB with a history: puts, overwrites, deletes."""
    truth: Truth = {OPEN: {}, STATE: {}, DONE: {}}
    with LmdbLog(folder, ballast_bytes=0) as log:
        for turn in range(40):
            ops: list[tuple[str, bytes, bytes | None]] = []
            for n in range(25):
                key = (turn * 25 + n).to_bytes(8, "big")
                ops.append((OPEN, key, rng.randbytes(rng.randint(50, 3000))))
                ops.append((STATE, key[-1:] * 8, rng.randbytes(30)))
            ops += [
                (DONE, rng.randbytes(16), rng.randbytes(200)),
                (OPEN, (turn * 20).to_bytes(8, "big"), None),
            ]
            log.stage(ops)
            log.sync()
            for table, key, value in ops:
                if value is None:
                    truth[table].pop(key, None)
                else:
                    truth[table][key] = value
    return truth


def read(folder: Path, truth: Truth) -> str:
    """Open and read all: what it came to.  Anything that starts with "wrong" must never be."""
    try:
        with LmdbLog(folder, ballast_bytes=0) as log:
            gone = 0
            for table, records in truth.items():
                found = dict(log.scan(table, limit=100_000))
                if any(records.get(key) != value for key, value in found.items()):
                    return "wrong value"
                gone += len(records.keys() - found.keys())
                for key, value in list(records.items())[::7]:
                    if log.get(table, key) not in (value, None):
                        return "wrong value of one"
            if not gone:
                return "harmless"
            return "told by record" if log.damaged() else "wrong: records gone in silence"
    except LogDamaged:
        return "told"
    except NodeError as error:
        return f"told as {type(error).__name__}"


def in_a_child(folder: Path, truth: Truth) -> str:
    """`read` in a fork, so that its death is a result too."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            told = read(folder, truth)
        except Exception as error:
            told = f"wrong error {type(error).__name__}: {error}"
        os.write(writer, told.encode()[:300])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return told if not code else f"killed by signal {-code}"


def main() -> None:
    folder, left, flips, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    rng = random.Random(seed)
    truth = make(folder, rng)
    sound = (folder / "data.mdb").read_bytes()
    seen: Counter[str] = Counter()
    for _ in range(flips):
        image = bytearray(sound)
        at = rng.randrange(ROOTS_BYTES, len(image))
        image[at] ^= 1 << rng.randrange(8)
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "data.mdb").write_bytes(image)
        (folder / "lock").write_text("1 another-boot\n" if left == "power" else "")
        seen[in_a_child(folder, truth)] += 1
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
