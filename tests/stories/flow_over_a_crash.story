# A flow is one call.  When it ends, which is at once, all its steps are open calls, in the same batch
# of the log.  A step that needs another waits in GATHERING; what it is fed comes first.
# Tasks of flows in stories give their name and a mark of their arguments.
socket a b
worker w1
flow f from=ann a:1 b<0:2 <[0,1]
log
----
w1 <- START f/0 attempt 1 with (1)
ann <- ACCEPTED f
ann <- DONE f a flow of 3 steps, its result is f/2
open f/0
open f/1
open f/2
done f DONE after 0 attempts

show
----
f/0 RUNNING attempt 1 at w1
f/1 GATHERING attempt 0: waits for call f/0
f/2 GATHERING attempt 0: waits for 2 of 2 calls

# The node dies when the first step has ended.  Nothing was written of what the second is fed: it is
# looked up in the history.
done f/0
crash
boot
show
----
w1 <- START f/1 attempt 1 with (['a', 1585748274], 2)
boot 2: 2 open calls
f/1 GATHERING attempt 0: waits for call f/0
f/2 GATHERING attempt 0: waits for 2 of 2 calls

worker w2
done f/1
log
----
w2 <- START f/1 attempt 1 with (['a', 1585748274], 2)
done f DONE after 0 attempts
done f/0 DONE after 1 attempts
done f/1 DONE after 1 attempts
done f/2 DONE after 0 attempts

# Whoever asks for the flow is told where its result is, and asks for that.
watch f f/2 from=ann
----
ann <- DONE f a flow of 3 steps, its result is f/2
ann <- DONE f/2 [['a', 1585748274], ['b', 3067569017]]
