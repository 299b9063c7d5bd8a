"""Every setting of a link between nodes, as data; `docs/transport.md` says why each is there.

The defaults of libzmq lose messages in silence, wait for ever and let strangers in, so nothing is
left to them.  `tests/peers/test_options.py` fails for each line that is taken out.
"""

from __future__ import annotations

from typing import Any

import zmq

from meshcode import limits
from meshcode.errors import NodeError

DOMAIN = b"peers"  # The ZAP domain of links between nodes.
LIBZMQ_LEAST = (4, 3, 5)  # Older ones can be crashed before anyone is authenticated (CVEs).
ZAP_ENFORCE_DOMAIN = 93  # Without it a CURVE link lets everyone in when no ZAP handler runs.

KEY_BYTES = 32  # Of a CURVE key, raw.
CURVE_BYTES = 33  # What encryption adds to a message; libzmq counts it, too.

BOTH: dict[int, Any] = {
    zmq.LINGER: 0,
    zmq.SNDHWM: limits.PEER_HWM_FRAMES,
    zmq.RCVHWM: limits.PEER_HWM_FRAMES,
    zmq.MAXMSGSIZE: limits.PEER_FRAME_BYTES_MAX + CURVE_BYTES,
    zmq.HEARTBEAT_IVL: 5_000,
    zmq.HEARTBEAT_TIMEOUT: 15_000,
    zmq.HEARTBEAT_TTL: 15_000,
    zmq.HANDSHAKE_IVL: 5_000,
    zmq.TCP_MAXRT: 20_000,
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 60,
}
SERVER: dict[int, Any] = {
    **BOTH,
    zmq.ROUTER_MANDATORY: 1,
    zmq.ROUTER_HANDOVER: 0,
    zmq.CURVE_SERVER: 1,
    zmq.ZAP_DOMAIN: DOMAIN,
    ZAP_ENFORCE_DOMAIN: 1,
}
CLIENT: dict[int, Any] = {
    **BOTH,
    zmq.IMMEDIATE: 1,
    zmq.RECONNECT_IVL: 200,
    zmq.RECONNECT_IVL_MAX: 30_000,
    zmq.CONNECT_TIMEOUT: 5_000,
}

Link = zmq.Socket[bytes]


def check_libzmq(version: tuple[int, int, int], has_curve: bool) -> None:
    """Refuse a libzmq that cannot be trusted with an open port.

    Raises:
        NodeError: it is older than LIBZMQ_LEAST, or was built without CURVE.
    """
    if version < LIBZMQ_LEAST:
        found, least = (".".join(map(str, v)) for v in (version, LIBZMQ_LEAST))
        raise NodeError(
            f"libzmq is {found}, links between nodes need {least} or newer: older ones can be "
            "crashed by anyone who reaches the port; install a newer pyzmq"
        )
    if not has_curve:
        raise NodeError(
            "libzmq was built without CURVE, so links between nodes cannot be encrypted; "
            "install pyzmq from its own wheel"
        )


check_libzmq(zmq.zmq_version_info(), zmq.has("curve"))


def server_link(
    context: zmq.Context[Any], secret: bytes, options: dict[int, Any] | None = None
) -> Link:
    """A ROUTER link that takes peers in, not yet bound; `secret` is 32 raw bytes."""
    link: Link = context.socket(zmq.ROUTER)
    _set(link, SERVER if options is None else options)
    link.setsockopt(zmq.CURVE_SECRETKEY, secret)
    return link


def client_link(
    context: zmq.Context[Any],
    public: bytes,
    secret: bytes,
    server_key: bytes,
    options: dict[int, Any] | None = None,
) -> Link:
    """A DEALER link towards the one peer that holds `server_key`, not yet connected.

    All keys are 32 raw bytes.  `routing_id` is never set: identity is the key.
    """
    link: Link = context.socket(zmq.DEALER)
    _set(link, CLIENT if options is None else options)
    link.setsockopt(zmq.CURVE_PUBLICKEY, public)
    link.setsockopt(zmq.CURVE_SECRETKEY, secret)
    link.setsockopt(zmq.CURVE_SERVERKEY, server_key)
    return link


def _set(link: Link, options: dict[int, Any]) -> None:
    for option, value in options.items():
        link.setsockopt(option, value)
