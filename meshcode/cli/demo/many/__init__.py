"""`mesh demo --nodes`: several nodes on one machine, and the accepting one is killed for good."""
