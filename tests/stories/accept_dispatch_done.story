# A call is accepted, handed to a worker and done.  Nothing is said before the log has it, and the
# waiting record goes away in the same batch that writes the outcome.
socket a
worker w1
----
nothing

submit a c1 from=ann
----
w1 <- START c1 attempt 1
ann <- ACCEPTED c1

log
----
open c1

done c1 42
----
ann <- DONE c1 42

log
----
done c1 DONE after 1 attempts
