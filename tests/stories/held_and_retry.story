# Workers die under a call as often as its retries allow: it is HELD, with the evidence, and stays so
# over a restart until a person decides.
socket a retries=1 retry_delay_ms=0
worker w1
submit a poison from=ann
----
w1 <- START poison attempt 1
ann <- ACCEPTED poison

kill w1 begun=poison
worker w2
----
w2 <- START poison attempt 2

kill w2 begun=poison reason=signal-11
----
nothing

show
----
poison HELD attempt 2: its worker died in 2 of 2 attempts, last: signal 11; look at its output, then `mesh call retry` or `mesh call cancel`

crash
boot
worker w3
show
----
boot 2: 1 open calls
poison HELD attempt 2: its worker died in 2 of 2 attempts, last: signal 11; look at its output, then `mesh call retry` or `mesh call cancel`

retry poison by=ann
----
w3 <- START poison attempt 1
ann <- OK waiting

done poison better
----
nothing
