"""Whole meshes from one seed: the real core, turns and log of several nodes, and a rude network.

`docs/replication.md` has the invariants; `python -m meshcode.sim.mesh --help` runs worlds.
"""
