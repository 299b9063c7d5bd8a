"""What the durable log says when something is wrong: what happened, what is safe, what to do."""

from __future__ import annotations

import os
from pathlib import Path

from meshcode.errors import DiskFull, LogDamaged, LogSuspect, NodeError
from meshcode.store.filesystem import address_space_limit, disk_room


def map_full(folder: Path, limit: int, wanted: int) -> DiskFull:
    """The map may not grow any more; `wanted` bytes were to be written."""
    return DiskFull(
        f"the log in {folder} is at its limit: its map may take {limit:,} bytes and {wanted:,} more"
        " were wanted; nothing of this batch was kept, all before it is safe; let calls finish,"
        " shorten the history, or raise the limit",
        folder=str(folder),
        limit=limit,
        wanted=wanted,
    )


def disk_full(folder: Path, wanted: int, error: Exception) -> DiskFull:
    """The disk has no room for `wanted` bytes."""
    free, total = disk_room(folder)
    return DiskFull(
        f"the disk under {folder} is full: {wanted:,} bytes wanted, {free:,} of {total:,} free"
        f" ({error}); nothing of this batch was kept, all before it is safe; make room, the node"
        " goes on by itself",
        folder=str(folder),
        free=free,
        wanted=wanted,
    )


def no_address_space(folder: Path, wanted: int, error: Exception) -> NodeError:
    """The map of the log's file is refused by the system."""
    limit = address_space_limit()
    gives = f"`ulimit -v` gives this process {limit:,}" if limit else "`ulimit -v` sets no limit"
    return NodeError(
        f"the log in {folder} cannot be opened ({error}): its map wants {wanted:,} bytes of address"
        f" space, and {gives}; nothing in it was changed; raise that limit, a GiB is enough for a"
        " small node, or take it away, and start again",
        folder=str(folder),
        wanted=wanted,
        limit=limit,
    )


def suspect(folder: Path, cause: str) -> LogSuspect:
    """A write failed, and nobody knows what of it is on disk."""
    return LogSuspect(
        f"writing the log in {folder} failed: {cause}; it takes no more writes; every earlier sync"
        " is safe, the last batch may be there or not; look at the disk (dmesg, smartctl) and start"
        " the node again: it verifies the log first",
        folder=str(folder),
        cause=cause,
    )


def damaged(folder: Path, table: str, key: bytes, why: str) -> LogDamaged:
    """One record is not what was written."""
    return LogDamaged(
        f"record {key.hex()} of table {table} in {folder} is damaged: {why}; all other records are"
        " kept; restore it from a copy or let the call be made again",
        folder=str(folder),
        table=table,
        key=key.hex(),
    )


def broken_tree(folder: Path, error: Exception, *, writable: bool) -> LogDamaged:
    """A read met a page that cannot be."""
    advice = (
        "its file is unchanged; the next start of its node verifies it and says where; read what is"
        " sound with `mesh salvage`, then restore it from a sound copy"
    )
    return LogDamaged(
        f"the tree of the log in {folder} is damaged: {error};"
        f" {advice if writable else 'what lies behind that is not read, nothing was changed'}",
        folder=str(folder),
    )


def forked(folder: Path, owner: int) -> NodeError:
    """This process is a fork of the one that opened it."""
    return NodeError(
        f"the log in {folder} belongs to process {owner} and cannot be used in its fork"
        f" {os.getpid()}; it is unharmed; start other processes by exec",
        folder=str(folder),
    )


def gap(folder: Path, wanted: int, numbers: list[int]) -> LogDamaged:
    """Batch `wanted` of the journal is not there, and later ones are."""
    return LogDamaged(
        f"the journal of the log in {folder} lacks batch {wanted:,}, and has {len(numbers):,} from"
        f" {numbers[0]:,} to {numbers[-1]:,}; nothing was changed; keep a copy of the folder, read"
        " what is sound with mesh salvage, then restore the log from a sound copy, or move"
        " journal.0 and journal.1 away to go on with what was there before them",
        folder=str(folder),
        wanted=wanted,
        found=numbers,
    )
