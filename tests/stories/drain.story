# A draining node takes no new calls and begins none; what runs may finish.
socket a
worker w1
submit a c1 c2 from=ann
----
w1 <- START c1 attempt 1
ann <- ACCEPTED c1 c2

drain
submit a c3 from=ann
done c1
show
----
ann <- REFUSED c3 busy: this node is draining and takes no new calls; try again or elsewhere
ann <- ACCEPTED
ann <- DONE c1
c2 PARKED attempt 0: this node is draining

crash
boot
worker w2
show
----
boot 2: 1 open calls
w2 <- START c2 attempt 1
c2 RUNNING attempt 1 at w2
