"""Verification: is the tree of a log file sound, and does every record carry its checksum?

Two passes.  The structure is walked in plain Python without the engine, so a file that would crash
the engine is found before it is mapped.  Then every record is read through the engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from meshcode.store import record
from meshcode.store.engine import Engine, every_row

PROBLEMS_MAX = 20  # Problems of the structure that are told; one is enough to refuse the file.


@dataclass(slots=True)
class Records:
    """What a pass over all records found."""

    good: int = 0
    damaged: list[tuple[str, bytes]] = field(default_factory=list)


def structure_problems(data_file: Path) -> list[str]:
    """What is wrong with the tree of a log file, as sentences; empty when it is sound.

    About 200 MB/s.  Nobody may write the file meanwhile.
    """
    from lmdb import verify as lmdb_verify

    try:
        found = lmdb_verify.verify(str(data_file))
    except (lmdb_verify.VerifyError, OSError, ValueError) as error:
        return [str(error)]
    return [str(problem) for problem in list(found)[:PROBLEMS_MAX]]


def check_records(engine: Engine, tables: Iterable[str]) -> Records:
    """Check the checksum of every record of `tables`; nobody may write meanwhile.

    About a million records of 300 bytes a second; the files of blobs are not read.
    """
    found = Records()
    for table in tables:
        seed = record.SEEDS[table]
        for key, stored in every_row(engine, table):
            state = record.residue(seed, key, stored)
            if state in (record.PLAIN_RESIDUE, record.BLOB_RESIDUE):
                found.good += 1
            else:
                found.damaged.append((table, key))
    return found
