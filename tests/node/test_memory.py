"""What a node may take of memory, and how many calls are enough for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshcode.errors import CallerError
from meshcode.limits import CALL_BYTES, OPEN_CALLS_MAX, OPEN_CALLS_MIN
from meshcode.node.memory import Memory, bytes_of_machine, most_bytes, own_bytes
from tests.node.scarcity import no_descriptors

MIB = 1024 * 1024


def test_while_there_is_room_as_many_more_fit_as_it_holds():
    memory = Memory(100 * MIB)

    assert memory.calls_max(5_000, 60 * MIB) == 5_000 + 40 * MIB // CALL_BYTES


def test_never_more_than_a_node_keeps():
    assert Memory(1 << 50).calls_max(0, 0) == OPEN_CALLS_MAX


def test_as_many_as_fitted_once_fit_again_although_memory_is_not_given_back():
    memory = Memory(100 * MIB)
    memory.calls_max(90_000, 99 * MIB)

    assert memory.calls_max(0, 99 * MIB) >= 90_000


def test_over_the_limit_no_more_than_there_are_and_they_may_come_again():
    memory = Memory(100 * MIB)
    memory.calls_max(50_000, 90 * MIB)

    assert memory.calls_max(60_000, 101 * MIB) == 50_000
    assert memory.calls_max(100, 101 * MIB) == 50_000  # They ended; their memory is used again.


def test_fewer_fit_when_the_same_number_takes_more():
    memory = Memory(100 * MIB)
    memory.calls_max(50_000, 90 * MIB)

    assert memory.calls_max(20_000, 110 * MIB) == 20_000
    assert memory.calls_max(30_000, 105 * MIB) == 20_000  # It takes less than it did: no fewer.
    assert memory.calls_max(15_000, 120 * MIB) == 15_000


def test_some_are_always_taken_and_more_when_memory_is_free_again():
    memory = Memory(100 * MIB)

    assert memory.calls_max(3, 200 * MIB) == OPEN_CALLS_MIN
    assert memory.calls_max(3, 50 * MIB) == 3 + 50 * MIB // CALL_BYTES


def test_the_machine_has_what_its_control_group_may_take(tmp_path: Path):
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    own = tmp_path / "own"
    assert bytes_of_machine(tmp_path, own) == physical

    (tmp_path / "memory.max").write_text("max\n")
    assert bytes_of_machine(tmp_path, own) == physical

    (tmp_path / "memory.max").write_text(f"{300 * MIB}\n")
    assert bytes_of_machine(tmp_path, own) == 300 * MIB

    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{200 * MIB}\n")
    assert bytes_of_machine(tmp_path, own) == 200 * MIB


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("0::/system.slice/mesh.service", "system.slice/mesh.service/memory.max"),
        ("0::/system.slice/mesh.service", "system.slice/memory.max"),
        ("4:cpu,memory:/docker/1", "memory/docker/1/memory.limit_in_bytes"),
        ("4:memory:/docker/1", "memory/memory.limit_in_bytes"),
    ],
)
def test_the_limit_may_be_that_of_its_own_group_or_of_one_around_it(
    line: str, file: str, tmp_path: Path
):
    own = tmp_path / "own"
    own.write_text(f"12:pids:/other\n{line}\n")
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(f"{300 * MIB}\n")

    assert bytes_of_machine(tmp_path, own) == 300 * MIB


def test_own_bytes_rise_with_what_is_taken():
    before = own_bytes()
    taken = bytearray(os.urandom(1)) * (64 * MIB)

    assert own_bytes() - before >= 60 * MIB, len(taken)


def test_the_setting_is_bytes_half_of_the_machine_or_refused():
    assert most_bytes("1GiB") == 1 << 30
    assert most_bytes("0") == max(bytes_of_machine() // 2, 64 * MIB)
    with pytest.raises(CallerError, match="1048576 bytes; a node needs 67108864 at least"):
        most_bytes("1MiB")


def test_own_bytes_are_known_when_nothing_can_be_opened_any_more():
    """The node asks every second."""
    own_bytes()
    with no_descriptors():
        assert own_bytes() > 0
