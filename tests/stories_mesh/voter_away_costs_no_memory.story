# While one of three voters is away, the two others keep what it has not heard of in their logs only.
mesh 3 workers=n0
crash n2
dead n2 at n0 n1
submit n0 s0 c1 from=ann
deliver quietly
done c1 at n0
deliver quietly
tick 5000
deliver
show
----
ann <- ACCEPTED c1 quorum 2/3
n0: START c1 attempt 1
ann <- DONE c1 by n0
n0: c1 ended, in the log only
n0: c1 on record, DONE
n1: c1 ended, in the log only
n1: c1 on record, DONE
n2: down

# A restarted node leaves it there, too, and knows what it is when somebody names it.
crash n0
boot n0
deliver quietly
tick 1000
deliver
show n0
----
n0: boot 2
n0: c1 ended, in the log only
n0: c1 on record, DONE

# When the third is back, it is read and told.
boot n2
deliver
tick 1000
deliver
show
----
n2: boot 2
n0 -> n2 TOLD c1 ended, seen
n1 -> n2 TOLD c1 ended, seen
n2 -> n0 NEED c1: the value
n2 -> n1 NEED c1: the value
n0 -> n2 TOLD c1 ended, seen, DONE by n0
n1 -> n2 TOLD c1 ended, seen, DONE by n0
n2 -> n0 TOLD c1 ended, seen
n2 -> n1 TOLD c1 ended, seen
n2 -> n0 TOLD c1 ended, seen by all
n2 -> n1 TOLD c1 ended, seen by all
n0 -> n1 TOLD c1 ended, seen by all
n0 -> n2 TOLD c1 ended, seen by all
n1 -> n0 TOLD c1 ended, seen by all
n1 -> n2 TOLD c1 ended, seen by all
n0: c1 on record, DONE
n1: c1 on record, DONE
n2: c1 on record, DONE
