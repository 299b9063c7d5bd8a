"""`mesh up`, `mesh down`, `mesh status`."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from meshcode import paths
from meshcode.cli import output, plain
from meshcode.cli.options import DURATION, command, styled
from meshcode.cli.output import Style
from meshcode.cli.session import beside, refuse_home_of_others, session
from meshcode.errors import WaitTimeout, WrongState

if TYPE_CHECKING:
    import psutil

_NEXT = "mesh add queue -n q1"
_KEEP = "{} kept; 0 for no limit.  [setting]"


@command()
@click.option("--foreground", is_flag=True, help="Become the node instead of starting one.")
@click.option("--timeout", type=DURATION, default="15s", show_default=True, help="Longest wait.")
@click.option("--memory", metavar="SIZE", help="Most memory of the node; 0 for half.  [setting]")
@click.option("--retention-age", metavar="AGE", help=_KEEP.format("How long ended calls are"))
@click.option("--retention-calls", metavar="COUNT", help=_KEEP.format("Most ended calls"))
@click.option("--retention-bytes", metavar="SIZE", help=_KEEP.format("Most bytes of them"))
@click.option("--bind", multiple=True, metavar="tcp://IP:PORT",
              help="Of a node in a mesh: listen there from now on, instead of where it did.")
@click.option("--advertise", multiple=True, metavar="HOST:PORT",
              help="Where others reach it from now on.  [default with --bind: the bound addresses]")
@styled
def up(
    foreground: bool,
    timeout: int,
    memory: str | None,
    retention_age: str | None,
    retention_calls: str | None,
    retention_bytes: str | None,
    bind: tuple[str, ...],
    advertise: tuple[str, ...],
    style: Style,
) -> None:
    """Start the node of this user in the background, and wait until it answers.

    Examples:
      mesh up
      mesh --home /srv/mesh up
      mesh up --foreground                    for a service manager
      mesh up --retention-age 30d --retention-bytes 20GB
      mesh up --bind tcp://10.0.0.5:7430      another address in its mesh; the others learn it
    """
    from meshcode import config
    from meshcode.cli import mesh, nodes, process

    given = {"memory": memory, "retention_age": retention_age, "retention_calls": retention_calls,
             "retention_bytes": retention_bytes}  # fmt: skip
    more = {
        config.KEYS[name].variable: str(config.check(name, value, f"--{name.replace('_', '-')}"))
        for name, value in given.items() if value is not None
    }  # fmt: skip
    home = paths.home()
    refuse_home_of_others(home)
    found = process.ask_status(home, timeout=2.0)
    if found is not None and found.get("ending"):
        begun = time.monotonic()
        _wait_for_end(found, timeout, home)
        timeout = max(1000, timeout - int((time.monotonic() - begun) * 1000))
        found = None
    if found is not None:
        _tell_up(found, placed=bool(bind or advertise), set_=bool(more))
        _show_up(found, home, style)
        return
    silent = process.find_process(home)
    if silent is not None:
        raise WrongState(f"{process.silence(home, silent.pid)}; nothing was started")
    nodes.refuse_evicted()
    if bind or advertise:
        mesh.move(bind, advertise)
    else:
        mesh.renew()
    if foreground:
        os.chdir("/")
        command = process.node_command(home)
        os.execve(sys.executable, command, process.node_environment(home, more))
    with process.open_log(home) as log:
        child = process.spawn_node(home, log, more=more)
    found = process.wait_until_answers(home, child, timeout=timeout / 1000)
    _show_up(found, home, style)


def _tell_up(found: dict[str, Any], *, placed: bool, set_: bool) -> None:
    """The node is up already: what it was to be started with now has no effect.

    Args:
        placed: it was given addresses.
        set_: it was given settings.

    Raises:
        WrongState: it was given addresses.
    """
    if placed:
        raise WrongState(
            f"the node is up, pid {found.get('pid')}; its addresses were not changed; run `mesh"
            " down` first"
        )
    kept = "; it keeps the settings it was started with" if set_ else ""
    drains = "; it drains: `mesh down` and `mesh up` let it take calls again"
    drains = drains if found.get("state") == "draining" else ""
    output.say(f"the node is up already: pid {found.get('pid')}{kept}{drains}")


def _wait_for_end(found: dict[str, Any], timeout: int, home: str) -> None:
    """A node that was told to stop answers until what runs has ended: it is not up for long.

    Raises:
        WaitTimeout: it has not ended within `timeout` milliseconds; nothing was started.
    """
    from meshcode.cli import process

    target = process.prove(home, int(found["pid"]), found.get("boot"))
    if target is None:  # It ended between two questions.
        return
    running = (found.get("calls") or {}).get("running", 0)
    output.say(
        f"process {target.pid} was told to stop and finishes {running} running calls; the node"
        " starts when it has ended"
    )
    if not process.wait_gone(target, timeout / 1000):
        raise WaitTimeout(
            f"process {target.pid} was told to stop and has not ended within"
            f" {plain.length_of_time(timeout)}; nothing was started; wait on with `mesh up`, or end"
            " it with `mesh down --now`"
        )


def _show_up(found: dict[str, Any], home: str, style: Style) -> None:
    item = {
        "name": "node",
        "pid": found.get("pid"),
        "home": home,
        "address": paths.clients_address(home),
        "log": paths.log_file(home),
        "boot": found.get("boot"),
        "version": found.get("version"),
    }
    pairs = [(k, str(item[k])) for k in ("pid", "home", "log")]
    if item["boot"] == 1 and not found.get("model"):  # Nothing is declared in its mesh yet.
        pairs.append(("next", _NEXT))
    output.show_facts("node", item, pairs, style)


@command()
@click.option("--timeout", type=DURATION, default="30s", show_default=True, help="Longest wait.")
@click.option("--now", is_flag=True, help="Do not wait for running calls.")
def down(timeout: int, now: bool) -> None:
    """Finish what runs and stop the node. What waits is kept and goes on after `mesh up`.

    Examples:
      mesh down
      mesh down --timeout 5m                  for calls that take long
      mesh down --now                         running calls are interrupted and run again
    """
    from meshcode.cli import leave, process

    home = paths.home()
    refuse_home_of_others(home)
    found = process.ask_status(home, timeout=2.0)
    if found is not None or process.find_process(home) is not None:
        leave.ask(home, "node.down", audited=True, name="--now" if now else "")
    if found is None:
        silent = process.find_process(home)
        if silent is None:
            output.say(f"no node is up in {home}")
            return
        output.say(f"process {silent.pid} of {home} does not answer; telling it to stop")
        _terminate(silent, twice=now)
        _wait(silent, timeout, home)
        return
    target = process.prove(home, int(found["pid"]), found.get("boot"))
    if target is None:
        output.write("the node is down")  # It ended between two questions.
        return
    running = (found.get("calls") or {}).get("running", 0)
    if running and not now:
        output.say(f"waiting for {running} running calls")
    # The first SIGTERM drains, the same as asking: and who has just ended need not answer.
    _terminate(target, twice=now)
    _wait(target, timeout, home)


def _terminate(target: psutil.Process, *, twice: bool) -> None:
    import psutil

    from meshcode.cli import process

    with contextlib.suppress(psutil.NoSuchProcess):
        target.terminate()
        # The second one is told apart from the first only when the first was taken.
        if twice and not process.wait_gone(target, 0.3):
            target.terminate()


def _wait(target: psutil.Process, timeout: int, home: str) -> None:
    from meshcode.cli import process

    if process.wait_gone(target, timeout / 1000):
        output.write("the node is down")
        return
    raise WaitTimeout(
        f"process {target.pid} has not ended within {plain.length_of_time(timeout)}; it takes no"
        f" new calls; wait on with `mesh down`, or end it with `mesh down --now`; its log is"
        f" {paths.log_file(home)}"
    )


@command()
@styled
def status(style: Style) -> None:
    """Say what the node is doing.

    Examples:
      mesh status
      mesh status -o json | jq '.items[0].calls'
    """
    with session() as client:
        found = dict(client.ask("status"))
        mesh = beside("the mesh", lambda: dict(client.ask("mesh.status")))
    item = {"name": "node", **found, "mesh": mesh if mesh and mesh["mesh"] else None}
    pairs = [] if mesh is None else mesh_pairs(mesh)
    output.show_facts("node", item, [*status_pairs(found), *pairs], style)


def status_pairs(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The facts of a status for people."""
    calls = dict(found.get("calls") or {})
    log = dict(found.get("log") or {})
    opened = calls.pop("open", 0)
    detail = ", ".join(f"{count} {state}" for state, count in calls.items())
    pairs = [
        ("node", str(found.get("node", ""))[:8]),
        ("state", str(found.get("state", ""))),
        ("pid", str(found.get("pid", ""))),
        ("up", plain.length_of_time(found.get("uptime_ms") or 0)),
        ("boot", str(found.get("boot", ""))),
        ("version", str(found.get("version", ""))),
        ("home", str(found.get("home", ""))),
        ("clients", str(found.get("clients", ""))),
        (
            "calls",
            f"{opened} open" + (f": {detail}" if detail else "") + f"; {found.get('done', 0)} kept",
        ),
        ("memory", memory_text(found.get("memory") or {})),
        ("open files", _files_text(found.get("descriptors") or {})),
        ("log", _log_text(log)),
        ("history", history_text(found.get("history") or {})),
        ("model", model_text(found.get("model_problem"))),
    ]
    for worker in found.get("workers") or ():
        cpu = "" if worker.get("cpu") is None else f", cpu {worker['cpu']}"
        pairs.append(
            (
                f"worker {worker.get('id')}",
                f"{worker.get('processor')}, {worker.get('state')}, pid {worker.get('pid')}{cpu},"
                f" {worker.get('calls', 0)} calls",
            )
        )
    for processor in found.get("processors") or ():
        why = processor.get("parked") or processor.get("knot")
        if why or processor.get("building"):
            why = why or processor.get("doing")
            pairs.append((f"processor {processor.get('name')}", str(why)))
    return pairs


def mesh_pairs(mesh: dict[str, Any]) -> list[tuple[str, str]]:
    """The facts of a mesh, as one node sees it, for people; none without a mesh."""
    if not mesh["mesh"]:
        return []
    states = "".join(f", {count} {state}" for state, count in sorted(mesh["states"].items()))
    gone = f"; {mesh['evicted']} evicted" if mesh["evicted"] else ""
    pairs = [
        ("mesh", f"{mesh['mesh'][:8]}, this is {mesh['name']} ({mesh['class']})"),
        ("peers", f"{mesh['up']} of {mesh['known']} linked{states}{gone}"),
        ("no link to", ", ".join(mesh["unlinked"])), ("left", ", ".join(mesh["left"])),
        ("discovery", mesh["discovery"]),
        ("orphans", f"{mesh['orphans']}: see `mesh recover`" if mesh["orphans"] else ""),
        ("evicted", "this node is evicted: see `mesh salvage`" if mesh["this_evicted"] else ""),
        ("doorkeeper", "" if mesh["keeper_alive"] else "DEAD: nobody gets in; restart the node"),
    ]
    pairs += [("model", text) for text in mesh["problems"]]
    return pairs + [("refused", text) for text in mesh["refused"][-3:]]


def model_text(problem: dict[str, Any] | None) -> str:
    """Why the model's database cannot be used and since when; "" while it can."""
    if not problem:
        return ""
    return f"since {plain.local_time(problem['since_ms'])}: {problem['text']}"


def history_text(history: dict[str, Any]) -> str:
    """What is kept of ended calls, since when, and the limits."""
    if not history:
        return ""
    since = history["since_ms"]
    limits = (
        plain.length_of_time(history["age_ms"]) if history["age_ms"] else "",
        f"{history['calls_max']:,} calls" if history["calls_max"] else "",
        size_text(history["bytes_max"]) if history["bytes_max"] else "",
    )
    return (
        f"{history['calls']:,} calls, {size_text(history['bytes'])}"
        + (f", since {plain.local_time(since)}" if since else "")
        + f"; at most {', '.join(filter(None, limits)) or 'what the disk holds'}"
    )


def memory_text(memory: dict[str, Any]) -> str:
    """What the node takes and may take of memory, and how many open calls that is enough for."""
    if not memory:
        return ""
    return (
        f"{size_text(memory['used'])} used of at most {size_text(memory['limit'])}; enough for "
        f"{memory['calls_max']:,} open calls"
    )


def _files_text(found: dict[str, Any]) -> str:
    """Of the node's open files; only when they have become too many."""
    if not found.get("shut_ms"):
        return ""
    since = plain.local_time(found["shut_ms"])
    return f"{found['used']:,} of {found['limit']:,}: NO NEW CLIENTS since {since}"


def _log_text(log: dict[str, Any]) -> str:
    if not log:
        return ""
    text = f"{size_text(log.get('used'))} used, {size_text(log.get('disk_free'))} free on disk"
    damaged = log.get("damaged") or []
    if log.get("full_ms"):
        since = plain.local_time(log["full_ms"])
        text += f"; FULL since {since}: no calls are taken, outcomes wait for room"
        if log.get("stuck"):
            text += ", and are so many that nothing begins"
    elif log.get("level"):
        text += "; nearly full: no calls are taken"
        if log.get("left", 0) < log.get("needed", 0):
            text += f" until {size_text(log['needed'])} are free, {size_text(log['left'])} are"
    return text + (f"; {len(damaged)} DAMAGED records" if damaged else "")


def size_text(size: Any) -> str:
    """Bytes for people: `12.3 MiB`."""
    value = float(size or 0)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def say_of_here(status: dict[str, Any], what: str) -> None:
    """Say on stderr, in a mesh of several nodes, that figures are those of the one asked."""
    others = status.get("peers") or 0
    if others:
        ones = "the other node tells its own" if others == 1 else f"the {others} others tell theirs"
        output.say(
            f"mesh: {what} of this node, {status['name']}; {ones}: `mesh --node NAME ...`"
        )
