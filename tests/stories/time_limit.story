# A call over its time limit is interrupted.  A worker that does not listen is killed after a grace;
# without retries that is the end of the call, and its outcome says so.
socket a time_limit_ms=500
worker w1
submit a c1 from=ann
----
w1 <- START c1 attempt 1
ann <- ACCEPTED c1

wait 1000
----
at 500 ms:
w1 <- INTERRUPT c1: time limit

kill w1 begun=c1 reason=did-not-stop
----
ann <- FAILED c1 attempt 1 ran longer than its time limit of 500 ms and did not stop when asked, so its worker was killed
