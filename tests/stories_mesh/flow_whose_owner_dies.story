# A pipeline of two steps, and the node that owns it dies between them.  The flow itself ended as soon as
# two disks had it, and its outcome named both steps: they are calls like others, with voters like others.
mesh 3 workers=n0,n1
flow n0 f from=ann s0:1 s1<0
deliver quietly
show
----
ann <- ACCEPTED f quorum 2/3
ann <- DONE f a flow of 2 steps
n0: START f/0 attempt 1 with (1)
n0: f/0 RUNNING, attempt 1
n0: f/1 GATHERING, attempt 0: waits for call 0174876e-8000-7e3f-bb92-f9e6cbe8d169
n0: f/0 voters n0 n1 n2: owns it, promised epoch 1 of n0
n0: f/1 voters n0 n1 n2: owns it, promised epoch 1 of n0
n0: f on record, DONE
n1: f/0 voters n0 n1 n2: votes, promised epoch 1 of n0
n1: f/1 voters n0 n1 n2: votes, promised epoch 1 of n0
n1: f on record, DONE
n2: f/0 voters n0 n1 n2: votes, promised epoch 1 of n0
n2: f/1 voters n0 n1 n2: votes, promised epoch 1 of n0
n2: f on record, DONE

# The first step ends; the owner dies with the second, which it has just begun.
done f/0 at n0
deliver quietly
show
----
n0: START f/1 attempt 1 with (['s0', 1585748274])
n0: f/1 RUNNING, attempt 1
n0: f/1 voters n0 n1 n2: owns it, promised epoch 1 of n0
n0: f on record, DONE
n0: f/0 on record, DONE
n1: f/1 voters n0 n1 n2: votes, promised epoch 1 of n0
n1: f on record, DONE
n1: f/0 on record, DONE
n2: f/1 voters n0 n1 n2: votes, promised epoch 1 of n0
n2: f on record, DONE
n2: f/0 on record, DONE

# What the second is fed was written nowhere: whoever goes on has seen how the first ended.
drop *->*
crash n0
dead n0 at n1 n2
tick 1000
deliver
----
n1 -> n2 PREPARE f/1 epoch 2 of n1
n2 -> n1 PROMISE f/1 epoch 2 of n1
n1: f/1 taken over, epoch 2
n1: START f/1 attempt 1 with (['s0', 1585748274])

done f/1 at n1
deliver quietly
watch n2 f/1 from=ann
show
----
ann <- DONE f/1 ['s1', 3951898967]
n0: down
n1: f/1 ended, seen by n1 n2; that all have seen it knows nobody
n1: f on record, DONE
n1: f/0 on record, DONE
n1: f/1 on record, DONE
n2: f/1 ended, seen by n1 n2; that all have seen it knows nobody
n2: f on record, DONE
n2: f/0 on record, DONE
n2: f/1 on record, DONE
