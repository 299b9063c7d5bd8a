"""The records of the log that the router writes and reads back, byte for byte.

Three tables (`store/contract.py`):

    open   sequence -> custody header, SUBMIT envelope    written once, when the call is accepted
    state  sequence -> what changed since                 only for calls that were not plain
    done   call id  -> done header, OUTCOME envelope, SUBMIT envelope, story

The custody header already carries what replication needs: generation, the boot and epoch under
which the record was made, home, owner and the voters (one voter, the home itself, so far).
A restarted node owns its calls under epoch = its new boot number, which is durable before use and
never repeated, so no epoch is ever used twice.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, Final

from meshcode import native
from meshcode.native.layout import DONE_HEAD, RECORD_VERSION
from meshcode.router.envelopes import HEADER, body_at, flow_of, meta_at
from meshcode.wire.codec import pack, unpack
from meshcode.wire.kinds import Outcome

# version, voters, generation, boot, epoch, flags, accepted_ms, home, owner; then 16 bytes a voter.
CUSTODY: Final = struct.Struct("<BBHIIIQ16s16s")
_ACCEPTED_AT: Final = CUSTODY.size - 40
_SHORT_META: Final = 32  # Bytes of options worth keeping unpacked, and how many of them are.
_METAS_KEPT: Final = 512
_HEADERS_KEPT: Final = 64

_DONE: Final = int(Outcome.DONE)
_SIXTEENTHS: Final = tuple(bytes([16 * number]) for number in range(16))


def sequence_key(sequence: int) -> bytes:
    """The log key of an open call."""
    return sequence.to_bytes(8, "big")


def custody_parts(node: bytes, boot: int) -> tuple[bytes, bytes]:
    """The custody header of a fresh call of this node, before and after its `accepted_ms`."""
    whole = CUSTODY.pack(RECORD_VERSION, 1, 0, boot, 0, 0, 0, node, node) + node
    return whole[:_ACCEPTED_AT], whole[_ACCEPTED_AT + 8 :]


@lru_cache(_HEADERS_KEPT)
def custody_header(
    home: bytes, boot: int, voters: tuple[bytes, ...], accepted_ms: int, generation: int = 0
) -> bytes:
    """The custody header of a call that several nodes keep; those of one frame have the same."""
    head = CUSTODY.pack(
        RECORD_VERSION, len(voters), generation, boot, 0, 0, accepted_ms, home, home
    )
    return head + b"".join(voters)


def home_of(value: bytes) -> bytes:
    """The node that accepted the call of an `open` record."""
    return value[CUSTODY.size - 32 : CUSTODY.size - 16]


def accepted_call(value: bytes) -> tuple[int, bytes]:
    """Only when an `open` record was accepted, and its SUBMIT envelope: recovery reads millions."""
    assert value[0] == RECORD_VERSION, value[0]
    accepted_ms = int.from_bytes(value[_ACCEPTED_AT : _ACCEPTED_AT + 8], "little")
    return accepted_ms, value[CUSTODY.size + 16 * value[1] :]


def split_open(value: bytes) -> tuple[dict[str, Any], bytes]:
    """The custody fields and the SUBMIT envelope of an `open` record."""
    version, voters, generation, boot, epoch, _flags, accepted_ms, home, owner = (
        CUSTODY.unpack_from(value)
    )
    assert version == RECORD_VERSION, version
    at = CUSTODY.size + 16 * voters
    custody = {
        "generation": generation,
        "boot": boot,
        "epoch": epoch,
        "accepted_ms": accepted_ms,
        "home": home,
        "owner": owner,
        "voters": [
            value[CUSTODY.size + 16 * n : CUSTODY.size + 16 * n + 16] for n in range(voters)
        ],
    }
    return custody, value[at:]


def pack_state(fields: dict[str, Any]) -> bytes:
    """A `state` record: what of the call is no longer as it was accepted."""
    return pack(fields)


def split_state(value: bytes) -> dict[str, Any]:
    """The fields of a `state` record."""
    fields = unpack(value)
    assert isinstance(fields, dict), fields
    return fields


def pack_done(
    code: int,
    attempts: int,
    accepted_ms: int,
    started_ms: int,
    finished_ms: int,
    sequence: int,
    outcome: bytes,
    submit: bytes,
    story: list[Any] | None,
) -> bytes:
    """A `done` record."""
    record = native.pack_done(
        code, attempts, accepted_ms, started_ms, finished_ms, sequence, outcome, submit
    )
    return record + pack(story) if story else record


def done_ops(id: bytes, record: bytes) -> list[tuple[str, bytes, bytes | None]]:
    """What puts a `done` record into the history, and into the index of what has not ended well."""
    ops: list[tuple[str, bytes, bytes | None]] = [("done", id, record)]
    if not ended_well(record):
        ops.append(("failed", id, b""))
    return ops


def stretch_of(id: bytes) -> bytes:
    """The 16 milliseconds in which an id was made, as the index of sockets names them: 6 bytes."""
    return id[:5] + _SIXTEENTHS[id[5] >> 4]


def stretch_at(unix_ms: int) -> bytes:
    """The stretch of ids made then."""
    return stretch_of(unix_ms.to_bytes(6, "big"))


def socket_of(submit: bytes) -> str:
    """The socket of a SUBMIT envelope; "" when there is none."""
    return submit[HEADER : meta_at(submit)].decode() if submit else ""


def submit_of_done(record: bytes) -> bytes:
    """Only the SUBMIT envelope of a `done` record."""
    head = DONE_HEAD.unpack_from(record)
    at: int = DONE_HEAD.size + head[8]
    return record[at : at + head[9]]


def finished_of(record: bytes) -> tuple[int, bytes]:
    """When the call of a `done` record ended, and its flow; empty where that is not known."""
    head = DONE_HEAD.unpack_from(record)
    if not head[9]:
        return head[6], b""
    at: int = DONE_HEAD.size + head[8]
    return head[6], flow_of(record[at : at + 48])


def ended_well(record: bytes) -> bool:
    """Whether the outcome of a `done` record is DONE."""
    return record[1] == _DONE


def split_done(value: bytes) -> dict[str, Any]:
    """The fields of a `done` record; `outcome` and `submit` are sealed envelopes."""
    (
        version,
        code,
        _flags,
        attempts,
        accepted_ms,
        started_ms,
        finished_ms,
        sequence,
        n_out,
        n_sub,
    ) = DONE_HEAD.unpack_from(value)
    assert version == RECORD_VERSION, version
    at = DONE_HEAD.size
    rest = value[at + n_out + n_sub :]
    return {
        "code": code,
        "attempts": attempts,
        "accepted_ms": accepted_ms,
        "started_ms": started_ms,
        "finished_ms": finished_ms,
        "sequence": sequence,
        "outcome": value[at : at + n_out],
        "submit": value[at + n_out : at + n_out + n_sub],
        "story": unpack(rest) if rest else [],
    }


def outcome_of(value: bytes) -> bytes:
    """Only the OUTCOME envelope of a `done` record."""
    at = DONE_HEAD.size
    return value[at : at + DONE_HEAD.unpack_from(value)[8]]


def read_envelope(envelope: bytes) -> tuple[str, dict[str, Any] | None]:
    """The socket name and the options of a SUBMIT envelope that was checked when it came.

    The options may be those of other calls, too: make another map in order to change them.
    """
    meta, body = meta_at(envelope), body_at(envelope)
    if meta == body:
        options = None
    elif body - meta <= _SHORT_META:
        options = _short_options(envelope[meta:body])
    else:
        options = unpack(envelope[meta:body])
    return envelope[HEADER:meta].decode(), options


@lru_cache(_METAS_KEPT)
def _short_options(meta: bytes) -> dict[str, Any]:
    """Calls with the same few options share one map: nobody changes the options of a call."""
    options: dict[str, Any] = unpack(meta)
    return options
