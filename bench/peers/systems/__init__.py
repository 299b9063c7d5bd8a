"""One file for each system; what it imports is found only in the environment it runs in."""
