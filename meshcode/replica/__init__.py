"""Agreement on each call among the nodes that keep it: who owns it, how it ended, when to forget.

Pure, like `router/`: no link, clock, disk, thread or random source.  `docs/replication.md` has the
rules (P1 to P17) and the argument; the code names them where it keeps them.  Reading order:
`instance`, `peers`, `core`, `storing`, `claims`, `outcomes`, `custody`, `forgetting`.
"""
