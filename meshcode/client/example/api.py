"""The sockets that the example programs of the original call, under the names it gave them.

A mesh has them once it has the processor and the two sockets that its documentation adds:

    mesh add socket -n pyfi.processors.sample.do_something -pn proc1 -q pyfi.queue1 -t do_something
    mesh add socket -n pyfi.processors.sample.do_this -pn proc1 -q pyfi.queue2 -t do_this

To import them asks nobody; the first call does.
"""

from __future__ import annotations

from meshcode.client.objects.socket import Socket as Function

__all__ = ["do_something", "do_something_p", "do_this", "do_this_p"]

do_something = Function(name="pyfi.processors.sample.do_something")
do_something_p = do_something.p
do_this = Function(name="pyfi.processors.sample.do_this")
do_this_p = do_this.p
