# A call that runs is interrupted.  What the worker then reports is the outcome; here it stopped.
socket a
worker w1
submit a c1 c2 from=ann
----
w1 <- START c1 attempt 1
ann <- ACCEPTED c1 c2

cancel c1 by=bob
----
bob <- OK interrupted
w1 <- INTERRUPT c1: cancel

stopped c1
----
w1 <- START c2 attempt 1
ann <- CANCELLED c1 interrupted

# A call may still end by itself before the interrupt reaches it: then it is done.
cancel c2 by=bob
done c2 in-time
----
bob <- OK interrupted
w1 <- INTERRUPT c2: cancel
ann <- DONE c2 in-time
