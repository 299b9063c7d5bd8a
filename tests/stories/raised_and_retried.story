# An exception is an outcome, unless retries were asked for.  Retries wait: the delay doubles, with
# jitter.
socket plain
socket stubborn retries=2 retry_delay_ms=100
worker w1
submit plain c1 from=ann
raise c1
----
w1 <- START c1 attempt 1
ann <- ACCEPTED c1
ann <- FAILED c1 it raised ValueError

submit stubborn c2 from=ann
raise c2
show
----
w1 <- START c2 attempt 1
ann <- ACCEPTED c2
c2 DELAYED attempt 1: attempt 1 failed; the next begins in 100 ms

wait 200
raise c2
show
----
at 100 ms:
w1 <- START c2 attempt 2
c2 DELAYED attempt 2: attempt 2 failed; the next begins in 107 ms

wait 400
raise c2
----
at 307 ms:
w1 <- START c2 attempt 3
ann <- FAILED c2 it raised ValueError

log
----
done c1 FAILED after 1 attempts
done c2 FAILED after 3 attempts
