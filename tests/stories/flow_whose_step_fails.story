# What needs a step that failed ends with the same error, without having run, and so on to the result.
# A branch that needs it not goes on.
socket a b
worker w1 w2
flow f from=ann a:1 b<0 a:3 b<2 <[1,3]
raise f/0 retry=no
watch f/1 f/4 from=ann
----
w1 <- START f/0 attempt 1 with (1)
w2 <- START f/2 attempt 1 with (3)
ann <- ACCEPTED f
ann <- DONE f a flow of 5 steps, its result is f/4
ann <- FAILED f/1 it raised ValueError
ann <- FAILED f/4 it raised ValueError

done f/2
done f/3
log
----
w1 <- START f/3 attempt 1 with (['a', 2961897502])
done f DONE after 0 attempts
done f/3 DONE after 1 attempts
done f/0 FAILED after 1 attempts
done f/1 FAILED after 0 attempts
done f/4 FAILED after 0 attempts
done f/2 DONE after 1 attempts

# A step that is cancelled takes those along that need it.
flow g from=ann a:1 b<0 a<1
cancel g/0 by=bob
stopped g/0
log
----
w1 <- START g/0 attempt 1 with (1)
ann <- ACCEPTED g
ann <- DONE g a flow of 3 steps, its result is g/2
bob <- OK interrupted
w1 <- INTERRUPT g/0: cancel
done f DONE after 0 attempts
done g DONE after 0 attempts
done f/3 DONE after 1 attempts
done g/1 CANCELLED after 0 attempts
done f/0 FAILED after 1 attempts
done f/1 FAILED after 0 attempts
done f/4 FAILED after 0 attempts
done g/0 CANCELLED after 1 attempts
done g/2 CANCELLED after 0 attempts
done f/2 DONE after 1 attempts
