# A peer has run the call, and its report is lost on the way.  It keeps the report until the owner has
# taken it, and an owner that hears nothing asks.
mesh 3 workers=n1
submit n0 s0 c1 from=ann
deliver quietly
done c1 at n1
drop n1->n0
----
ann <- ACCEPTED c1 quorum 2/3
n1: START c1 attempt 1
lost: n1 -> n0 RAN c1 DONE by n1

tick 4000
deliver only=HOLDS,RAN
deliver only=HOLDS,RAN,TAKEN
deliver quietly
tick 300
deliver quietly
show
----
n1 -> n0 RAN c1 DONE by n1
n0 -> n1 HOLDS c1
n0 -> n1 TAKEN c1
n1 -> n0 RAN c1 DONE by n1
n0: c1 superseded, attempt 1
ann <- DONE c1 by n1
n0: c1 on record, DONE
n1: c1 on record, DONE
n2: c1 on record, DONE
