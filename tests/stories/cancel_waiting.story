# A call that waits is cancelled at once; it never begins, also after a restart.
socket a
submit a c1 c2 from=ann
----
ann <- ACCEPTED c1 c2

cancel c1 by=bob
----
ann <- CANCELLED c1 cancelled by bob
bob <- OK cancelled

cancel c1 by=bob
----
bob <- NO call c1 is not open: it ended, or was never accepted here

crash
boot
worker w1
----
boot 2: 1 open calls
w1 <- START c2 attempt 1
