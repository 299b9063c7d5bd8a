"""Who belongs to the mesh: keys, the signed roster, invitations, and how a node joins.

    signing      Ed25519, the only importer of nacl
    statements   what is signed: members, delegations, evictions; shapes and bytes
    roster       all statements of a mesh, checked up to the root key; merging is grow-only
    admitting    making statements: admit, evict, rotate
    identity     this node's keys and facts; the files under $MESH_HOME/mesh
    rosterfile   the roster on disk, shared by the running node and commands
    line, invites    an invitation as one line, and as the seed keeps it
    handshake    the messages of a join and their checks; pure
    door         the join link of a running node
    joining, founding    what `mesh join` and `mesh init` do

`statements`, `roster`, `line` and `handshake` are pure.  docs/joining.md has the whole story.
"""
