# The other thing a person can do with a HELD call.
socket a retries=0
worker w1
submit a poison from=ann
kill w1 begun=poison
----
w1 <- START poison attempt 1
ann <- ACCEPTED poison

cancel poison by=ann
----
ann <- CANCELLED poison cancelled by ann
ann <- OK cancelled

log
----
done poison CANCELLED after 1 attempts
