"""Hostile bytes against the wire: `./dev fuzz SECONDS`, or `python tests/fuzz/fuzz_wire.py`.

Every input goes through both framing twins, which must agree to the last number, and through the
codec, which must give a value or raise BadValue and nothing else.  A value that was read must be
written and read again to the same bytes.  Most inputs fail at a checksum at once, so each is also
tried with its magics, sizes and checksums put right.

With atheris installed the inputs are guided by coverage; without it they are random changes of
valid ones, from one seed.  An input that fails is written to a file and its name is printed.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from meshcode.errors import BadValue  # noqa: E402
from meshcode.ids import make_ids  # noqa: E402
from meshcode.native.layout import Column  # noqa: E402

try:
    import atheris
except ImportError:
    atheris = None

if atheris is not None:
    with atheris.instrument_imports(include=["meshcode.wire", "meshcode.native"]):
        from meshcode import native
        from meshcode.native import pure
        from meshcode.wire import codec, frame, general
else:
    from meshcode import native
    from meshcode.native import pure
    from meshcode.wire import codec, frame, general

try:
    from meshcode.native import compiled
except ImportError:
    compiled = None

TWINS = [pure] if compiled is None else [pure, compiled]


def verdict(function: Callable[..., Any], *args: Any) -> tuple[Any, ...]:
    """What a twin says: `("good", result)` or `("fault", code, offset, found, expected)`."""
    try:
        return "good", function(*args)
    except pure.Fault as fault:
        return "fault", fault.code, fault.offset, fault.found, fault.expected


def repaired(data: bytes) -> bytes:
    """The same bytes with what no random change gets right put right, as far as they go."""
    fixed = bytearray(data)
    if len(fixed) < 40:
        return data
    fixed[:8] = b"MESH\x01\x00\x00\x00"
    fixed[12:16] = len(fixed).to_bytes(4, "little")
    fixed[32:36] = bytes(4)
    at, count = 40, 0
    while len(fixed) - at >= 80 and count < 64:
        fixed[at : at + 3] = b"mE\x01"
        size = int.from_bytes(fixed[at + 8 : at + 12], "little")
        if not 80 <= size <= len(fixed) - at:
            break
        count, at = count + 1, at + size
    if at == len(fixed):
        fixed[8:12] = count.to_bytes(4, "little")
    try:
        pure.seal(fixed)
    except pure.Fault:
        fixed[36:40] = pure.crc32(fixed[:36]).to_bytes(4, "little")
    return bytes(fixed)


def wrong_of_frame(data: bytes) -> list[str]:
    """Index as a frame, check as an envelope, scan and seal by both twins; what is not right."""
    wrong = []
    every = bytes(Column)
    for name, args in (
        ("index", ()), ("pick", (every,)), ("check", ()), ("scan", (1, 64)), ("scan", (2, 65)),
    ):  # fmt: skip
        said = [verdict(getattr(twin, name), data, *args) for twin in TWINS]
        if said[0] != said[-1]:
            wrong.append(f"the twins' {name} differ: {said}")
    sealed = [bytearray(data) for _ in TWINS]
    said = [verdict(twin.seal, buffer) for twin, buffer in zip(TWINS, sealed, strict=True)]
    if said[0] != said[-1] or sealed[0] != sealed[-1]:
        wrong.append(f"the twins' seal differ: {said}")
    try:
        _, rows = frame.index(data)
    except frame.BadFrame:
        return wrong
    again = frame.frame([data[row.start : row.end] for row in rows])
    if frame.index(again)[1] != rows:
        wrong.append("a good frame is not the same after it was taken apart")
    return wrong


def read_by(twin: Any, read: Callable[..., Any], *args: Any) -> tuple[str, Any]:
    """What a reader of the codec does with the given twin; the threshold is the twin's too."""
    kept = native.scan, general._COUNT_BYTES_MAX, codec._unpack_simple, codec._unpack_items
    native.scan = twin.scan
    general._COUNT_BYTES_MAX = 0 if twin is compiled else 64 * 1024
    codec._unpack_simple, codec._unpack_items = twin.unpack_simple, twin.unpack_items
    try:
        return "value", read(*args)
    except BadValue as error:
        return "error", str(error)
    finally:
        native.scan, general._COUNT_BYTES_MAX, codec._unpack_simple, codec._unpack_items = kept


def wrong_of_data(data: bytes) -> list[str]:
    """Read as packed data in each way; what comes out must be written and read again."""
    wrong = []
    for read, *args in (
        (codec.unpack, data),
        (codec.unpack_map, data),
        (codec.unpack_call, data, False),
        (codec.unpack_call, data, True),
    ):
        said = [read_by(twin, read, *args) for twin in TWINS]
        if repr(said[0]) != repr(said[-1]):
            wrong.append(f"{read.__name__} says two things: {said}")
        if said[0][0] == "value" and read is codec.unpack:
            once = codec.pack(said[0][1])
            if once != general.pack_at(0, said[0][1]):
                wrong.append(f"a simple value is written otherwise than by msgpack: {once!r}")
            if codec.pack(codec.unpack(once)) != once:
                wrong.append(f"a value is not the same when it is written again: {once!r}")
    return wrong


def try_bytes(data: bytes) -> None:
    """One input, in all ways.

    Raises:
        AssertionError: something was not right.  Any other exception is a finding too.
    """
    wrong = wrong_of_frame(data) + wrong_of_frame(repaired(data)) + wrong_of_data(data)
    assert not wrong, wrong


def seeds() -> list[bytes]:
    """Valid inputs to begin with."""
    from datetime import UTC, date, datetime, timedelta
    from datetime import time as day_time
    from decimal import Decimal
    from uuid import UUID

    values: list[Any] = [
        None, True, 0, -1, 2**63, 2**64, -(2**70), 1.5, float("nan"), "text", "é" * 40, b"bytes",
        [], [1, [2, [3]]], (), (1, (2, (3,))), {"a": 1, 2: b"x", (1, 2): None},
        datetime(2026, 11, 23, 12, tzinfo=UTC), date(2026, 11, 23), day_time(12, 30),
        timedelta(days=-1, microseconds=5), Decimal("1.20"), UUID(int=7), list(range(300)),
        {"version": 1, "session": bytes(16), "pid": 7}, [["x" * 300] * 3, {"k": [()]}],
    ]  # fmt: skip
    try:
        import numpy
    except ImportError:
        pass
    else:
        values.append(numpy.arange(6, dtype="<f4").reshape(2, 3))
        values.append(numpy.array(["2026-11-23"], dtype="M8[D]"))
    packed = [codec.pack(value) for value in values]
    call = codec.pack_call([1, "two"], {"three": 3})
    ids = make_ids(3, made_ms=1)
    drafts = [frame.draft(2, id=i, name=b"a.b", meta=b"\x80", body=call, argc=2) for i in ids]
    frames = [
        frame.seal_frame(drafts, sequence=1),
        frame.seal_frame(drafts[:1]),
        frame.frame([]),
        frame.envelope(13, id=ids[0], body=packed[3]),
    ]
    return [*packed, call, *frames]


def changed(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """A few random changes: flip, overwrite, cut, repeat, insert, splice."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(out))
        match rng.randrange(7):
            case 0 if out:
                out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[rng.randrange(len(out))] = rng.choice((0, 1, 0x7F, 0x80, 0xC1, 0xDD, 0xFF))
            case 2:
                del out[at:]
            case 3:
                out[at:at] = out[at : at + rng.randint(1, 90)]
            case 4:
                out[at:at] = rng.randbytes(rng.randint(1, 8))
            case 5:
                del out[at : at + rng.randint(1, 16)]
            case _:
                other = rng.choice(others)
                out[at:] = other[rng.randint(0, len(other)) :]
    return bytes(out[:100_000])


def run_random(seconds: float, seed: int) -> int:
    """Random changes until the time is over; returns the number of inputs tried.

    Raises:
        AssertionError: an input failed; it is in the file that the note names.
    """
    rng = random.Random(seed)
    pool = seeds()
    kept = len(pool)
    until = time.monotonic() + seconds
    count = 0
    while time.monotonic() < until:
        data = changed(rng, rng.choice(pool), pool)
        count += 1
        try:
            try_bytes(data)
        except BaseException as error:
            with tempfile.NamedTemporaryFile(prefix="fuzz-wire-", delete=False) as file:
                file.write(data)
            error.add_note(f"input {count} of seed {seed} failed; it is in {file.name}")
            raise
        # Changed inputs are changed further, so that the pool wanders.
        pool.append(data)
        if len(pool) > 500:
            del pool[rng.randrange(kept, len(pool))]
    return count


def run_guided(seconds: int, seed: int, corpus: str) -> NoReturn:
    """Hand over to atheris, which ends the process; a failed input is in the file that it names."""
    options = [f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=4096", "-timeout=20"]
    options += [f"-artifact_prefix={tempfile.gettempdir()}/fuzz-wire-", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, corpus], try_bytes)
    atheris.Fuzz()
    raise AssertionError("atheris came back")


def main() -> None:
    """Run for the given seconds; the exit status is not 0 when an input failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--random", action="store_true", help="do not use atheris")
    parser.add_argument("--corpus", help=argparse.SUPPRESS)
    parser.add_argument("inputs", nargs="*", help="files to try once, instead of fuzzing")
    asked = parser.parse_args()
    for name in asked.inputs:
        try_bytes(Path(name).read_bytes())
        print(f"{name}: good")
    if asked.inputs:
        return
    twins = " and ".join(twin.__name__.rsplit(".", 1)[-1] for twin in TWINS)
    print(f"fuzzing {twins} for {asked.seconds} s", flush=True)
    if atheris is None or asked.random:
        count = run_random(asked.seconds, asked.seed)
        print(f"{count} inputs of seed {asked.seed} tried, 0 failed")
        return
    if asked.corpus:
        run_guided(asked.seconds, asked.seed, asked.corpus)
    # libFuzzer ends its process without any cleaning up, so it has one of its own.
    with tempfile.TemporaryDirectory(prefix="fuzz-wire-") as folder:
        for n, data in enumerate(seeds()):
            (Path(folder) / f"seed-{n:02d}").write_bytes(data)
        command = [sys.executable, __file__, "--corpus", folder]
        command += ["--seconds", str(asked.seconds), "--seed", str(asked.seed)]
        status = subprocess.run(command, check=False).returncode
    sys.exit(status)


if __name__ == "__main__":
    main()
