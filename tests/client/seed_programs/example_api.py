# The file "Defining Socket Functions" of the original's documentation as printed, with `pyfi` read
# as `meshcode` in the import line.
from meshcode.client.api import Socket as Function

do_something = Function(name="pyfi.processors.sample.do_something")
do_something_p = do_something.p
do_this = Function(name="pyfi.processors.sample.do_this")
do_this_p = do_this.p
