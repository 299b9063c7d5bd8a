# An edge node is alone for days.  It accepts, runs and finishes its own work on its one disk, and says
# so.  What is still open when the others are back gets more voters, and is safer from then on.
mesh 3 kinds=core,core,edge workers=n2
dead n0 at n2
dead n1 at n2
dead n2 at n0 n1
submit n2 s0 c1 c2 from=ann
deliver
----
ann <- ACCEPTED c1 c2 local 1/1
n2: START c1 attempt 1

done c1 at n2
show
----
ann <- DONE c1 by n2
n2: START c2 attempt 1
n0: nothing
n1: nothing
n2: c2 RUNNING, attempt 1
n2: c1 on record, DONE

alive n0 at n2
alive n1 at n2
alive n2 at n0 n1
tick 4900
flying
----
nothing

# They are there to stay: c2, which runs, is given to two more nodes.
tick 2000
deliver
show
----
n2 -> n0 STORE c2
n2 -> n1 STORE c2
n0 -> n2 STORED c2
n1 -> n2 STORED c2
n0: c2 voters n2 n0 n1: votes, promised epoch 0 of n2
n1: c2 voters n2 n0 n1: votes, promised epoch 0 of n2
n2: c2 RUNNING, attempt 1
n2: c2 voters n2 n0 n1: owns it, promised epoch 0 of n2
n2: c1 on record, DONE

done c2 at n2
deliver quietly
show
----
ann <- DONE c2 by n2
n0: c2 on record, DONE
n1: c2 on record, DONE
n2: c1 on record, DONE
n2: c2 on record, DONE
