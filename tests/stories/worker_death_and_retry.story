# A worker dies under a call.  That is not an outcome: an attempt is counted, in the log, and the call
# is tried again after a delay.  What was staged behind it goes back without an attempt.
socket a retry_delay_ms=200
worker w1
submit a warm from=ann
done warm
submit a c1 c2 from=ann
----
w1 <- START warm attempt 1
ann <- ACCEPTED warm
ann <- DONE warm
w1 <- START c1 attempt 1
w1 <- START c2 attempt 1
ann <- ACCEPTED c1 c2

kill w1 begun=c1
----
nothing

show
----
c1 DELAYED attempt 1: attempt 1 ended with its worker (signal 9); the next begins in 107 ms
c2 PARKED attempt 0: processor p has no worker here: its processor has no worker yet

log
----
open c1
state c1 DELAYED attempt 1
open c2
done warm DONE after 1 attempts

worker w2
wait 400
----
w2 <- START c2 attempt 1

show
----
c1 WAITING attempt 1
c2 RUNNING attempt 1 at w2
