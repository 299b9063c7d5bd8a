"""Tests of functions and flows, for the programs of users: see `docs/testing.md`.

`plugin.py` gives pytest the fixtures `mesh`, one real node, and `mesh_world`, a simulated mesh.
"""
