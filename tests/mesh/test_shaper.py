"""The shaper against a plain echo server: each kind of weather does what it says, and heals."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.live.harness import until
from tests.mesh.shaper import CHUNK_BYTES, CHUNKS_WAITING, DROP, FLOW, HOLD, REFUSE, Shaper

AB, BA = ("a", "b"), ("b", "a")
SOON_S = 5.0
A_WHILE_S = 0.3  # Long enough to see that nothing comes.


class Echo:
    """A TCP server that sends back what it gets, and remembers how its connections ended."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.heard = bytearray()
        self.connections = 0
        self.ends: list[str] = []
        self.answering = True
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        try:
            while data := connection.recv(CHUNK_BYTES):
                self.heard += data
                if self.answering:
                    connection.sendall(data)
            self.ends.append("FIN")
        except OSError:
            self.ends.append("RST")
        connection.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.listener.close()


@pytest.fixture
def shaper(echo: Echo) -> Iterator[Shaper]:
    with Shaper(seed=1) as one:
        one.listen("a", "b", "127.0.0.1", echo.port)
        yield one


def dial(shaper: Shaper) -> socket.socket:
    """A connection from a to b."""
    link = socket.create_connection(("127.0.0.1", shaper.ports[AB]), SOON_S)
    link.settimeout(SOON_S)
    return link


def ask(link: socket.socket, data: bytes) -> bytes:
    """Send, and read as much back."""
    link.sendall(data)
    return read(link, len(data))


def read(link: socket.socket, size: int) -> bytes:
    """Exactly so many bytes, or what came before the end."""
    found = b""
    while len(found) < size and (data := link.recv(size - len(found))):
        found += data
    return found


def silent(link: socket.socket, seconds: float = A_WHILE_S) -> bool:
    """Whether nothing at all comes, not even an end."""
    link.settimeout(seconds)
    try:
        link.recv(1)
    except TimeoutError:
        return True
    finally:
        link.settimeout(SOON_S)
    return False


def test_in_clear_weather_bytes_pass_unchanged(shaper: Shaper):
    data = bytes(range(256)) * 8192  # 2 MiB
    with dial(shaper) as link:
        threading.Thread(target=link.sendall, args=(data,), daemon=True).start()

        assert read(link, len(data)) == data
    assert shaper.figures()[AB]["passed"] == len(data)


def test_the_end_of_a_stream_passes(shaper: Shaper, echo: Echo):
    with dial(shaper) as link:
        ask(link, b"x")
        link.shutdown(socket.SHUT_WR)

        assert link.recv(1) == b""
    until(lambda: echo.ends == ["FIN"], SOON_S, "the server sees the end")
    until(lambda: shaper.figures()[AB]["open"] == 0, SOON_S, "the shaper lets go")


def test_delay_is_per_way_and_adds_up_in_both(shaper: Shaper):
    shaper.change([AB], delay_ms=100)
    shaper.change([BA], delay_ms=50)
    with dial(shaper) as link:
        began = time.monotonic()
        ask(link, b"ping")
        took = time.monotonic() - began

    assert 0.15 <= took < 1.0, took


def test_delay_does_not_limit_the_speed(shaper: Shaper):
    """Bytes under way do not wait for those before them to arrive."""
    shaper.change([AB], delay_ms=200)
    data = bytes(800_000)
    with dial(shaper) as link:
        began = time.monotonic()
        threading.Thread(target=link.sendall, args=(data,), daemon=True).start()
        read(link, len(data))
        took = time.monotonic() - began

    assert 0.2 <= took < 1.5, took


def test_jitter_keeps_the_order(shaper: Shaper):
    shaper.change([AB], delay_ms=1, jitter_ms=40)
    with dial(shaper) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(50):
            link.sendall(number.to_bytes(2, "big"))

        found = read(link, 100)
    assert found == b"".join(number.to_bytes(2, "big") for number in range(50))


def test_bandwidth_is_held(shaper: Shaper):
    shaper.change([AB], bytes_per_s=200_000)
    with dial(shaper) as link:
        began = time.monotonic()
        ask(link, bytes(100_000))
        took = time.monotonic() - began

    assert 0.45 <= took < 2.0, took


def test_a_held_way_delivers_late_and_whole(shaper: Shaper, echo: Echo):
    with dial(shaper) as link:
        ask(link, b"before")
        shaper.change([AB], mode=HOLD)
        link.sendall(b"held")

        assert silent(link)
        assert bytes(echo.heard) == b"before"
        shaper.heal()
        assert read(link, 4) == b"held"


def test_a_held_way_pushes_back(shaper: Shaper):
    """The shaper keeps about a MiB; the rest stays with who sends."""
    shaper.change([AB], mode=HOLD)
    with dial(shaper) as link:
        link.settimeout(A_WHILE_S)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 64 << 20:
                sent += link.send(bytes(CHUNK_BYTES))

    assert sent < CHUNK_BYTES * CHUNKS_WAITING + (16 << 20)


def test_one_way_the_answers_are_held_and_the_questions_arrive(shaper: Shaper, echo: Echo):
    with dial(shaper) as link:
        ask(link, b"before")
        shaper.change([BA], mode=HOLD)
        link.sendall(b"there")

        until(lambda: bytes(echo.heard) == b"beforethere", SOON_S, "the question arrives")
        assert silent(link)
        shaper.heal([BA])
        assert read(link, 5) == b"there"


def test_through_a_held_way_no_connection_is_made(shaper: Shaper, echo: Echo):
    """The port takes the connection, as a kernel with a backlog would, but the other never sees it
    before the way flows.
    """
    shaper.change([AB], mode=HOLD)
    with dial(shaper) as link:
        link.sendall(b"hello")
        assert silent(link)
        assert echo.connections == 0

        shaper.heal()

        assert read(link, 5) == b"hello"


def test_the_end_of_one_side_is_not_heard_through_a_held_way(shaper: Shaper, echo: Echo):
    """A machine that vanished behind a broken cable: the other side knows nothing."""
    link = dial(shaper)
    ask(link, b"x")
    shaper.change([AB], mode=HOLD)
    link.close()
    watch = threading.Event()
    watch.wait(A_WHILE_S)
    assert echo.ends == []

    shaper.heal()

    until(lambda: echo.ends == ["FIN"], SOON_S, "it hears of it now")


def test_a_dropping_way_is_half_open_and_ends_in_a_reset(shaper: Shaper, echo: Echo):
    with dial(shaper) as link:
        ask(link, b"before")
        shaper.change([AB], mode=DROP)
        link.sendall(b"lost")
        assert silent(link)
        assert shaper.figures()[AB]["dropped"] == 4

        shaper.heal()

        with pytest.raises(ConnectionResetError):
            link.recv(1)
    until(lambda: echo.ends != [], SOON_S, "the server is told as well")
    assert bytes(echo.heard) == b"before"


def test_a_connection_that_lost_nothing_goes_on_after_a_drop(shaper: Shaper):
    with dial(shaper) as link:
        ask(link, b"before")
        shaper.change([AB, BA], mode=DROP)
        shaper.heal()

        assert ask(link, b"after") == b"after"


def test_both_ends_may_go_behind_a_dropping_way_and_hear_nothing(shaper: Shaper, echo: Echo):
    link = dial(shaper)
    ask(link, b"x")
    shaper.change([AB, BA], mode=DROP)
    link.close()
    threading.Event().wait(A_WHILE_S)
    assert echo.ends == []

    shaper.heal()

    until(lambda: len(echo.ends) == 1, SOON_S, "reset when the way flows again")


def test_cut_resets_what_is_open_and_new_connections_work(shaper: Shaper, echo: Echo):
    with dial(shaper) as link:
        ask(link, b"x")

        assert shaper.cut([AB]) == 1

        with pytest.raises(ConnectionResetError):
            link.recv(1)
    until(lambda: len(echo.ends) == 1, SOON_S, "the server is cut off as well")
    with dial(shaper) as link:
        assert ask(link, b"again") == b"again"


@pytest.mark.parametrize("size", [0, 1, 1000, CHUNK_BYTES + 1])
def test_cut_at_byte_n_lets_exactly_n_bytes_through(shaper: Shaper, echo: Echo, size: int):
    echo.answering = False
    shaper.change([AB], cut_after=size)
    with dial(shaper) as link, suppress(OSError):
        link.sendall(bytes(size + 50_000))
        link.recv(1)

    until(lambda: echo.ends != [], SOON_S, "the connection ends")
    assert len(echo.heard) == size
    echo.answering = True
    with dial(shaper) as link:  # Once: the next connection is whole.
        assert ask(link, b"whole") == b"whole"


def test_refused_connections_are_reset_and_open_ones_stay(shaper: Shaper, echo: Echo):
    with dial(shaper) as old:
        ask(old, b"x")
        shaper.change([AB], mode=REFUSE)

        with pytest.raises((ConnectionResetError, BrokenPipeError)), dial(shaper) as new:
            new.sendall(b"x")
            new.recv(1)
        assert ask(old, b"still") == b"still"
    assert echo.connections == 1


def test_a_port_nobody_listens_on_is_a_reset(echo: Echo):
    echo.listener.shutdown(socket.SHUT_RDWR)
    echo.listener.close()
    with Shaper() as shaper:
        shaper.listen("a", "b", "127.0.0.1", echo.port)
        with pytest.raises(ConnectionResetError), dial(shaper) as link:
            link.recv(1)


def test_ways_are_shared_by_whoever_dials(echo: Echo):
    """What b sends to a is held on b's own connections and in the answers to a."""
    with Shaper() as shaper:
        shaper.listen("a", "b", "127.0.0.1", echo.port)
        shaper.listen("b", "a", "127.0.0.1", echo.port)
        shaper.change([BA], mode=HOLD)
        with (
            socket.create_connection(("127.0.0.1", shaper.ports[BA]), SOON_S) as from_b,
            dial(shaper) as from_a,
        ):
            from_a.sendall(b"question")
            from_b.sendall(b"statement")
            until(lambda: bytes(echo.heard) == b"question", SOON_S, "what a sends arrives")
            assert silent(from_a)
            assert silent(from_b)
            shaper.change([BA], mode=FLOW)
            assert read(from_a, 8) == b"question"
            assert read(from_b, 9) == b"statement"


def test_closing_leaves_no_thread_and_no_port(echo: Echo):
    before = threading.active_count()
    shaper = Shaper()
    port = shaper.listen("a", "b", "127.0.0.1", echo.port)
    link = socket.create_connection(("127.0.0.1", port), SOON_S)
    link.settimeout(SOON_S)
    ask(link, b"x")
    shaper.close()

    with pytest.raises(ConnectionResetError):
        link.recv(1)
    link.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), SOON_S)
    until(lambda: threading.active_count() <= before + 1, SOON_S, "its thread ended")
    shaper.close()  # Twice is once.
