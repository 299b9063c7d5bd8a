"""The measurements: each prints the machine, the commit and the spread.  See bench/README.md."""
