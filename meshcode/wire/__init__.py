"""Messages and envelopes to and from bytes; `docs/wire.md` has the bytes.

- `kinds`: the kinds of envelope and the small codes in their headers.
- `frame`: builds, seals, checks and indexes whole batches of envelopes, through `meshcode.native`.
- `codec`: plain data to bytes and back.
- `general`: the same for data that is not simple; the only importer of msgpack.
- `plain`: what plain data is beyond msgpack's own types, and where a value is not plain.

Nothing here reads a clock or a link.  Whatever bytes arrive, `frame` raises BadFrame and `codec`
raises BadValue, and nothing else.
"""
