"""A mesh in folders: one that was founded, an invitation, and a door that a thread serves."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from meshcode.cli.demo.many.stage import free_port
from meshcode.trust import founding, identity
from meshcode.trust.desk import Desk
from meshcode.trust.door import JoinDoor, join_hosts
from meshcode.trust.founding import Place
from meshcode.trust.invites import Invites
from meshcode.trust.joining import Wish
from meshcode.trust.line import Line
from meshcode.trust.rosterfile import RosterFile

NOW = 1_700_000_000_000  # Unix milliseconds of tests that pass their own clock.
NOWHERE = Place((), (), ())


def unix_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def picture(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file and folder below, with its mode and a hash of its content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = (path.stat().st_mode, content)
    return found


class Seed:
    """A home whose node founded a mesh and admits."""

    def __init__(self, folder: Path, *, name: str = "alpha") -> None:
        self.base = str(folder / name)
        self.port = free_port()
        place = Place(
            (f"tcp://127.0.0.1:{free_port()}",), ("tcp://127.0.0.1:7420",),
            (f"tcp://127.0.0.1:{self.port}",),
        )  # fmt: skip
        self.identity = founding.found_mesh(
            self.base, name=name, kind="core", domain="rack1", place=place, now_unix_ms=NOW
        )
        self.file = RosterFile(self.base, self.identity.root_key)
        self.roster = self.file.load()
        self.invites = Invites(self.base)
        self.admit_key = identity.load_admit_key(self.base)
        self.root_key = identity.load_root_key(self.base)
        self.news: list[tuple] = []

    @property
    def mesh_folder(self) -> Path:
        """The folder of keys, roster and invitations."""
        return Path(self.base) / "mesh"

    def desk(self, **options) -> Desk:
        """What answers joiners, without a link."""
        return Desk(
            self.identity, self.admit_key, self.roster, self.file, self.invites, **options
        )

    def invite(self, *, now_unix_ms: int = NOW, ttl_ms: int = 60_000, **more) -> Line:
        """An invitation as its line says it."""
        more = {"kind": "core", **more}
        found, secret = self.invites.make(ttl_ms=ttl_ms, now_unix_ms=now_unix_ms, **more)
        return Line(found.id, secret, join_hosts(self.identity), self.identity.public)

    def door(self, **options) -> JoinDoor:
        """The join link, served by nobody yet."""
        return JoinDoor(self.base, self.identity, self.roster, self.file, **options)

    @contextmanager
    def serving(self, clock=unix_ms, **options) -> Iterator[JoinDoor]:
        """The join link, served by a thread until the block ends; its news go to `news`."""
        door = self.door(**options)
        stop = threading.Event()
        trouble: list[BaseException] = []

        def serve() -> None:
            try:
                while not stop.is_set():
                    self.news += door.handle(clock())
                    poller = zmq.Poller()
                    for link in door.links():
                        poller.register(link, zmq.POLLIN)
                    if door.links():
                        poller.poll(20)
                    else:
                        stop.wait(0.02)
            except BaseException as error:
                trouble.append(error)
            finally:
                door.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield door
        finally:
            stop.set()
            thread.join()
            assert not trouble, trouble


def wish(name: str = "beta", **more) -> Wish:
    """How a joiner of these tests wants to be known."""
    more = {"wait_ms": 5_000, **more}
    return Wish(name, more.pop("domain", ""), more.pop("place", NOWHERE), **more)


def random_bytes(count: int) -> bytes:
    """Bytes that are surely not the right ones."""
    return os.urandom(count)
