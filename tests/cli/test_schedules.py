"""Schedules on the command line, in Python and in files, against a real node."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import click
import pytest

from meshcode.cli.jobs import runs_of
from meshcode.cli.moment import Moment, moment_of
from meshcode.client import connect
from meshcode.client.api import Schedule, Socket
from meshcode.errors import BadRequest, ObjectExists, WrongState

FIRST = int(datetime(2099, 1, 1, tzinfo=UTC).timestamp() * 1000)
DAY = 86_400_000


@pytest.fixture
def flow(shell):
    """The shell, without any schedule before and after."""
    yield shell
    for item in shell.json("ls", "schedules"):
        shell("delete", "schedule", item["name"], "-y")


@pytest.fixture
def client(shell):
    with connect(f"ipc://{shell.home}/run/clients.ipc") as found:
        yield found


def jobs(shell, *words):
    return [(row["schedule"], row["state"], row["due_ms"])
            for row in shell.json("ls", "jobs", *words)]  # fmt: skip


def test_a_schedule_from_its_beginning_to_its_end(flow):
    out, _ = flow(
        "add", "schedule", "-n", "nightly", "-s", "shop.add", "-c", "0 3 * * *", "-tz",
        "Europe/Berlin", "--start", "2099-01-01", "--args", "[1, 2]", "--kwargs", '{"scale": 3}',
    )  # fmt: skip
    assert out == "schedule nightly added\n"
    (item,) = flow.json("get", "schedule", "nightly")
    assert (item["socket"], item["args"], item["kwargs"]) == ("shop.add", [1, 2], {"scale": 3})
    assert (item["catch_up"], item["requested_status"]) == (None, "start")
    first = FIRST + 2 * 3_600_000  # 03:00 in Berlin.
    assert jobs(flow) == [("nightly", "SCHEDULED", first + n * DAY) for n in range(5)]
    assert jobs(flow, "-n", "2") == [("nightly", "SCHEDULED", first + n * DAY) for n in range(2)]
    assert flow("ls", "jobs", "-q")[0] == "nightly\n" * 5
    assert "0 3 * * *" in flow("ls", "schedules")[0]

    assert flow("schedule", "pause", "nightly")[0] == "schedule nightly paused\n"
    assert jobs(flow) == [("nightly", "PAUSED", None)]
    assert flow("schedule", "resume", "-n", "nightly")[0] == "schedule nightly goes on\n"
    flow("update", "schedule", "nightly", "--end", "2099-01-02T00:00")
    assert jobs(flow) == [("nightly", "SCHEDULED", first)]
    flow("update", "schedule", "nightly", "-c", "none", "-i", "36h", "--start", "none", "--end",
         "2001-01-01")  # fmt: skip
    assert jobs(flow) == [("nightly", "ENDED", None)]

    _, err = flow("delete", "socket", "shop.add", "-y", status=6)
    assert "is used by schedule 'nightly'" in err
    assert flow("delete", "schedule", "nightly", "-y")[0] == "schedule nightly deleted\n"
    assert jobs(flow) == []


def test_what_is_wrong_is_said_and_nothing_is_changed(flow):
    def said(*words, status=2):
        return flow("add", "schedule", "-n", "x", "-s", "shop.add", *words, status=status)[1]

    assert "it has no time; give one of cron, interval and at" in said()
    assert "no month that it names has a day 30" in said("-c", "0 0 30 2 *")
    assert "did you mean 'Europe/Berlin'" in said("-c", "@daily", "-tz", "Europe/Berlim")
    assert "--args is not JSON" in said("-i", "5", "--args", "[1")
    assert "args is {'a': 1}; it must be a list" in said("-i", "5", "--args", '{"a": 1}')
    assert "no socket is named 'shop.ad'; did you mean 'shop.add'?" in (
        flow("add", "schedule", "-n", "x", "-s", "shop.ad", "-i", "5", status=3)[1]
    )
    flow("schedule", "pause", "x", status=3)
    assert flow.json("ls", "schedules") == []


def test_jobs_are_calls_that_wait_and_runs_by_their_time(flow):
    flow("add", "schedule", "-n", "late", "-s", "shop.add", "--at", "2099-01-01T00:00:00Z")
    err = flow("add", "schedule", "-n", "past", "-s", "shop.add", "--at", "2001-01-01",
               "--args", "[1]")[1]  # fmt: skip
    assert err == "mesh: it has no time to come: schedule past never fires\n"
    flow("delete", "schedule", "past", "-y")
    flow("add", "schedule", "-n", "even later", "-s", "shop.add", "--at", "2099-01-02", status=2)
    flow("add", "schedule", "-n", "later", "-s", "shop.add", "--at", "2099-01-02")
    moment = (datetime.now(UTC) + timedelta(hours=2)).isoformat(timespec="seconds")
    call = flow("run", "shop.add", "1", "--at", moment, "--no-wait")[0].strip()

    found = flow.json("ls", "jobs")

    assert [row["name"] for row in found] == [call, "late", "later"]
    assert [row["schedule"] for row in found] == [None, "late", "later"]
    assert [row["state"] for row in found] == ["DELAYED", "SCHEDULED", "SCHEDULED"]
    assert found[0]["due_ms"] == int(datetime.fromisoformat(moment).timestamp() * 1000)
    assert [row["due_ms"] for row in found[1:]] == [FIRST, FIRST + DAY]
    flow("call", "cancel", call)


def test_a_call_at_a_time_begins_then(shell):
    moment = datetime.now(UTC) + timedelta(seconds=1.5)

    assert shell("run", "shop.add", "1", "2", "--at", moment.isoformat())[0] == "3\n"
    assert datetime.now(UTC) >= moment
    err = shell("run", "shop.add", "1", "--at", "2001-01-01", status=2)[1]
    assert "2001-01-01 is past since" in err
    assert "it begins" not in err
    err = shell("run", "shop.add", "1", "--at", "23:59", "--delay", "5s", status=2)[1]
    assert "--at a time or after a --delay; give one" in err


def test_the_interval_of_a_socket_is_a_schedule_of_its_name(flow):
    words = ("-q", "shop.queue1", "-pn", "proc1", "-t", "do_this")
    out, _ = flow("add", "socket", "-n", "poll", *words, "-i", "3600")
    assert out == "socket poll added\nschedule poll every 1h00m\n"
    (item,) = flow.json("ls", "schedules")
    assert (item["name"], item["socket"], item["interval_ms"]) == ("poll", "poll", 3_600_000)
    assert item["args"] == ["message"]

    assert flow("update", "socket", "poll", "--interval", "90m")[0] == "schedule poll every 1h30m\n"
    assert flow.json("get", "schedule", "poll")[0]["interval_ms"] == 5_400_000
    out = flow("update", "socket", "poll", "--interval", "none", "--priority", "5")[0]
    assert out == "socket poll changed\nschedule poll deleted\n"
    assert flow.json("ls", "schedules") == []
    assert flow("update", "socket", "poll", status=2)[1].count("nothing to change") == 1
    flow("add", "schedule", "-n", "poll", "-s", "shop.add", "-i", "1h")
    err = flow("update", "socket", "poll", "-i", "5", status=6)[1]
    assert "schedule 'poll' calls socket 'shop.add'; it is unchanged" in err
    flow("delete", "socket", "poll", "-y")


def test_python_declares_schedules(flow, client):
    made = Schedule(
        "weekly", client=client, socket=Socket("shop.add", client), cron="0 0 * * MON",
        args=(1,), jitter=1.5, end=datetime.fromisoformat("2099-01-01T12:00"), timezone="UTC",
    )  # fmt: skip
    assert (made.jitter_ms, made.end, made.args) == (1_500, "2099-01-01T12:00:00", [1])
    assert made.pause().requested_status == "pause"
    assert made.resume().requested_status == "start"
    assert Schedule("weekly", client=client) == made
    with pytest.raises(ObjectExists, match="has cron '0 0 \\* \\* MON', not '@daily'"):
        Schedule("weekly", client=client, cron="@daily")
    naive = datetime.fromisoformat("2099-01-01")
    with pytest.raises(BadRequest, match=r"at: 2099-01-01 .* has no time zone, and nodes may be"):
        made.update(cron=None, at=naive, end=None)
    with pytest.raises(BadRequest, match="has no time zone"):
        Schedule("once", client=client, socket="shop.add", at=naive)
    assert Schedule.find("once", client=client) is None
    aware = datetime(2099, 1, 1, tzinfo=UTC)
    assert made.update(cron=None, at=aware, end=None).at == "2099-01-01T00:00:00+00:00"
    made.delete()

    options = {"client": client, "processor": "proc1", "task": "do_this", "queue": "shop.queue1"}
    poll = Socket("poll", interval=timedelta(minutes=1), **options)
    (found,) = Schedule.all(client=client)
    assert (found.name, found.interval_ms, found.args) == ("poll", 60_000, ["message"])
    found.update(args=["mine"])
    Socket("poll", interval=60, **options)
    assert Schedule.find("poll", client=client).args == ["mine"], "only the interval is compared"
    with pytest.raises(ObjectExists, match="has interval_ms 60000, not 5000"):
        Socket("poll", interval=5, **options)
    Socket("poll", interval=5, update=True, **options)
    assert found.refresh().interval_ms == 5_000
    assert poll.update(interval=None, priority=3).priority == 3
    assert Schedule.find("poll", client=client) is None
    with pytest.raises(WrongState):
        Schedule("other", client=client, socket="poll", interval=3_600)
        poll.delete()
    Schedule("other", client=client).delete()
    poll.delete()


def test_schedules_are_in_files(flow, tmp_path):
    file = tmp_path / "net.yaml"
    file.write_text(
        "schedules:\n  nightly: {socket: shop.add, cron: '@daily', jitter: 30s, args: [1, {a: []}],"
        "\n    end: 2099-12-24T18:00:00}\n"
    )
    flow("apply", "-f", str(file))
    (item,) = flow.json("ls", "schedules")
    assert (item["jitter_ms"], item["end"]) == (30_000, "2099-12-24T18:00:00")
    assert item["args"] == [1, {"a": []}]

    flow("schedule", "pause", "nightly")
    assert "nothing to do" in flow("apply", "-f", str(file))[0], "a pause is left as it is"
    for form in ("yaml", "json", "toml"):
        out = flow("export", "schedules", "-o", form)[0]
        again = tmp_path / f"again.{form}"
        again.write_text(out)
        assert "nothing to do" in flow("apply", "-f", str(again))[0], out
    assert json.loads(flow("export", "schedules", "-o", "json")[0])["schedules"]["nightly"][
        "jitter"] == "30s"  # fmt: skip
    file.write_text("schedules:\n  nightly: {socket: shop.add, cron: '0 0 30 2 *'}\n")
    err = flow("apply", "-f", str(file), status=2)[1]
    assert f"{file}:2: schedule 'nightly': cron is '0 0 30 2 *'; it must be one that fires" in err


NOW = datetime.fromisoformat("2026-11-26T15:00:00").astimezone()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18:00", "2026-11-26T18:00:00"), ("15:00", "2026-11-27T15:00:00"),
        ("03:00:05", "2026-11-27T03:00:05"), ("2026-12-24", "2026-12-24T00:00:00"),
        ("2026-12-24 18:00", "2026-12-24T18:00:00"),
        ("2026-12-24T18:00+02:00", "2026-12-24T18:00:00+02:00"),
        ("2026-12-24T18:00Z", "2026-12-24T18:00:00+00:00"),
    ],
)  # fmt: skip
def test_times_that_people_type(text, expected):
    assert moment_of(text, NOW) == datetime.fromisoformat(expected).astimezone()


@pytest.mark.parametrize("text", ["", "soon", "25:00", "18:00:61", "18", "2026-02-30", "tomorrow"])
def test_times_that_are_none(text):
    with pytest.raises(click.BadParameter, match="is not a time; write 18:00, 2026-12-24T18:00 or"):
        Moment().convert(text, None, None)


def test_a_schedule_that_this_machine_cannot_read_is_listed_with_the_reason():
    (row,) = runs_of({"name": "x", "socket": "s", "cron": "@daily", "timezone": "New/Zone"},
                     time.time_ns() // 1_000_000, 5)  # fmt: skip

    assert (row["state"], row["due_ms"]) == ("UNKNOWN", None)
    assert row["reason"].startswith("timezone is 'New/Zone'; it must be the name of a time zone")
