"""Who is in the mesh and who answers: SWIM with Lifeguard's self-distrust, as a pure core.

Reading order: `params`, `events`, `member`, `messages`, `swim`, then `probing`, `spreading`.
The rules in prose, and what they cost: docs/membership.md.
"""
