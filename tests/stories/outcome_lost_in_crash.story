# The outcome was not on disk yet: the call runs once more.  Its first result was told to nobody.
socket a
worker w1
submit a c1 from=ann
----
w1 <- START c1 attempt 1
ann <- ACCEPTED c1

disk slow
done c1 first
----
nothing

crash
boot
worker w2
----
boot 2: 1 open calls
w2 <- START c1 attempt 1

watch c1 from=ann
done c1 second
----
ann <- DONE c1 second
