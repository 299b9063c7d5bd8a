"""`mesh recover` and `mesh salvage`: what the rules of replication leave to a person.

`recover` speaks to the running mesh: calls that lost the majority of their voters to evictions.
`salvage` reads the log of a node that is none any more, evicted or broken, while it does not run,
and another node takes what only that log kept, under the ids it had.  The file is JSON lines:

    {"type": "salvage", "schema": 1, "node", "store", "boot", "taken_ms", "folder"}
    {"type": "call", "id", "socket", "kept", "accepted_ms", "state", "args", ..., "submit": base64}
    {"type": "result", "id", "socket", "state", "finished_ms", "value" or "error"}
"""

from __future__ import annotations

import contextlib
import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from meshcode import paths
from meshcode.aside import Replacing
from meshcode.cli import output, plain
from meshcode.cli.nodes import EXIT_PARTIAL, end_partial
from meshcode.cli.objects import confirm, yes_option
from meshcode.cli.options import DURATION, command, listing
from meshcode.cli.output import Column, Style, column
from meshcode.cli.session import session, who
from meshcode.errors import BadValue, CallerError, LogDamaged, MeshError, UnknownCall
from meshcode.listing import LOST

if TYPE_CHECKING:
    from meshcode.client import Client
    from meshcode.store.contract import Log

SCHEMA = 1
LINE_BYTES_MAX = 64 * 1024 * 1024  # A call has at most half of it, and base64 makes it larger.
_PAGE = 1_000
_STEP = 2  # The one that was read last, and the next, where a page of them cannot be read.
_SEVERAL = 500  # Calls sent before their acknowledgements are waited for.

_STUCK_COLUMNS = [
    column("kind"), column("id", "ID"), column("socket"),
    Column("accepted_ms", "Accepted", plain.local_time), column("at", "Kept At"),
    column("node", "Owner"), column("reason"), column("can", "What Can Be Done"),
]  # fmt: skip


# What waits in the running mesh.


@command()
@click.option("--force", "forced", metavar="ID", multiple=True,
              help="Issue this ORPHAN or COPY again: it may have run before.")  # fmt: skip
@click.option("--all", "every", is_flag=True, help="All of them, with --yes or after a question.")
@yes_option
@listing
def recover(forced: tuple[str, ...], every: bool, yes: bool, style: Style) -> None:
    """List the calls that wait for a person, and let lost ones run again.

    ORPHAN: the majority of its voters is evicted. COPY: kept for the other node of two, which is
    evicted. Both may have run, and even ended, where nobody can look any more; --force issues them
    again under their ids. HELD: its attempts are used up; see `mesh call retry` and `cancel`.

    Examples:
      mesh recover
      mesh recover --force 0192f3c1
      mesh recover --all --yes
    """
    if forced and every:
        raise click.UsageError("give ids or --all, not both", click.get_current_context())
    with session() as client:
        found = client.ask("mesh.recover")
        lost = [row["id"] for row in found["calls"] if row.get("kind") in LOST]
        if not forced and not every:
            output.show(
                "call", found["calls"], _STUCK_COLUMNS, style, name="id",
                empty="no call waits for a person",
            )  # fmt: skip
            end_partial(found["silent"])
            return
        chosen = lost if every else list(forced)
        if every and chosen:
            confirm(f"issue {len(chosen)} calls again, which may have run before", yes=yes)
        done, failed = _recover_all(client, chosen)
    if done or not failed:
        output.show("call", done, [column("id", "ID"), column("done")], style, name="id",
                    empty="no call was issued again")  # fmt: skip
    for error in failed[1:]:
        output.say(f"mesh: {error}")
    if failed:
        raise failed[0]
    end_partial(found["silent"] if every else [])


def _recover_all(
    client: Client, ids: Iterable[str]
) -> tuple[list[dict[str, Any]], list[MeshError]]:
    """Ask for each; what was done, and what was refused."""
    done: list[dict[str, Any]] = []
    failed: list[MeshError] = []
    for id in ids:
        try:
            done.append(dict(client.ask("call.recover", id=id, by=who())))
        except UnknownCall:
            failed.append(UnknownCall(
                f"no call {id} waits to be issued again on any node that answers; `mesh recover`"
                " lists those that do"
            ))  # fmt: skip
        except MeshError as error:
            failed.append(error)
    return done, failed


# Out of a log.


@command()
@click.option("--data", type=click.Path(exists=True, file_okay=False), metavar="DIR",
              help="Home or data folder to read.  [default: this home's]")  # fmt: skip
@click.option("-o", "target", type=click.Path(dir_okay=False), metavar="FILE",
              help="Write there.  [default: stdout]")  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Open calls that others keep, too.")
@click.option("--results/--no-results", default=True, help="Ended calls.  [default: yes]")
@click.option("--submit", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
              help="Give the calls of FILE to the node of this home.")  # fmt: skip
@click.option("--timeout", type=DURATION, default="60s", show_default=True,
              help="Longest wait for acknowledgements.")  # fmt: skip
def salvage(
    data: str | None, target: str | None, every: bool, results: bool, submit: str | None,
    timeout: int,
) -> None:  # fmt: skip
    """Export what only a stopped node kept, and submit it elsewhere under the same ids.

    The log is opened for reading; nothing in it is changed. Submitting twice is harmless: a call
    that a node knows already is not made again.

    Exit status 8: records were damaged, or calls refused; all others are done.

    Examples:
      mesh --home /srv/old salvage -o left.jsonl
      mesh salvage --data /mnt/disk/meshcode/data -o left.jsonl
      mesh salvage --submit left.jsonl        on a node of the mesh
    """
    if submit is not None:
        if data is not None or target is not None or every:
            raise click.UsageError(
                "--submit gives a file to a node; it does not go with --data, -o or --all",
                click.get_current_context(),
            )
        _submit(Path(submit), timeout / 1000)
        return
    from meshcode.cli import leave

    leave.ask(paths.home(), "node.may", audited=False)
    home, folder = places(data)
    leave.tell("salvage", f"the log of {home}")
    if target is None:
        status = _export(home, folder, sys.stdout, every=every, results=results)
    else:
        status = _export_to(Path(target), home, folder, every=every, results=results)
    click.get_current_context().exit(status)


def places(given: str | None) -> tuple[Path, Path]:
    """The home and the log's folder that `given` means: a home, or the data folder in one.

    Raises:
        CallerError: there is no log in it.
    """
    home = Path(given or paths.home()).absolute()
    for folder in (home / "data", home):
        if (folder / "data.mdb").exists():
            return folder.parent, folder
    raise CallerError(f"there is no log in {home}: neither data.mdb nor data/data.mdb")


def _export_to(target: Path, home: Path, folder: Path, *, every: bool, results: bool) -> int:
    """Write a private file, whole or not at all."""
    try:
        with Replacing(target, encoding="utf-8", durable=True) as file:
            return _export(home, folder, file, every=every, results=results)
    except OSError as error:
        raise CallerError(f"{target}: {error.strerror}; the log is unchanged") from None


def _export(home: Path, folder: Path, out: IO[str], *, every: bool, results: bool) -> int:
    """Write the lines, tell what they are; the exit status."""
    from meshcode.ids import unix_ms
    from meshcode.store.journaled import JournaledLog, open_log

    log = open_log(folder, boot=False)
    lacking = log.lacking if isinstance(log, JournaledLog) else ()
    try:
        me = own_id(home, log)
        head = {
            "type": "salvage", "schema": SCHEMA, "node": me.hex(), "store": log.store_id.hex(),
            "boot": log.boot, "taken_ms": unix_ms(), "folder": str(folder),
        }  # fmt: skip
        out.write(plain.to_json(head) + "\n")
        lost: list[str] = []
        counts = {"alone": 0, "shared": 0, "copy": 0, "result": 0}
        for item in open_calls(log, me, lost):
            counts[item["kept"]] += 1
            if every or item["kept"] == "alone":
                out.write(plain.to_json(item) + "\n")
        for item in ended_calls(log, lost) if results else ():
            counts["result"] += 1
            out.write(plain.to_json(item) + "\n")
        damaged = log.damaged()
    finally:
        log.close()
    output.say(
        f"{counts['alone']} open calls that only this log kept, {counts['result']} results;"
        f" {counts['shared']} open calls are on other nodes too, {counts['copy']} are copies"
        + ("" if every else " (not written; --all writes them)")
    )
    return _tell_damage(lacking, damaged, lost)


def _tell_damage(
    lacking: Sequence[int], damaged: list[tuple[str, bytes]], lost: list[str]
) -> int:
    """Say what was left out; the exit status."""
    if lacking:
        output.say(
            f"damaged and left out: batches {lacking[0]} to {lacking[-1]} of the journal,"
            f" {len(lacking)} in all; calls may be missing, and others written that have ended"
        )
    for table, key in damaged:
        output.say(f"damaged and left out: {table} {key.hex()}")
    for text in lost:
        output.say(f"damaged: {text}")
    return EXIT_PARTIAL if damaged or lacking or lost else 0


def own_id(home: Path, log: Log) -> bytes:
    """The id of the node whose log this is; empty when nothing tells it."""
    from meshcode.store.contract import META

    try:
        found = json.loads((home / "mesh" / "self.json").read_bytes())
        return bytes.fromhex(found["node"])
    except (OSError, ValueError, KeyError, TypeError):
        return log.get(META, b"node") or b""


def records(log: Log, table: str, lost: list[str] | None = None) -> Iterator[tuple[bytes, bytes]]:
    """All good records of a table; in the order of their keys, where nothing is broken.

    Args:
        log: with `get`, `scan` and `count` of all tables.
        lost: takes a sentence about what lies behind broken pages; None: that is an error.

    Raises:
        LogDamaged: a page is broken, and nobody takes the sentence.
    """
    seen = 0
    last = None
    try:
        for key, value in _from(log, table, None, reverse=False):
            last, seen = key, seen + 1
            yield key, value
        return
    except LogDamaged as error:
        if lost is None:
            raise
        why = str(error).partition(": ")[2].partition(";")[0]
    with contextlib.suppress(LogDamaged):  # From the other end, up to the damage.
        for key, value in _from(log, table, None, reverse=True):
            if last is not None and key <= last:
                break
            seen += 1
            yield key, value
    try:
        told = f"{max(0, log.count(table) - seen)} of {log.count(table)} records"
    except LogDamaged:
        told = "nobody knows how many records"
    lost.append(f"table {table}: {told} lie behind broken pages and are left out ({why})")


def _from(
    log: Log, table: str, start: bytes | None, *, reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    """The records up to the end, or to a broken page; the last before it one by one."""
    limit = _PAGE
    while True:
        try:
            page = log.scan(table, start, reverse=reverse, limit=limit)
        except LogDamaged:
            if limit == _STEP:
                raise
            limit = _STEP
            continue
        if start is not None and page and page[0][0] == start:
            page = page[1:]
        if not page:
            return
        yield from page
        start = page[-1][0]


def open_calls(
    log: Log, me: bytes, lost: list[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The open calls of a log: their SUBMIT envelopes, and what people want to see of them.

    `lost` as for `records`; where the state of a call cannot be read, it is shown as it was made.
    """
    from meshcode.replica.instance import read_record
    from meshcode.router.records import split_open, split_state
    from meshcode.router.states import State
    from meshcode.store.contract import OPEN, STATE, VOTE

    unread = 0
    for key, value in records(log, OPEN, lost):
        custody, submit = split_open(value)
        try:
            vote, state = log.get(VOTE, key), log.get(STATE, key)
        except LogDamaged:
            if lost is None:
                raise
            unread += 1
            vote = state = None
        if vote is not None and read_record(0, vote).ended:
            continue  # Its outcome is chosen; the record was about to go.
        voters = custody["voters"]
        alone = len(voters) == 1
        kept = "shared" if not alone else "alone" if voters[0] == me or not me else "copy"
        changed = {} if state is None else split_state(state)
        yield {
            "type": "call", **told_of(submit), "kept": kept,
            "home": custody["home"].hex(), "voters": [node.hex() for node in voters],
            "accepted_ms": custody["accepted_ms"],
            "state": State(changed["state"]).name if changed else "WAITING",
            "attempts": changed.get("attempt", 0), "reason": changed.get("reason", ""),
            "submit": b64encode(submit).decode(),
        }  # fmt: skip
    if unread and lost is not None:
        lost.append(f"of {unread} open calls the state cannot be read: some of them may have ended")


def told_of(submit: bytes) -> dict[str, Any]:
    """What a SUBMIT envelope says, for people: id, socket, options, arguments."""
    from meshcode.ids import text_of
    from meshcode.router.records import read_envelope
    from meshcode.wire.codec import unpack_call
    from meshcode.wire.frame import check_envelope
    from meshcode.wire.kinds import Flag

    row = check_envelope(submit)
    socket, options = read_envelope(submit)
    args: list[Any] | None = None
    kwargs: dict[str, Any] = {}
    with contextlib.suppress(BadValue):  # No node reads arguments: only a worker would notice.
        args, kwargs = unpack_call(submit[row.body_at :], bool(row.flags & Flag.KWARGS))
    return {
        "id": text_of(row.id), "socket": socket, "options": options or {}, "args": args,
        "kwargs": kwargs,
    }  # fmt: skip


def ended_calls(log: Log, lost: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The history of a log, with the values and errors; `lost` as for `records`."""
    from meshcode.ids import text_of
    from meshcode.router.records import read_envelope, split_done
    from meshcode.router.states import State
    from meshcode.store.contract import DONE
    from meshcode.wire.codec import unpack
    from meshcode.wire.frame import check_envelope

    for id, value in records(log, DONE, lost):
        done = split_done(value)
        row = check_envelope(done["outcome"])
        state = State(10 + done["code"]).name
        body = unpack(done["outcome"][row.body_at :]) if row.body_at < row.end else None
        yield {
            "type": "result", "id": text_of(id),
            "socket": read_envelope(done["submit"])[0] if done["submit"] else "",
            "state": state, "accepted_ms": done["accepted_ms"],
            "finished_ms": done["finished_ms"], "attempts": done["attempts"],
            ("value" if state == "DONE" else "error"): body,
        }  # fmt: skip


# Into a node.


def _submit(path: Path, timeout: float) -> None:
    """Send every call of a file, and say how many were taken."""
    taken = refused = 0
    with session() as client, path.open("rb") as file:
        for batch in _batches(submits(file, path), _SEVERAL):
            calls = [_send(client, submit) for submit in batch]
            for call in calls:
                try:
                    call.wait_accepted(timeout)
                    taken += 1
                except CallerError as error:
                    if error.exit_status == 124:  # The rest would wait as long.
                        output.say(f"{taken} calls were taken before this; submit the file again")
                        raise
                    refused += 1
                    output.say(f"call {call.id} was refused: {error}")
    output.write(f"{taken} calls are kept by the node of this home, {refused} were refused")
    if refused:
        click.get_current_context().exit(EXIT_PARTIAL)


def _batches(items: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    from itertools import islice

    while batch := list(islice(items, size)):
        yield batch


def submits(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """The SUBMIT envelopes of a salvaged file, each checked.

    Raises:
        CallerError: a line is not what `mesh salvage` writes; it is named.
    """
    from meshcode.wire.frame import check_envelope
    from meshcode.wire.kinds import Kind

    number = 0
    while line := file.readline(LINE_BYTES_MAX):
        number += 1
        try:
            item = json.loads(line)
            if number == 1 and (item["type"], item["schema"]) != ("salvage", SCHEMA):
                raise ValueError(f"its first line is not that of a salvage of schema {SCHEMA}")
            if item["type"] != "call":
                continue
            submit = b64decode(item["submit"], validate=True)
            if check_envelope(submit).kind != Kind.SUBMIT:
                raise ValueError("it holds no call")
        except (ValueError, KeyError, TypeError, MeshError) as error:
            raise CallerError(
                f"line {number} of {path} is not what `mesh salvage` writes: {error}; the lines"
                " before it were submitted"
            ) from None
        yield submit


def _send(client: Client, submit: bytes) -> Any:
    """Submit an envelope again as it was: the same id, known perhaps to this node or a peer."""
    from meshcode.client.call import Call
    from meshcode.wire.frame import check_envelope, draft
    from meshcode.wire.kinds import Flag

    row = check_envelope(submit)
    name = submit[row.name_at : row.meta_at]
    call = Call(client, row.id, name.decode())
    again = draft(
        row.kind, id=row.id, flow=row.flow, parent=row.parent, name=name,
        meta=submit[row.meta_at : row.body_at], body=submit[row.body_at : row.end],
        flags=row.flags & ~int(Flag.FRESH) | int(Flag.AGAIN), code=row.code, argc=row.argc,
        attempt=row.attempt, number=row.number,
    )  # fmt: skip
    client.session.outbox.put(call, again)
    return call
