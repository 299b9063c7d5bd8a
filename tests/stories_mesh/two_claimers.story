# Two voters want to take over: the first one's PREPARE is slow, so the second in line claims as well.
# The higher epoch wins: a voter promises it and from then on refuses the lower one.
mesh 3 workers=n2
submit n0 s0 c1 from=ann
deliver quietly
crash n0
dead n0 at n1 n2
tick 6000
flying
----
ann <- ACCEPTED c1 quorum 2/3
n2: START c1 attempt 1
flying: n1 -> n2 PREPARE c1 epoch 1 of n1
flying: n2 -> n1 PREPARE c1 epoch 1 of n2

# Of the same number the one of the higher node counts more.
deliver only=PREPARE
show
----
n1 -> n2 PREPARE c1 epoch 1 of n1
n2 -> n1 PREPARE c1 epoch 1 of n2
n0: down
n1: c1 voters n0 n1 n2: votes, promised epoch 1 of n2
n2: c1 voters n0 n1 n2: claims it, promised epoch 1 of n2

deliver
----
n2 -> n1 OVERTAKEN c1 epoch 1 of n2
n1 -> n2 PROMISE c1 epoch 1 of n2
n2: c1 taken over, epoch 1
n2 -> n1 NOTE c1
n1 -> n2 STORED c1

# n2 ran it already, as a guest of n0: that run goes on as its own.
done c1 at n2
deliver quietly
show
----
n0: down
n1: c1 ended, seen by n1 n2; that all have seen it knows nobody
n1: c1 on record, DONE
n2: c1 ended, seen by n1 n2; that all have seen it knows nobody
n2: c1 on record, DONE
