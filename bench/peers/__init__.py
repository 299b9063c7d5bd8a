"""meshcode beside what its users would pick instead: one table from one run."""
