"""Messages and envelopes to and from bytes.

`codec` turns plain data into bytes and back and is the only importer of msgpack; `frame` seals and
indexes whole batches of envelopes through `meshcode.native`.  Nothing here reads a clock or a link.
"""
