# A broadcast runs once at every worker of its socket.  The node is to have two workers for the
# processor, and one is there.  The broadcast ends at once: its outcome names a copy for each place, and
# a call that gathers what they say.  A copy waits for who sits at its place; others do not take it.
socket a
crew p=2
worker w1
submit a c1 from=ann broadcast=yes
show
log
----
w1 <- START c1/at-0 attempt 1
ann <- ACCEPTED c1
ann <- DONE c1 a flow of 3 steps, its result is c1/gather
c1/at-0 RUNNING attempt 1 at w1
c1/at-1 PARKED attempt 0: worker 1 of processor p is not there: its processor has no worker yet
c1/gather GATHERING attempt 0: waits for 2 of 2 calls
open c1/at-0
open c1/at-1
open c1/gather
done c1 DONE after 0 attempts

worker w2
done c1/at-0 cleared
show
----
w2 <- START c1/at-1 attempt 1
c1/at-1 RUNNING attempt 1 at w2
c1/gather GATHERING attempt 0: waits for 1 of 2 calls

# An error at one place does not lose what the others said.
watch c1/gather from=ann
raise c1/at-1 retry=no
----
ann <- DONE c1/gather 0: cleared, 1: error remote

# The node is to have one worker only.  What was for the other place ends, since nobody will sit there.
submit a c2 from=ann broadcast=yes
watch c2/gather from=ann
kill w2 begun=c2/at-1 blame=no
crew p=1
done c2/at-0 alone
----
w1 <- START c2/at-0 attempt 1
w2 <- START c2/at-1 attempt 1
ann <- ACCEPTED c2
ann <- DONE c2 a flow of 3 steps, its result is c2/gather
ann <- DONE c2/gather 0: alone, 1: error seat_gone

# The node dies.  A copy keeps its address: who sits at its place then runs it, and no other.
crew p=2
worker w3
submit a c3 from=ann broadcast=yes
done c3/at-1 second
crash
boot
crew p=2
show
----
w1 <- START c3/at-0 attempt 1
w3 <- START c3/at-1 attempt 1
ann <- ACCEPTED c3
ann <- DONE c3 a flow of 3 steps, its result is c3/gather
boot 2: 2 open calls
c3/at-0 PARKED attempt 0: worker 0 of processor p is not there: its processor has no worker yet
c3/gather GATHERING attempt 0: waits for 1 of 2 calls

worker w4
watch c3 c3/gather from=ann
done c3/at-0 first
----
w4 <- START c3/at-0 attempt 1
ann <- DONE c3 a flow of 3 steps, its result is c3/gather
ann <- DONE c3/gather 0: first, 1: second
