# Memory is bounded: envelopes above the limit are only in the log, and are read back when it is
# their turn.
socket a
memory 200
submit a c1 c2 c3 from=ann bytes=60
----
ann <- ACCEPTED c1 c2 c3

worker w1
----
w1 <- START c1 attempt 1

done c1
----
ann <- DONE c1
log: read c2
w1 <- START c2 attempt 1
log: read c3
w1 <- START c3 attempt 1

done c2
----
ann <- DONE c2
