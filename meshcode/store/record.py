"""Records: a value and its checksum, as they stand in the log.

    value                 n bytes
    check                 4 bytes, little endian

The check is the CRC-32 of table name, NUL, key and value.  A record that stands for a blob (a value
in a file of its own) has the same check with every bit of BLOB_MASK flipped, so the two can never
be taken for each other and a plain record pays no byte for the difference.

Reading needs one pass: the CRC-32 of a message followed by its own CRC is a constant.
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from meshcode.native import layout
from meshcode.store.contract import TABLES

CHECK_BYTES = layout.CHECK_BYTES
BLOB_MASK = 0x626C6F62  # "blob".

# CRC-32 over (message + its check) gives these, whatever the message.
PLAIN_RESIDUE = layout.PLAIN_RESIDUE
BLOB_RESIDUE = crc32((crc32(b"") ^ BLOB_MASK).to_bytes(CHECK_BYTES, "little"))

SEEDS = {table: crc32(table.encode() + b"\0") for table in TABLES}


def seal(seed: int, key: bytes, value: bytes) -> bytes:
    """`value` with its check; `seed` is of the table (SEEDS)."""
    return value + crc32(value, crc32(key, seed)).to_bytes(CHECK_BYTES, "little")


def seal_each(seed: int, records: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Keys and values with their checks: `seal` for many."""
    return [
        (key, value + crc32(value, crc32(key, seed)).to_bytes(CHECK_BYTES, "little"))
        for key, value in records
    ]


def seal_blob(seed: int, key: bytes, reference: bytes) -> bytes:
    """The record of a blob: `reference` with the other check."""
    check = crc32(reference, crc32(key, seed)) ^ BLOB_MASK
    return reference + check.to_bytes(CHECK_BYTES, "little")


def residue(seed: int, key: bytes, record: bytes) -> int:
    """PLAIN_RESIDUE, BLOB_RESIDUE, or anything else for a damaged record."""
    return crc32(record, crc32(key, seed))


def checks(seed: int, key: bytes, record: bytes) -> tuple[int, int]:
    """The check found in the record, and the one its bytes ask for (of a plain record)."""
    found = int.from_bytes(record[-CHECK_BYTES:], "little")
    return found, crc32(record[:-CHECK_BYTES], crc32(key, seed))
