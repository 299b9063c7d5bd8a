# Two calls of the socket at once, however many workers there are.
socket a concurrency=2
worker w1 w2 w3
submit a c1 c2 c3 c4 from=ann
----
w1 <- START c1 attempt 1
w2 <- START c2 attempt 1
ann <- ACCEPTED c1 c2 c3 c4

done c1
----
w1 <- START c3 attempt 1
ann <- DONE c1

# A lower limit lets what runs go on; the next begins when there is room under the new limit.
socket a concurrency=1
done c2
----
ann <- DONE c2

done c3
----
w1 <- START c4 attempt 1
ann <- DONE c3
