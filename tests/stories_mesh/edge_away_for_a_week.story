# An edge node is cut off for a week.  It goes on with its own work (s0) and ends it; what only others
# host (s1) waits on its disk, and nobody claims anything meanwhile.  When it is back, that is run by a
# node that hosts it.  c1 was run there for another node as the link broke, and its report came too
# late: it is run again, and recorded once.
mesh 3 kinds=core,core,edge workers=n2 others=n0 beat=600000
submit n0 s0 c1 from=bob
deliver
----
n0 -> n1 STORE c1
n0 -> n2 STORE c1
n1 -> n0 STORED c1
bob <- ACCEPTED c1 quorum 2/3
n2 -> n0 STORED c1
n0 -> n2 RUN c1 attempt 1
n2: START c1 attempt 1

dead n0 at n2
dead n1 at n2
dead n2 at n0 n1
done c1 at n2
submit n2 s0 c2 from=ann
submit n2 s1 c3 from=ann
deliver quietly
show
----
ann <- ACCEPTED c2 local 1/1
n2: START c2 attempt 1
ann <- ACCEPTED c3 local 1/1
n0: c1 superseded, attempt 1
n0: c1 WAITING, attempt 0
n0: c1 voters n0 n1 n2: owns it, promised epoch 0 of n0
n1: c1 voters n0 n1 n2: votes, promised epoch 0 of n0
n2: c2 RUNNING, attempt 1
n2: c3 WAITING, attempt 0
n2: c1 voters n0 n1 n2: votes, promised epoch 0 of n0

tick 86400000
done c2 at n2
submit n2 s0 c4 from=ann
tick 518400000
done c4 at n2
show
----
ann <- DONE c2 by n2
ann <- ACCEPTED c4 local 1/1
n2: START c4 attempt 1
ann <- DONE c4 by n2
n0: c1 WAITING, attempt 0
n0: c1 voters n0 n1 n2: owns it, promised epoch 0 of n0
n1: c1 voters n0 n1 n2: votes, promised epoch 0 of n0
n2: c3 WAITING, attempt 0
n2: c1 voters n0 n1 n2: votes, promised epoch 0 of n0
n2: c2 on record, DONE
n2: c4 on record, DONE

alive n0 at n2
alive n1 at n2
alive n2 at n0 n1
tick 7000
deliver quietly
show
----
n2: START c1 attempt 1
n0: START c3 attempt 1
n0: c1 RUNNING at n2, attempt 1
n0: c1 voters n0 n1 n2: owns it, promised epoch 0 of n0
n1: c1 voters n0 n1 n2: votes, promised epoch 0 of n0
n2: c3 RUNNING at n0, attempt 1
n2: c1 voters n0 n1 n2: votes, promised epoch 0 of n0
n2: c2 on record, DONE
n2: c4 on record, DONE

done c3 at n0
done c1 at n2
deliver quietly
show
----
ann <- DONE c3 by n0
n2: c3 superseded, attempt 1
bob <- DONE c1 by n2
n0: c1 superseded, attempt 1
n0: c1 on record, DONE
n1: c1 on record, DONE
n2: c1 on record, DONE
n2: c2 on record, DONE
n2: c3 on record, DONE
n2: c4 on record, DONE
