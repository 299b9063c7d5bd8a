"""The two ways of the log to LMDB: the same rows, the same errors, the same files."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from meshcode.store import binding
from meshcode.store.contract import DONE, META, OPEN, STATE, TABLES
from meshcode.store.engine import MAIN, Engine, OpenEngine, Section, every_row, write
from meshcode.store.engine_py import PyEngine
from meshcode.store.lmdb_log import LmdbLog
from meshcode.store.opening import ALL_TABLES, BLOB_TABLE

try:
    from meshcode.store.engine_c import NativeEngine
except ImportError:
    pytest.skip("the C twin was not compiled here", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
WAYS: list[OpenEngine] = [NativeEngine, PyEngine]
Made = Callable[[OpenEngine, str], Engine]


@pytest.fixture
def made(quick_folder: Path) -> Iterator[Made]:
    """Opens an engine with all tables in a folder of that name; closed at the end of the test."""
    opened: list[Engine] = []

    def make(way: OpenEngine, name: str) -> Engine:
        (quick_folder / name).mkdir(exist_ok=True)
        engine = way(quick_folder / name, map_bytes=4 * MIB, tables_max=20, writable=True)
        opened.append(engine)
        engine.open_tables(ALL_TABLES, create=True)
        return engine

    yield make
    for engine in opened:
        engine.close()


def number(n: int) -> bytes:
    return n.to_bytes(8, "big")


def random_sections(rng: random.Random) -> list[Section]:
    """Changes of up to four tables; keys come again, in any order, and past the end, too."""
    sections = []
    for table in rng.sample(ALL_TABLES, 4):
        changes: dict[bytes, bytes | None] = {}
        low = rng.randrange(1000)
        for _ in range(rng.randrange(40)):
            key = number(rng.randrange(low, low + 40)) + b"k" * rng.choice([0, 1, 100])
            size = rng.choice([0, 1, 30, 300, 1990, 2100, 9000])
            changes[key] = None if rng.random() < 0.3 else rng.randbytes(size)
        sections.append(Section(table, table in TABLES and rng.random() < 0.8, changes))
    return sections


def test_both_make_the_same_rows_of_the_same_history(made: Made):
    """Several stages before a commit, stages given up, and the map grown in between."""
    rng = random.Random(20261127)
    engines = [made(way, str(n)) for n, way in enumerate(WAYS)]
    for engine in engines:
        engine.resize(16 * MIB)
    for turn in range(150):
        stages = [random_sections(rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        is_kept = rng.random() < 0.9
        for engine in engines:
            for sections in stages:
                engine.stage(sections)
            engine.commit() if is_kept else engine.abort()
            if turn % 50 == 49:
                engine.resize(engine.info().map_bytes + 16 * MIB)

    ours, theirs = engines
    for table in ALL_TABLES:
        assert list(every_row(ours, table)) == list(every_row(theirs, table))
    counts = [[stat.entries for stat in e.stats([MAIN, *ALL_TABLES])] for e in engines]
    assert counts[0] == counts[1]
    assert ours.info().last_commit == theirs.info().last_commit
    assert ours.page_bytes == theirs.page_bytes


def test_both_find_the_same(made: Made):
    rng = random.Random(7)
    engines = [made(way, str(n)) for n, way in enumerate(WAYS)]
    keys = [rng.randbytes(rng.choice([1, 2, 8, 480])) for _ in range(200)]
    for engine in engines:
        write(engine, [Section(OPEN, True, {key: key * 3 for key in keys[::2]})])
    ours, theirs = engines

    for start in [b"", b"\0", b"\xff" * 481, *keys]:
        for reverse in (False, True):
            for limit in (0, 1, 7, 10**6):
                found = ours.rows(OPEN, start, reverse=reverse, limit=limit)
                assert found == theirs.rows(OPEN, start, reverse=reverse, limit=limit)
                for engine in engines:
                    only = engine.keys(OPEN, start, reverse=reverse, limit=limit)
                    assert only == [key for key, _ in found]
    assert ours.get_many(OPEN, keys) == theirs.get_many(OPEN, keys)
    assert ours.get_many(OPEN, keys) == [ours.get(OPEN, key) for key in keys]
    assert [ours.get(OPEN, key) for key in keys] == [theirs.get(OPEN, key) for key in keys]
    for engine in engines:
        assert engine.get_many(OPEN, []) == []
        assert engine.rows(DONE, b"", limit=9) == []
        assert engine.rows(DONE, b"", reverse=True, limit=9) == []


@pytest.mark.parametrize("first", [0, 1])
def test_a_log_that_one_has_written_opens_in_the_other(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch, first: int
):
    """Each goes on where the other one was, and leaves nothing that a verification minds."""
    truth: dict[bytes, bytes] = {}
    for turn in range(6):
        monkeypatch.setattr(binding, "open_engine", WAYS[(first + turn) % 2])
        with LmdbLog(quick_folder, map_size=MIB) as log:
            assert log.boot == turn + 1
            assert (log.opened.verified, log.damaged()) == (turn > 0, [])
            assert dict(log.scan(DONE)) == truth
            new = {number(turn * 100 + n): bytes([n]) * (n * 100) for n in range(90)}
            new[number(turn)] = bytes([turn]) * 100_000
            old = list(truth)[::3]
            log.stage([(DONE, key, value) for key, value in new.items()])
            log.stage([(DONE, key, None) for key in old])
            log.sync()
            truth = {key: value for key, value in {**truth, **new}.items() if key not in old}
        (quick_folder / "lock").write_text("1 another-boot-of-the-system\n")  # So it verifies.

    found = lmdb.open(str(quick_folder), max_dbs=20, readonly=True, lock=False)
    assert found.stat()["entries"] == len(ALL_TABLES)
    found.close()


def error_of(action: Callable[[], object]) -> tuple[type[lmdb.Error], int]:
    with pytest.raises(lmdb.Error) as caught:
        action()
    return type(caught.value), caught.value.code


def test_both_fail_alike(made: Made, quick_folder: Path):
    """`opening.py` tells full from broken by these."""

    def open_missing(way: OpenEngine) -> None:
        way(quick_folder / "missing", map_bytes=MIB, tables_max=20, writable=False)

    def open_garbage(way: OpenEngine) -> None:
        (quick_folder / "garbage").mkdir(exist_ok=True)
        (quick_folder / "garbage" / "data.mdb").write_bytes(b"my diary" * 5000)
        way(quick_folder / "garbage", map_bytes=MIB, tables_max=20, writable=True)

    def lack_a_table(way: OpenEngine) -> None:
        made(way, way.__name__).open_tables(["nothing"], create=False)

    def fill(way: OpenEngine) -> None:
        rows: dict[bytes, bytes | None] = {number(n): bytes(60_000) for n in range(100)}
        write(made(way, way.__name__ + "-full"), [Section(DONE, True, rows)])

    def put_long_key(way: OpenEngine) -> None:
        write(made(way, way.__name__ + "-key"), [Section(DONE, True, {b"k" * 512: b""})])

    for action in (open_missing, open_garbage, lack_a_table, fill, put_long_key):
        ours, theirs = (error_of(lambda way=way, action=action: action(way)) for way in WAYS)
        assert ours == theirs, action
    assert error_of(lambda: open_garbage(NativeEngine))[0] is lmdb.InvalidError
    assert error_of(lambda: fill(NativeEngine))[0] is lmdb.MapFullError


def test_after_an_error_the_next_batch_is_kept(made: Made):
    engine = made(NativeEngine, "log")
    with pytest.raises(lmdb.MapFullError, match=r"mdb_put: MDB_MAP_FULL"):
        write(engine, [Section(DONE, True, {number(n): bytes(60_000) for n in range(100)})])

    write(engine, [Section(META, False, {b"k": b"v"})])

    assert engine.rows(META, b"", limit=9) == [(b"k", b"v")]
    assert engine.rows(DONE, b"", limit=9) == []


# Another process that has LMDB's write lock until it is told to let go; exit 3 when nobody does.
_HOLD = """
import select, sys, lmdb
env = lmdb.open(sys.argv[1], max_dbs=20)
with env.begin(write=True):
    print("held", flush=True)
    told = select.select([sys.stdin], [], [], 60)[0]
sys.exit(0 if told else 3)
"""


def test_a_batch_is_put_without_the_interpreter(made: Made, quick_folder: Path):
    """The one call that puts waits for a lock which only another thread of Python can set free.

    That thread cannot run before the call, for this one keeps the interpreter until then.
    """
    engine = made(NativeEngine, "log")
    other = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(quick_folder / "log")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdin is not None and other.stdout is not None
    assert other.stdout.readline() == "held\n"
    begins = threading.Lock()
    begins.acquire()

    def let_go() -> None:
        with begins:
            other.communicate("let go\n")

    thread = threading.Thread(target=let_go)
    thread.start()
    engine.stage([Section(OPEN, True, {number(n): bytes(300) for n in range(1000)})])
    kept = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # Who has the interpreter keeps it until it gives it up.
    try:
        begins.release()
        engine.commit()
    finally:
        sys.setswitchinterval(kept)
        thread.join()

    assert engine.stats([OPEN])[0].entries == 1000
    assert other.returncode == 0


def set_batch(engine: NativeEngine, data: bytes, sizes: list[int], sections: list[int]) -> None:
    engine._data, engine._sizes, engine._sections = data, array("I", sizes), array("I", sections)


@pytest.mark.parametrize(
    ("sizes", "sections"),
    [
        ([1, 3], [1, 1, 0, 1]),  # Beyond the data.
        ([1, 1], [1, 1, 0, 1]),  # Some data is left.
        ([1, 2**32 - 1], [1, 1, 0, 1]),
        ([2**32 - 1, 4], [1, 1, 0, 1]),  # Wraps in 32 bits.
        ([1, 2], [1, 1, 0, 2]),  # More items than sizes.
        ([1, 2], [1, 1, 0, 2**32 - 1]),
        ([1, 2], [1, 1, 0, 2**31 + 1]),  # Twice that wraps in 32 bits.
        ([1, 2], [1, 0, 0, 1]),  # A size is left.
        ([1, 2], []),
        ([1, 2], [1, 3, 0, 1]),  # No such kind.
    ],
)
def test_a_batch_whose_sizes_lie_is_refused(made: Made, sizes: list[int], sections: list[int]):
    engine = made(NativeEngine, "log")
    assert isinstance(engine, NativeEngine)
    before = engine.info()
    set_batch(engine, b"abc", sizes, sections)

    with pytest.raises(lmdb.InvalidParameterError, match="sizes and sections do not fit the data"):
        engine.commit()

    engine.abort()
    assert engine.info() == before


def test_whatever_a_batch_says_it_is_put_or_refused(made: Made):
    """Numbers of a good batch changed at random; run under valgrind, it shows no wrong access."""
    rng = random.Random(3)
    engine = made(NativeEngine, "log")
    assert isinstance(engine, NativeEngine)
    engine.resize(64 * MIB)
    refused = 0
    for _ in range(500):
        engine.stage(random_sections(rng))
        for numbers in (engine._sizes, engine._sections):
            for _ in range(rng.randrange(3)):
                at = rng.randrange(len(numbers) or 1)
                if numbers and not (numbers is engine._sections and at % 4 == 0):
                    numbers[at] = rng.choice([0, 1, 2, 3, numbers[at] ^ 1, rng.getrandbits(32)])
        try:
            engine.commit()
        except lmdb.Error:
            refused += 1
            engine.abort()

    assert 100 < refused < 500
    write(engine, [Section(STATE, True, {b"k": b"v"})])
    assert engine.get_many(STATE, [b"k"]) != [None]


def test_a_table_that_is_not_there_is_refused(made: Made):
    engine = made(NativeEngine, "log")
    assert isinstance(engine, NativeEngine)
    set_batch(engine, b"abc", [1, 2], [99, 1, 0, 1])

    assert error_of(engine.commit) == (lmdb.InvalidParameterError, 22)


def binding_of(**environment: str) -> str:
    """Which twin a fresh interpreter chooses."""
    kept = {k: v for k, v in os.environ.items() if k != "MESHCODE_PURE"}
    run = subprocess.run(
        [sys.executable, "-c", "from meshcode.store import binding; print(binding.BINDING)"],
        env={**kept, "PYTHONPATH": str(ROOT), **environment}, cwd=ROOT,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return run.stdout.strip()


def test_the_c_twin_is_chosen_where_it_is_and_may_be_left_out():
    assert binding_of() == "c"
    assert binding_of(MESHCODE_PURE="1") == "py"


def test_another_library_is_not_taken_for_lmdb(tmp_path: Path):
    from meshcode.native import _staging

    load, text = _staging.lib.mesh_store_load, _staging.ffi.string
    assert text(load(os.fsencode(_staging.__file__))) == b"mdb09_version"
    assert text(load(os.fsencode(tmp_path / "nothing.so"))) == b"the library cannot be opened"


def test_rows_of_blobs_stand_as_they_are(quick_folder: Path):
    """What is put raw gets no check of its own."""
    with LmdbLog(quick_folder) as log:
        log.stage([(DONE, b"k", b"x" * 100_000)])
        log.sync()
        ((place, reference),) = every_row(log._engine, BLOB_TABLE)
        assert (place[1:], len(reference)) == (b"k", 40)
        assert log.get(DONE, b"k") == b"x" * 100_000
