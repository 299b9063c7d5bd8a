# A full disk keeps nothing of a turn and says nothing; the same turn is written when there is room.
socket a
disk full
submit a c1 from=ann
----
disk: full, nothing of this turn was kept or said

disk quick
----
ann <- ACCEPTED c1

# A tight disk takes no new calls, and lets those it has end.
disk level=1
submit a c2 from=ann
worker w1
done c1
----
ann <- REFUSED c2 busy: this node takes no new calls because its disk or log is nearly full; what it accepted is safe; make room on the disk of its home, or let it keep fewer ended calls (`mesh add setting -n retention_bytes -v SIZE`), then try again
ann <- ACCEPTED
w1 <- START c1 attempt 1
ann <- DONE c1

# A write that failed ends the node: what it did not say was not promised.
disk level=0
disk fails
submit a c3 from=ann
----
w1 <- START c3 attempt 1
disk: write failed, the node stops

boot
show
----
boot 2: 0 open calls
