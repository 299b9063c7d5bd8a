"""The measurements: each prints the machine, the commit and the spread.  See bench/README.md."""

from meshcode import ahead

ahead.use()  # As a node does: what is measured is what runs.
