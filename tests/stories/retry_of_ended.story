# An ended call keeps its outcome.  Trying it again makes a new call with the same arguments, each time
# it is asked.
socket a
worker w1
submit a c1 from=ann delay_ms=100
wait 100
raise c1
----
ann <- ACCEPTED c1
at 100 ms:
w1 <- START c1 attempt 1
ann <- FAILED c1 it raised ValueError

retry c1 by=ann
retry c1 by=ann
show
----
w1 <- START c1/retry attempt 1
ann <- OK submitted again
w1 <- START c1/retry-2 attempt 1
ann <- OK submitted again
c1/retry RUNNING attempt 1 at w1
c1/retry-2 RUNNING attempt 1 at w1

log
----
open c1/retry
open c1/retry-2
done c1 FAILED after 1 attempts
