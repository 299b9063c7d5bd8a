# Short calls are staged at a worker.  When one turns out to be long, those behind it are taken back
# and go to another worker.
socket a
worker w1
submit a warm from=ann
done warm
submit a long c2 c3 from=ann
----
w1 <- START warm attempt 1
ann <- ACCEPTED warm
ann <- DONE warm
w1 <- START long attempt 1
w1 <- START c2 attempt 1
w1 <- START c3 attempt 1
ann <- ACCEPTED long c2 c3

wait 200
----
at 100 ms:
w1 <- GIVE BACK what has not begun

worker w2
back w1 c2 c3
----
w2 <- START c2 attempt 1
