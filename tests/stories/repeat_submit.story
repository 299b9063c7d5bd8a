# Repeating a submit is harmless, for ever: while the call is open it is acknowledged again, and after
# it ended its outcome is told again.  Another client may repeat it too, and is then told as well.
socket a
worker w1
submit a c1 from=ann
----
w1 <- START c1 attempt 1
ann <- ACCEPTED c1

again c1 from=ann
again c1 from=bob
----
ann <- ACCEPTED c1
bob <- ACCEPTED c1

done c1 fine
----
ann <- DONE c1 fine
bob <- DONE c1 fine

again c1 from=ann
----
ann <- ACCEPTED c1
ann <- DONE c1 fine

log
----
done c1 DONE after 1 attempts
