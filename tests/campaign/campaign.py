"""The kill -9 campaign: real node, real workers, real clients, killed at random under load.

    python -m tests.campaign.campaign --kills 200 [--seconds S] [--seed N] [--keep FOLDER]
        [--flows PERCENT]

The node runs a task from a git repository that appends one line to an outside file and returns a
function of its argument.  Clients write histories.  Router, workers, model process and clients are
killed with -9 at seeded moments and started again, and now and then the node is drained, the
processor restarted, a worker frozen.  Then all is left in peace, the clients collect their
outcomes, the mesh's own listing is exported, and `checker.py` judges from outside.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil

from meshcode.ids import parse_id, text_of
from meshcode.wire.kinds import Kind, Outcome
from tests.live.harness import ROOT, Mesh, make_repository, until
from tests.live.rawlink import NoAnswer, RawLink, body_of

HEAL_S = 120.0  # The promise is judged this long after the last kill.
PAGE = 1_000
MODULE = "outside.effects"
SOCKET = "outside.effects.turn"

TASK = '''
"""The campaign's task: its effect is a line in a file outside the mesh."""

import json
import os
import time

from meshcode.worker.context import current_call

FILE = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def turn(value):
    """Append a line, then return a function of `value`; some calls take their time."""
    call = current_call()
    line = {"id": call.id_text, "attempt": call.attempt, "value": value}
    os.write(FILE, (json.dumps(line) + "\\n").encode())
    if value % 97 == 0:
        time.sleep(0.05)
    if value % 1999 == 0:
        time.sleep(1.5)
    return (value * 1103515245 + 12345) % 2147483648


def fold(values, extra):
    """Append a line, then return all numbers together, of lists in lists too."""
    call = current_call()
    line = {"id": call.id_text, "attempt": call.attempt, "value": extra}
    os.write(FILE, (json.dumps(line) + "\\n").encode())
    return (add(values) + extra) % 2147483648


def add(value):
    return sum(map(add, value)) if isinstance(value, list) else value
'''


class Campaign:
    """One campaign in one folder."""

    def __init__(
        self, folder: Path, seed: int, clients: int, workers: int, flows: int = 0
    ) -> None:
        """Nothing runs yet."""
        self.flows = flows  # Of a hundred calls.
        self.folder = folder
        self.seed = seed
        self.rng = Random(seed)
        self.workers = workers
        self.mesh = Mesh(folder / "home")
        self.clients: list[subprocess.Popen[bytes] | None] = [None] * clients
        self.kills: Counter[str] = Counter()
        self.orders: Counter[str] = Counter()  # What an operator may do as well.
        self.back_s: list[float] = []  # From the start of a killed node to its first answer.

    # The world.

    def prepare(self) -> None:
        """Node, code, model, clients."""
        repository = self.folder / "repository"
        make_repository(repository, {"outside/__init__.py": "", "outside/effects.py": TASK})
        self.mesh.start()
        self.mesh.offer(
            "campaign", repository, MODULE, ["turn", "fold"], workers=self.workers, retries=1_000,
            retry_delay_ms=5, env={"EFFECTS": str(self.folder / "effects.jsonl")},
        )  # fmt: skip
        self.mesh.wait_ready("campaign", self.workers)
        for number in range(len(self.clients)):
            self.start_client(number)

    def start_client(self, number: int) -> None:
        """A client, or its next life: same history, same ids."""
        history = self.folder / f"history-{number}.jsonl"
        with (self.folder / f"client-{number}.txt").open("ab") as out:
            self.clients[number] = subprocess.Popen(
                [sys.executable, "-m", "tests.campaign.client", self.mesh.address, str(history),
                 str(self.seed), SOCKET, str(self.flows)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT, env=self.mesh.env,
            )  # fmt: skip

    # Killing.

    def kill_one(self) -> None:
        """One kill -9, or one of the ruder orders of an operator."""
        acts = (self._kill_node, self._kill_worker, self._kill_client, self._kill_model,
                self._drain_node, self._restart_processor, self._freeze_worker)  # fmt: skip
        self.rng.choices(acts, weights=(27, 33, 27, 4, 3, 3, 3))[0]()

    def _drain_node(self) -> None:
        """SIGTERM under load: what runs may finish, what waits is kept."""
        status = self.mesh.stop()
        assert status == 0, f"the node drained with status {status}: {self.mesh.words()}"
        self.orders["drain"] += 1
        self.mesh.start()

    def _restart_processor(self) -> None:
        """Fresh workers for the same code, the old ones leave."""
        self.mesh.ask("proc", do="restart", name="campaign")
        self.orders["restart"] += 1

    def _freeze_worker(self) -> None:
        """A worker that does not answer for a while, and then goes on as if nothing had been."""
        pids = sorted(self.mesh.worker_pids())
        if not pids:
            return
        pid = self.rng.choice(pids)
        if kill(pid, signal.SIGSTOP):
            self.orders["freeze"] += 1
            self.pause(self.rng.uniform(0.2, 1.0))
            kill(pid, signal.SIGCONT)

    def _kill_node(self) -> None:
        self.mesh.kill()
        self.kills["node"] += 1
        self.pause(self.rng.uniform(0, 0.3))
        begin = time.monotonic()
        self.mesh.start()
        self.back_s.append(time.monotonic() - begin)

    def _kill_worker(self) -> None:
        pids = sorted(self.mesh.worker_pids())
        if pids and kill(self.rng.choice(pids)):
            self.kills["worker"] += 1

    def _kill_model(self) -> None:
        for child in self.mesh.children():
            with suppress(psutil.Error):  # It ends just now.
                if "meshcode.model.server" in " ".join(child.cmdline()) and kill(child.pid):
                    self.kills["model"] += 1

    def _kill_client(self) -> None:
        number = self.rng.randrange(len(self.clients))
        client = self.clients[number]
        assert client is not None
        assert client.poll() is None, f"client {number} ended by itself: {self.words_of(number)}"
        client.kill()
        client.wait()
        self.kills["client"] += 1
        self.pause(self.rng.uniform(0, 0.1))
        self.start_client(number)

    def words_of(self, number: int) -> str:
        """What a client printed, which is nothing while all is well."""
        return (self.folder / f"client-{number}.txt").read_text()[-2_000:]

    @staticmethod
    def pause(seconds: float) -> None:
        """Let the world run for a moment: the load is the point, nothing waits for this."""
        end = time.monotonic() + seconds
        until(lambda: time.monotonic() >= end, seconds + 5, "time passes", every=seconds or 0.001)

    def rage(self, kills: int, seconds: float) -> None:
        """Kill until there were `kills` of them or the time is over."""
        end = time.monotonic() + seconds
        while self.kills.total() < kills and time.monotonic() < end:
            self.pause(self.rng.uniform(0.05, 1.0))
            self.kill_one()

    # Healing and judging.

    def heal(self) -> float:
        """No more kills; seconds until every client has all its outcomes and left."""
        begin = time.monotonic()
        (self.folder / "stop").touch()
        for number, client in enumerate(self.clients):
            assert client is not None
            left = max(0.1, HEAL_S - (time.monotonic() - begin))
            try:
                client.wait(left)
            except subprocess.TimeoutExpired:
                client.kill()
                client.wait()
                print(f"client {number} still waits after {HEAL_S:.0f} s of peace", flush=True)
                continue
            assert client.returncode == 0, f"client {number}: {self.words_of(number)}"
        return time.monotonic() - begin

    def export(self) -> int:
        """Write what the mesh says of every call to listing.jsonl; returns how many records."""
        rows = []
        link = self.mesh.link()
        try:
            before: dict[str, str] = {}
            while page := link.ask("call.list", rows=PAGE, **before)["calls"]:
                ids = [parse_id(row["id"]) for row in page]
                values = outcomes_of(link, ids)
                for row, id in zip(page, ids, strict=True):
                    if row["socket"] == "@flow":  # Its outcome says where its value is.
                        values[id] = None
                    rows.append({
                        "id": row["id"], "state": row["state"], "reason": row["reason"],
                        "result": values.get(id),
                    })  # fmt: skip
                before = {"before": page[-1]["id"]}
        finally:
            link.close()
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (self.folder / "listing.jsonl").write_text(text)
        return len(rows)

    def close(self) -> None:
        """Leave nothing running."""
        for client in self.clients:
            if client is not None and client.poll() is None:
                client.kill()
                client.wait()
        self.mesh.stop()


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal, by default -9; False when the process had gone by itself."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def outcomes_of(link: RawLink, ids: list[bytes]) -> dict[bytes, object]:
    """The values of those calls that are DONE, from the log, by watching them."""
    unknown = link.ask("call.watch", ids=ids)["unknown"]
    assert not unknown, f"listed but not known: {[text_of(id) for id in unknown]}"
    found: dict[bytes, object] = {}
    for row, data in link.receive(0):
        if row.kind == Kind.OUTCOME:
            found[row.id] = body_of(row, data) if row.code == Outcome.DONE else None
    return found


def run(folder: Path, args: argparse.Namespace) -> int:
    """One campaign; 0 when nothing was broken."""
    campaign = Campaign(folder, args.seed, args.clients, args.workers, args.flows)
    began = time.monotonic()
    try:
        campaign.prepare()
        raging = time.monotonic()
        campaign.rage(args.kills, args.seconds)
        raged_s = time.monotonic() - raging
        healed_s = campaign.heal()
        records = campaign.export()
    except (AssertionError, NoAnswer):
        print(f"seed {args.seed}: the campaign itself broke after {dict(campaign.kills)} kills")
        raise
    finally:
        campaign.close()
    kills = ", ".join(f"{count} {name}" for name, count in sorted(campaign.kills.items()))
    print(f"seed             {args.seed}")
    print(f"kills            {campaign.kills.total()} in {raged_s:.0f} s: {kills}")
    orders = ", ".join(f"{count} {name}" for name, count in sorted(campaign.orders.items()))
    print(f"orders           {orders or 'none'}")
    print(f"healed           {healed_s:.1f} s after the last kill")
    if campaign.back_s:
        ordered = sorted(campaign.back_s)
        middle, worst = ordered[len(ordered) // 2], ordered[-1]
        print(f"node back        median {middle:.2f} s, worst {worst:.2f} s after its start")
    print(f"records          {records}, {records / raged_s:.0f} calls/s under fire")
    print(f"whole            {time.monotonic() - began:.0f} s", flush=True)
    checker = Path(__file__).with_name("checker.py")
    return subprocess.run([sys.executable, str(checker), str(folder)], check=False).returncode


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200, help="stop after so many")
    parser.add_argument("--seconds", type=float, default=3600.0, help="or after so long")
    parser.add_argument("--seed", type=int, default=None, help="default: drawn and printed")
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--flows", type=int, default=0, help="of a hundred calls are flows")
    parser.add_argument("--keep", type=Path, help="folder to keep everything in")
    args = parser.parse_args(arguments)
    if args.seed is None:
        args.seed = int.from_bytes(os.urandom(3), "big")
    if args.keep:
        args.keep.mkdir(parents=True)
        return run(args.keep, args)
    with tempfile.TemporaryDirectory(prefix="meshkill-", ignore_cleanup_errors=True) as folder:
        return run(Path(folder), args)


if __name__ == "__main__":
    sys.exit(main())
