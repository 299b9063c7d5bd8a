# Whoever cancels a running call was told "interrupted".  If the node dies before the worker reports,
# the call must not begin again: the wish is in the log.
socket a
worker w1
submit a c1 from=ann
cancel c1 by=ann
log
----
w1 <- START c1 attempt 1
ann <- ACCEPTED c1
ann <- OK interrupted
w1 <- INTERRUPT c1: cancel
open c1
state c1 RUNNING attempt 1

crash
boot
worker w2
----
boot 2: 0 open calls

watch c1 from=ann
log
----
ann <- CANCELLED c1 cancelled by ann
done c1 CANCELLED after 1 attempts
