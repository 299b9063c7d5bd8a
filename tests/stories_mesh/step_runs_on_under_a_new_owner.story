# The second step runs at n1, for n0 that owns it.  n0 dies, n1 takes the call over, and the run under way
# goes on as its own, with what it was fed.
mesh 3 workers=n1
flow n0 f from=ann s0:1 s1<0:2
deliver quietly
done f/0 at n1
deliver quietly
show
----
ann <- ACCEPTED f quorum 2/3
ann <- DONE f a flow of 2 steps
n1: START f/0 attempt 1 with (1)
n0: f/0 superseded, attempt 1
n1: START f/1 attempt 1 with (['s0', 1585748274], 2)
n0: f/1 RUNNING at n1, attempt 1
n0: f/1 voters n0 n1 n2: owns it, promised epoch 1 of n0
n0: f on record, DONE
n0: f/0 on record, DONE
n1: f/1 voters n0 n1 n2: votes, promised epoch 1 of n0
n1: f on record, DONE
n1: f/0 on record, DONE
n2: f/1 voters n0 n1 n2: votes, promised epoch 1 of n0
n2: f on record, DONE
n2: f/0 on record, DONE

drop *->*
crash n0
dead n0 at n1 n2
tick 1000
deliver
show
----
n1 -> n2 PREPARE f/1 epoch 2 of n1
n2 -> n1 PROMISE f/1 epoch 2 of n1
n1: f/1 taken over, epoch 2
n1 -> n2 NOTE f/1
n2 -> n1 STORED f/1
n0: down
n1: f/1 RUNNING, attempt 1
n1: f/1 voters n0 n1 n2: owns it, promised epoch 2 of n1
n1: f on record, DONE
n1: f/0 on record, DONE
n2: f/1 voters n0 n1 n2: votes, promised epoch 2 of n1
n2: f on record, DONE
n2: f/0 on record, DONE

# The worker dies, so the step begins anew; what it is fed need not be looked up.
kill f/1 at n1
tick 1000
tick 1000
show
----
at 1472 ms:
n1: START f/1 attempt 2 with (['s0', 1585748274], 2)
n0: down
n1: f/1 RUNNING, attempt 2
n1: f/1 voters n0 n1 n2: owns it, promised epoch 2 of n1
n1: f on record, DONE
n1: f/0 on record, DONE
n2: f/1 voters n0 n1 n2: votes, promised epoch 2 of n1
n2: f on record, DONE
n2: f/0 on record, DONE

done f/1 at n1
deliver quietly
watch n2 f/1 from=ann
show
----
ann <- DONE f/1 ['s1', 1342874054]
n0: down
n1: f/1 ended, seen by n1 n2; that all have seen it knows nobody
n1: f on record, DONE
n1: f/0 on record, DONE
n1: f/1 on record, DONE
n2: f/1 ended, seen by n1 n2; that all have seen it knows nobody
n2: f on record, DONE
n2: f/0 on record, DONE
n2: f/1 on record, DONE
