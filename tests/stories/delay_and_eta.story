# A delay is a field of the durable call: the node's own wheel releases it, also after a restart, and
# no worker holds it meanwhile.
socket a
worker w1
submit a later from=ann delay_ms=1000
submit a then from=ann eta_ms=1700000000500
show
----
ann <- ACCEPTED later
ann <- ACCEPTED then
later DELAYED attempt 0: delayed by its submitter
then DELAYED attempt 0: delayed by its submitter

wait 600
----
at 500 ms:
w1 <- START then attempt 1

done then
crash
boot
worker w2
wait 100
show
----
ann <- DONE then
boot 2: 1 open calls
later DELAYED attempt 0: delayed by its submitter

wait 1000
----
at 1000 ms:
w2 <- START later attempt 1
