"""The kinds of timers of the core.

A timer is data in one heap.  When it fires, it is checked against the state and dropped if that has
moved on, so timers are never cancelled.
"""

T_DUE = 0  # A DELAYED call's time has come.
T_EXPIRE = 1  # A call waited, or lived, as long as it may.
T_RATE = 2  # A line's rate limit lets the next call begin.
T_WORKER = 3  # Look at what a worker runs: time limit, mark in the log, stuck calls behind it.

TIMERS_DEAD_MIN = 1_024  # So many timers of ended calls are not worth a sweep of the heap.
