"""What commands say, and do, where a person mistyped or could not know better; on a real node."""

from __future__ import annotations

import pytest

from meshcode.cli import names

NO_TEXT = "sh\udcffop"  # What the shell gives as `$'sh\xffop'`.


@pytest.mark.parametrize(
    "line",
    [
        ("run", NO_TEXT),
        ("add", "privilege", "-n", "RUN_TASK", "-u", "joe", "--on", NO_TEXT),
        ("add", "queue", "-n", NO_TEXT),
        ("ls", "calls", "--socket", NO_TEXT),
        ("proc", "start", NO_TEXT),
    ],
    ids=" ".join,
)
def test_a_name_that_is_no_unicode_is_a_fault_of_the_command_line(shell, line):
    _, err = shell(*line, status=2)

    assert "is text that is not Unicode" in err
    assert len(err.splitlines()) == 1


def test_a_home_that_is_no_unicode_has_names_to_complete_too():
    assert names.file_of(f"ipc:///{NO_TEXT}") != names.file_of("ipc:///shop")
