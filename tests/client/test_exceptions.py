"""An exception of a task as its caller gets it: its type, its arguments, its copies."""

from __future__ import annotations

import asyncio
import builtins
import copy
import inspect
import pickle
import traceback
from pathlib import Path

import pytest

from meshcode.client import connect_async
from meshcode.errors import RemoteError, TimeLimit, WaitTimeout, from_data
from meshcode.wire.codec import pack, unpack
from meshcode.worker.report import error_data

# One call of each built-in exception; those that want arguments of their own have them here.
ARGUMENTS = {
    "UnicodeDecodeError": ("utf-8", b"\xff", 0, 1, "no start"),
    "UnicodeEncodeError": ("ascii", "ü", 0, 1, "not in range"),
    "UnicodeTranslateError": ("ü", 0, 1, "no such"),
    "BaseExceptionGroup": ("two", [ValueError("a"), KeyError("b")]),
    "ExceptionGroup": ("two", [ValueError("a"), KeyError("b")]),
}
PLAIN = {"StopIteration", "StopAsyncIteration", "ExceptionGroup"}
ALL = {kind for kind in vars(builtins).values() if inspect.isclass(kind)}
EXCEPTIONS = sorted(
    (kind for kind in ALL if issubclass(kind, BaseException)), key=lambda kind: kind.__name__
)


def arrived(error: BaseException) -> RemoteError:
    """What a caller has of an error that a task raised, over the wire."""
    try:
        raise error
    except BaseException as raised:
        found = from_data(unpack(pack(error_data(raised))))
    assert isinstance(found, RemoteError)
    return found


def test_each_builtin_exception_arrives_as_itself_and_can_be_pickled_and_copied():
    """Whoever ends generators, and what no caller's `except Exception` may miss, stays plain."""
    for kind in EXCEPTIONS:
        raised = kind(*ARGUMENTS.get(kind.__name__, ("boom",)))
        found = arrived(raised)

        is_plain = kind.__name__ in PLAIN or not issubclass(kind, Exception)
        assert isinstance(found, kind) != is_plain or kind is BaseException, kind
        assert str(found).startswith(type(raised).__name__), kind
        if not is_plain:
            assert found.args == raised.args, kind
            assert repr(found) == repr(raised), kind
        assert "".join(traceback.format_exception(found))
        for twin in (pickle.loads(pickle.dumps(found)), copy.copy(found), copy.deepcopy(found)):
            assert type(twin) is type(found)
            assert (str(twin), twin.args, twin.fields) == (str(found), found.args, found.fields)
            assert twin.__notes__ == found.__notes__ and len(twin.__notes__) == 1


def test_one_that_a_task_lets_through_from_a_call_of_its_own_stays_what_it_was():
    """It came as a class of ours of the same name, and was told as a namesake."""
    for kind in EXCEPTIONS:
        first = arrived(kind(*ARGUMENTS.get(kind.__name__, ("boom",))))
        second = arrived(arrived(first))

        assert type(second) is type(first)
        assert (str(second), second.args) == (str(first), first.args), kind
        assert second.type_name == first.type_name
        assert second.fields.get("args") == first.fields.get("args")
        assert first.traceback_text in second.traceback_text


def test_what_a_task_makes_of_one_is_the_tasks_own():
    class Late(RemoteError):
        pass

    error = RemoteError("of no call")
    assert (arrived(error).type_name, str(arrived(error))) == (
        "RemoteError", "RemoteError: of no call",
    )  # fmt: skip
    assert arrived(Late("boom", type="ValueError")).type_name == "Late"
    assert not isinstance(arrived(Late("boom", type="ValueError")), ValueError)
    limit = TimeLimit("over its limit", type="TimeLimit")
    assert (type(arrived(limit)), str(arrived(limit))) == (RemoteError, "TimeLimit: over its limit")


def test_an_error_of_a_file_knows_its_number_and_names(tmp_path):
    gone = tmp_path / "gone"
    with pytest.raises(FileNotFoundError) as caught:
        gone.rename(tmp_path / "there")  # Its names are a Path's, which is no plain data.

    found = arrived(caught.value)

    assert isinstance(found, FileNotFoundError)
    assert (found.errno, found.strerror) == (2, "No such file or directory")
    assert (found.filename, found.filename2) == (str(gone), str(tmp_path / "there"))
    assert found.args == caught.value.args
    assert pickle.loads(pickle.dumps(found)).filename == str(gone)


def test_an_exception_whose_arguments_did_not_come_is_the_nearest_that_can_be_made():
    data = {"code": "remote", "text": "cannot decode", "fields": {"type": "UnicodeDecodeError"}}

    found = from_data(data)

    assert isinstance(found, UnicodeError) and not isinstance(found, UnicodeDecodeError)
    assert (str(found), found.args) == ("cannot decode", ("cannot decode",))


def test_arguments_that_are_no_plain_data_are_left_out():
    found = arrived(ValueError("boom", Path))

    assert isinstance(found, ValueError) and found.args == (str(found),)


def test_a_group_tells_its_members():
    """asyncio.TaskGroup raises nothing else."""
    inner = ExceptionGroup("inner", [ValueError("boom"), KeyError("k")])
    found = arrived(ExceptionGroup("outer", [inner, OSError(2, "no", "f")]))

    assert type(found) is RemoteError
    assert str(found) == (
        "ExceptionGroup: outer (2 sub-exceptions): ValueError: boom; KeyError: 'k'; "
        "FileNotFoundError: [Errno 2] no: 'f'"
    )
    many = arrived(ExceptionGroup("many", [ValueError(n) for n in range(99)]))
    assert str(many).endswith("ValueError: 9; ...")


def test_a_namesake_of_a_builtin_exception_is_not_taken_for_it():
    """Libraries have a TimeoutError or ConnectionError of their own, which is no OSError."""

    class TimeoutError(Exception):
        pass

    found = arrived(TimeoutError("no answer"))

    assert type(found) is RemoteError
    assert found.type_name == f"{__name__}.TimeoutError"
    assert str(found) == "TimeoutError: no answer"


def test_an_error_of_ours_that_is_a_builtin_too_can_be_pickled():
    twin = pickle.loads(pickle.dumps(WaitTimeout("not yet", id="1")))

    assert (type(twin), str(twin), twin.fields) == (WaitTimeout, "not yet", {"id": "1"})


@pytest.mark.parametrize("name", ["StopIteration", "StopAsyncIteration", "GeneratorExit"])
def test_what_ends_generators_does_not_end_those_of_the_client(client, peer, name):
    fail = client.socket("fail")

    for read in (
        lambda: list(fail.map([name])),
        lambda: list(fail.starmap([[name]])),
        lambda: list(fail.submit(name).items()),
    ):
        with pytest.raises(RemoteError, match="boom"):
            read()

    async def waits() -> None:
        async with await connect_async(peer.address) as mesh:
            with pytest.raises(RemoteError, match="boom"):
                await mesh.socket("fail")(name)
            with pytest.raises(RemoteError, match="boom"):
                _ = [value async for value in mesh.socket("fail").map([name])]

    asyncio.run(waits())
