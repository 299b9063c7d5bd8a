# What a client submits begins while its record is still being written.  The node dies before that is
# on disk: nobody was told anything, so the client submits again, and the call runs once more.
socket a
worker w1
disk slow
submit a c1 from=ann
done c1
----
w1 <- START c1 attempt 1

crash
boot
show
----
boot 2: 0 open calls

worker w2
again c1 from=ann
done c1
----
w2 <- START c1 attempt 1
ann <- ACCEPTED c1
ann <- DONE c1

# Only when both records are on disk is anything said.
disk slow
submit a c2 from=ann
done c2
show
----
w2 <- START c2 attempt 1

disk quick
----
ann <- ACCEPTED c2
ann <- DONE c2

# A further attempt waits for the disk, since what is known of the first one is not on it yet.
worker w3
disk slow
submit a c3 from=ann
kill w2
wait 1500
----
w2 <- START c3 attempt 1

disk quick
----
ann <- ACCEPTED c3
w3 <- START c3 attempt 2
