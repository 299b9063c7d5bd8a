# At most two begin per second, evenly: a bucket of one second's worth that fills as time passes.
socket a rate_limit=2/s
worker w1 slots=8
submit a c1 c2 c3 c4 from=ann
----
w1 <- START c1 attempt 1
w1 <- START c2 attempt 1
ann <- ACCEPTED c1 c2 c3 c4

wait 600
----
at 500 ms:
w1 <- START c3 attempt 1

wait 600
----
at 1000 ms:
w1 <- START c4 attempt 1
