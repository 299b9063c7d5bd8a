"""A private Redis server with its append-only file."""

from __future__ import annotations

from pathlib import Path

from bench.peers.servers import Child, free_port, listens, program, says_version


class Redis:
    """On loopback, without snapshots, appending to a file as told."""

    def __init__(self, folder: Path, fsync: str) -> None:
        """`fsync` is what Redis calls appendfsync: everysec or always."""
        self.folder, self.fsync = folder, fsync
        self.program = program("redis-server")
        self.port = free_port()
        self.start()

    def start(self) -> None:
        """Returns when it answers; what it had on disk is loaded first."""
        self.child = Child(
            [self.program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir",
             str(self.folder), "--appendonly", "yes", "--appendfsync", self.fsync, "--save", ""],
            self.folder, "redis-server",
        )  # fmt: skip
        self.child.until(self._loaded)

    def _loaded(self) -> bool:
        if not listens(self.port):
            return False
        import redis

        try:
            return bool(redis.Redis(port=self.port).ping())
        except redis.exceptions.BusyLoadingError:
            return False

    @property
    def url(self) -> str:
        """For its clients, without the number of the database."""
        return f"redis://127.0.0.1:{self.port}"

    def version(self) -> str:
        """Its own."""
        return "redis-server " + says_version(self.program, "--version").split("v=")[1].split()[0]

    def length(self, name: str) -> int:
        """Items of a list in database 0."""
        import redis

        return int(redis.Redis(port=self.port).llen(name))
