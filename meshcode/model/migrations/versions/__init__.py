"""One file for each version of the tables, by number."""
