# Refusals name what is wrong and change nothing.
socket shop.clean
code p
submit shop.claen c1 from=ann
submit shop.clean c2 from=ann argc=3
submit shop.clean c3 from=ann priority=12
submit shop.clean c4 from=ann retries=many
----
ann <- REFUSED c1 unknown_socket: there is no socket 'shop.claen'; did you mean 'shop.clean'?
ann <- ACCEPTED
ann <- REFUSED c2 wrong_arguments: shop.clean(a, b=1) takes 2 positional arguments, 3 given; the call was not accepted
ann <- ACCEPTED
ann <- REFUSED c3 bad_request: socket shop.clean: option priority must be 0 to 9, it is 12
ann <- ACCEPTED
ann <- REFUSED c4 bad_request: socket shop.clean: option retries must be a whole number, it is 'many'
ann <- ACCEPTED

retry c1 by=ann
cancel c1 by=ann
show
----
ann <- NO no call c1 is open or kept in the history
ann <- NO call c1 is not open: it ended, or was never accepted here
