# Handing over is not recorded.  A call that runs for a second is: a crash then counts its attempt.
socket a retry_delay_ms=0
worker w1 w2
submit a short from=ann
----
w1 <- START short attempt 1
ann <- ACCEPTED short

wait 900
submit a shorter from=ann
wait 200
log
----
w2 <- START shorter attempt 1
ann <- ACCEPTED shorter
open short
state short RUNNING attempt 1
open shorter

crash
boot
show
----
boot 2: 2 open calls
short DELAYED attempt 1: attempt 1 ended with its worker (the node stopped while it ran); the next begins in 0 ms
shorter PARKED attempt 0: processor p has no worker here: its processor has no worker yet
