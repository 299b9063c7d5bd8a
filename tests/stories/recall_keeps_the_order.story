# A worker may answer a recall only when the long call has ended.  Until it answers it gets nothing
# more: b3 would run before b1 and b2, which come back.
socket a b
worker w1
submit a warm from=ann
done warm
submit b hot from=ann
done hot
submit a long from=ann
submit b b1 b2 from=ann
----
w1 <- START warm attempt 1
ann <- ACCEPTED warm
ann <- DONE warm
w1 <- START hot attempt 1
ann <- ACCEPTED hot
ann <- DONE hot
w1 <- START long attempt 1
ann <- ACCEPTED long
w1 <- START b1 attempt 1
w1 <- START b2 attempt 1
ann <- ACCEPTED b1 b2

wait 100
submit b b3 from=ann
done long
----
at 100 ms:
w1 <- GIVE BACK what has not begun
ann <- ACCEPTED b3
ann <- DONE long

back w1 b1 b2
----
w1 <- START b1 attempt 1
w1 <- START b2 attempt 1
w1 <- START b3 attempt 1
