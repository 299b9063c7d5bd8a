"""A mesh in one process from one integer: the real core, turn code, wire and log; the rest drawn.

`python -m meshcode.sim --seeds 0:1000` runs worlds, `--trace SEED` tells one; docs/simulation.md.
"""
