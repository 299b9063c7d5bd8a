"""What encryption costs: the same frames over the same links, with CURVE and without, in one run.

    python -m bench.curve [--seconds 2] [--runs 3]

Two processes on 127.0.0.1: one sends, one answers.  *stream*: frames one way, as fast as credit of
64 frames allows.  *latency*: one frame there and back, one after another.  *links*: the whole of
`PeerLinks` with its fence, credit and member check, envelopes of 200 bytes in batches of 64.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import zmq
from zmq.utils import z85

from bench import machine
from meshcode.peers.links import PeerLinks
from meshcode.peers.options import CLIENT, DOMAIN, SERVER, client_link, server_link
from meshcode.peers.zap import ZapHandler
from meshcode.wire.frame import envelope

WINDOW = 64
SIZES = (200, 16 * 1024, 250 * 1024)
SINGLES = 2_000
BATCH = 64
NODES = (b"a" * 16, b"b" * 16)
CURVE_ONLY = {zmq.CURVE_SERVER, zmq.ZAP_DOMAIN, 93}
SPAWN = multiprocessing.get_context("spawn")


def keys() -> tuple[bytes, bytes]:
    """A fresh pair, 32 raw bytes each."""
    public, secret = zmq.curve_keypair()
    return z85.decode(public), z85.decode(secret)


def echo(pipe: Connection, curve: bool) -> None:
    """Answer each frame that begins with `?` as it is, and each 32nd of the others in short."""
    context: zmq.Context[Any] = zmq.Context()
    public, secret = keys()
    if curve:
        handler = ZapHandler(context, 0)
        handler.serve(DOMAIN, lambda key: key.hex())
        link = server_link(context, secret)
    else:
        link = context.socket(zmq.ROUTER)
        for option, value in SERVER.items():
            if option not in CURVE_ONLY:
                link.setsockopt(option, value)
    link.bind("tcp://127.0.0.1:*")
    pipe.send((link.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"), public))
    count = 0
    while True:
        route, data = link.recv_multipart()
        if data[:1] == b"?":
            link.send_multipart([route, data])
            continue
        count += 1
        if count % (WINDOW // 2) == 0:
            link.send_multipart([route, b"+"])


Rates = dict[int, tuple[float, float]]
"""By size: frames a second, and CPU microseconds of the sender for each frame, all its threads."""


def raw_links(curve: bool, seconds: float) -> tuple[Rates, list[float]]:
    """The rates for each size, and milliseconds of single round trips of 200 bytes."""
    ours, theirs = SPAWN.Pipe()
    child = SPAWN.Process(target=echo, args=(theirs, curve), daemon=True)
    child.start()
    endpoint, public = ours.recv()
    context: zmq.Context[Any] = zmq.Context()
    if curve:
        link = client_link(context, *keys(), public)
    else:
        link = context.socket(zmq.DEALER)
        for option, value in CLIENT.items():
            link.setsockopt(option, value)
    link.connect(endpoint)
    assert link.poll(5_000, zmq.POLLOUT), "no connection"
    try:
        rates = {size: stream(link, size, seconds) for size in SIZES}
        times = []
        for _ in range(SINGLES):
            begin = time.perf_counter()
            link.send(b"?" + bytes(199))
            link.recv()
            times.append((time.perf_counter() - begin) * 1e3)
    finally:
        child.terminate()
        child.join()
        context.destroy(linger=0)
    return rates, times


def stream(link: zmq.Socket[bytes], size: int, seconds: float) -> tuple[float, float]:
    """One way, with at most WINDOW unacknowledged: see `Rates`."""
    frame, flying, handled = b"!" + bytes(size - 1), 0, 0
    begin, used = time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - begin) < seconds:
        while flying < WINDOW:
            link.send(frame)
            flying += 1
        link.recv()
        flying -= WINDOW // 2
        handled += WINDOW // 2
    used = time.process_time() - used
    while flying >= WINDOW // 2:
        link.recv()
        flying -= WINDOW // 2
    for _ in range((WINDOW // 2 - flying) % (WINDOW // 2)):
        link.send(frame)  # So that the other side's count begins again at nothing.
    return handled / elapsed, used / handled * 1e6


def links_of(which: int, pairs: list[tuple[bytes, bytes]], context: zmq.Context[Any]) -> PeerLinks:
    """`PeerLinks` of one of the two nodes."""
    by_key = {public: node for node, (public, _) in zip(NODES, pairs, strict=True)}
    by_node = {node: key for key, node in by_key.items()}
    return PeerLinks(
        context, *pairs[which], NODES[which], boot=1, store_id=os.urandom(16),
        life=os.urandom(16), commits=lambda: 1, hello={}, bind=["tcp://127.0.0.1:*"],
        member_of_key=by_key.get, keys_of=lambda node: (by_node[node],), now_ms=now_ms(),
    )  # fmt: skip


def now_ms() -> int:
    """A clock that only goes forward."""
    return time.monotonic_ns() // 1_000_000


def turn(links: PeerLinks, wait_ms: int = 20) -> list[Any]:
    """One turn of a node that does nothing else."""
    poller = zmq.Poller()
    for link in links.links():
        poller.register(link, zmq.POLLIN)
    poller.poll(max(0, min(wait_ms, links.next_due_ms() - now_ms())))
    found = links.receive(now_ms())
    links.tick(now_ms())
    links.news(now_ms())
    return found


def echo_links(pipe: Connection, pairs: list[tuple[bytes, bytes]]) -> None:
    """Answer the last envelope of each frame that asks for it."""
    links = links_of(1, pairs, zmq.Context())
    pipe.send(links.endpoints)
    links.set_addresses(NODES[0], pipe.recv())
    answer = [envelope(51)]
    while True:
        for node, rows, _ in turn(links):
            if rows[-1].flags:
                links.send(node, answer)


def whole_links(seconds: float) -> tuple[float, list[float], float]:
    """Envelopes a second, milliseconds of single ones, CPU microseconds of the sender for each."""
    pairs = [keys(), keys()]
    ours, theirs = SPAWN.Pipe()
    child = SPAWN.Process(target=echo_links, args=(theirs, pairs), daemon=True)
    child.start()
    links = links_of(0, pairs, zmq.Context())
    try:
        links.set_addresses(NODES[1], ours.recv())
        ours.send(links.endpoints)
        while not links.stats()[NODES[1]]["up"]:
            turn(links)
        return drive(links, seconds)
    finally:
        child.terminate()
        child.join()
        links.close()


def drive(links: PeerLinks, seconds: float) -> tuple[float, list[float], float]:
    """What `whole_links` measures, once both are up."""
    body = bytes(120)
    batch = [envelope(50, body=body)] * (BATCH - 1) + [envelope(50, body=body, flags=1)]
    flying = sent = 0
    begin, used = time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - begin) < seconds:
        while flying < 8 and links.send(NODES[1], batch):
            flying += 1
        answers = sum(len(rows) for _, rows, _ in turn(links))
        flying -= answers
        sent += answers * BATCH
    cpu_us = (time.process_time() - used) / max(1, sent) * 1e6
    while flying:
        flying -= sum(len(rows) for _, rows, _ in turn(links))
    times, ask = [], [envelope(50, body=body, flags=1)]
    for _ in range(SINGLES):
        at = time.perf_counter()
        assert links.send(NODES[1], ask)
        while not turn(links):
            pass
        times.append((time.perf_counter() - at) * 1e3)
    return sent / elapsed, times, cpu_us


def several(count: int, run: Callable[[], Any]) -> list[Any]:
    """The same measurement some times."""
    return [run() for _ in range(count)]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args(arguments)
    print(machine.describe())
    found: dict[bool, list[Any]] = {True: [], False: []}
    for _ in range(args.runs):  # Turn about, so that a slow moment hits both.
        for curve in (False, True):
            found[curve].append(raw_links(curve, args.seconds))
    for size in SIZES:
        print(f"stream     frames of {size:,} bytes, {args.runs} runs of both, turn about")
        for at, form, what in ((0, "{:,.0f}", "frames/s"), (1, "{:.1f}", "us CPU of the sender")):
            plain, curve_too = ([rates[size][at] for rates, _ in found[c]] for c in (False, True))
            ratios = [c / p for p, c in zip(plain, curve_too, strict=True)]
            print(f"  plain    {machine.spread(plain, form)} {what}")
            print(f"  CURVE    {machine.spread(curve_too, form)} {what}")
            print(f"  ratio    {machine.spread(ratios, '{:.2f}')}")
    p50 = {c: machine.percentile([t for _, ts in found[c] for t in ts], 0.5) for c in found}
    p99 = {c: machine.percentile([t for _, ts in found[c] for t in ts], 0.99) for c in found}
    for curve, name in ((False, "plain"), (True, "CURVE")):
        print(f"latency    {name} p50 {p50[curve]:.3f} ms, p99 {p99[curve]:.3f} ms, there and back")
    print(f"latency    ratio {p50[True] / p50[False]:.2f} at p50")
    whole = several(args.runs, lambda: whole_links(args.seconds))
    singles = [t for _, times, _ in whole for t in times]
    print(f"links      {machine.spread([w[0] for w in whole])} envelopes/s, acknowledged")
    print(f"links cpu  {machine.spread([w[2] for w in whole], '{:.1f}')} us per envelope, sender")
    half, most = (machine.percentile(singles, share) for share in (0.5, 0.99))
    print(f"links      one envelope there and back: p50 {half:.3f} ms, p99 {most:.3f} ms")


if __name__ == "__main__":
    main()
