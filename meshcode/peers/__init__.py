"""Encrypted links between nodes: they carry envelopes and know nothing of what these mean.

`docs/transport.md` is the page to read first.  From the bytes up:

- `options`: every setting of a link between nodes, as data.
- `zap`, `selftest`: who gets in, and the proof at start-up that nobody else does.
- `channel`, `memory`, `credit`, `chunks`, `outbox`, `greeting`, `refusals`, `session`: pure;
  `now_ms` comes in and there is no link, so a simulator can use them as they are.
- `ready`, `dialer`, `door`, `links`: the links themselves; `links.PeerLinks` is what a node uses.
"""
