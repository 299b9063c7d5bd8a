# The call has run, and its outcome has reached one more voter when the owner dies.  Whoever claims the
# call hears of that outcome from a majority's promises, and proposes it again: it does not run again.
mesh 3 workers=n0,n2
submit n0 s0 c1 from=ann
deliver quietly
done c1 at n0
flying
----
ann <- ACCEPTED c1 quorum 2/3
n0: START c1 attempt 1
flying: n0 -> n1 PROPOSE c1 epoch 0 of n0: DONE by n0
flying: n0 -> n2 PROPOSE c1 epoch 0 of n0: DONE by n0

deliver n0->n2
drop *->n0 n0->n1
crash n0
dead n0 at n1 n2
tick 1000
----
n0 -> n2 PROPOSE c1 epoch 0 of n0: DONE by n0
lost: n0 -> n1 PROPOSE c1 epoch 0 of n0: DONE by n0
lost: n2 -> n0 AGREED c1 epoch 0 of n0

# n1 knows of no outcome.  n2, which accepted one, says so with its promise.
deliver
----
n1 -> n2 PREPARE c1 epoch 1 of n1
n2 -> n1 PROMISE c1 epoch 1 of n1, who accepted DONE by n0
n1 -> n2 PROPOSE c1 epoch 1 of n1: DONE by n0
n2 -> n1 AGREED c1 epoch 1 of n1
n1 -> n2 TOLD c1 ended, seen
n2 -> n1 TOLD c1 ended, seen

show
watch n1 c1 from=ann
----
n0: down
n1: c1 ended, seen by n1 n2; that all have seen it knows nobody
n1: c1 on record, DONE
n2: c1 ended, seen by n1 n2; that all have seen it knows nobody
n2: c1 on record, DONE
ann <- DONE c1 by n0
