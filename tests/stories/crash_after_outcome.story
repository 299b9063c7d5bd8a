# The outcome was on disk, the client was not told.  After the restart it asks for it by id.
socket a
worker w1
submit a c1 from=ann
----
w1 <- START c1 attempt 1
ann <- ACCEPTED c1

disk slow
done c1 result
----
nothing

crash keep
boot
show
----
boot 2: 0 open calls

watch c1 from=ann
----
ann <- DONE c1 result
