# The acknowledgement waits until a second disk has the call, however long that takes.  A voter says
# STORED only when its own disk has answered; until then nobody was promised anything.
mesh 3 workers=n0
disk slow n1 n2
submit n0 s0 c1 from=ann
deliver
show
----
n0 -> n1 STORE c1
n0 -> n2 STORE c1
n0: c1 COPYING, attempt 0
n0: c1 voters n0 n1 n2: brings it to its voters, promised epoch 0 of n0
n1: c1 voters n0 n1 n2: votes, promised epoch 0 of n0
n2: c1 voters n0 n1 n2: votes, promised epoch 0 of n0

disk quick n2
deliver n2->n0
----
n2 -> n0 STORED c1
ann <- ACCEPTED c1 quorum 2/3
n0: START c1 attempt 1

# The call runs now, although the third disk has not answered.
disk quick n1
deliver
----
n1 -> n0 STORED c1
