"""A stand-in for a node in tests of the networks: it counts from whom it hears.

    python -m tests.mesh.standin ADDRESS PORT FILE      answer each line, write it to FILE

Every line that comes is appended to FILE and sent back.
"""

from __future__ import annotations

import socketserver
import sys
from pathlib import Path


class Answer(socketserver.StreamRequestHandler):
    """Echo lines, and keep them."""

    def handle(self) -> None:
        """Until the other side leaves."""
        for line in self.rfile:
            with Path(sys.argv[3]).open("ab") as file:
                file.write(line)
            self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    """A thread for each connection, ended with the process."""

    daemon_threads = True
    allow_reuse_address = True


if __name__ == "__main__":
    with Server((sys.argv[1], int(sys.argv[2])), Answer) as server:
        print("ready", flush=True)
        server.serve_forever()
