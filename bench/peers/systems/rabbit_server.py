"""A private RabbitMQ node with an epmd of its own."""

from __future__ import annotations

from pathlib import Path

from bench.peers.peer import Unavailable
from bench.peers.servers import Child, free_port, program, says_version

# Debian's program of this name on PATH changes to another user first.
PROGRAMS = "/usr/lib/rabbitmq/bin"


class Rabbit:
    """On loopback, one classic node, defaults but for the busy waiting of its schedulers.

    The runtime tuning guide of RabbitMQ advises to turn that off where cores are shared: here they
    are shared with client and worker.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "rabbit"
        self.folder.mkdir()
        program("rabbitmq-server")  # Refused before the ports are taken.
        own = Path(PROGRAMS) / "rabbitmq-server"
        self.program = str(own) if own.exists() else program("rabbitmq-server")
        self.port, self.dist, self.epmd = free_port(), free_port(), free_port()
        self.config = self.folder / "rabbitmq.conf"
        self.config.write_text("loopback_users = none\n")
        self.start()

    def start(self) -> None:
        """Returns when it takes connections."""
        env = {
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": f"peers{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
            "ERL_EPMD_PORT": str(self.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        self.child = Child([self.program], self.folder, "rabbitmq-server", env)
        self.child.until(self._answers)

    def _answers(self) -> bool:
        import pika
        import pika.exceptions

        try:
            pika.BlockingConnection(pika.URLParameters(self.url)).close()
        except (pika.exceptions.AMQPError, OSError):
            return False
        return True

    @property
    def url(self) -> str:
        """For its clients."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def version(self) -> str:
        """That of its package: the program itself takes seconds to say it."""
        try:
            said = says_version("dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server")
        except OSError as error:
            raise Unavailable(f"dpkg-query: {error}") from error
        return f"rabbitmq-server {said.split('-')[0]}"

    def length(self, queue: str) -> int:
        """Messages of a queue."""
        import pika

        link = pika.BlockingConnection(pika.URLParameters(self.url))
        try:
            declared = link.channel().queue_declare(queue, passive=True)
            return int(declared.method.message_count)
        finally:
            link.close()
