"""A member's place between 0 and 1 for a purpose: random, and always the same.

SHA-256 of salt and id, the first 32 bits: equal here and in SQL, in every process, after every
restart. Another salt is another draw, independent of the first.
"""

from hashlib import sha256
from uuid import UUID

SIZE = 2**32


def bucket(salt: bytes, member_id: UUID) -> int:
    """From 0 to before `SIZE`."""
    return int.from_bytes(sha256(salt + member_id.bytes).digest()[:4])


def sql(salt: str, member_id: str) -> str:
    """The same as an SQL expression (bigint); `salt` and `member_id` are SQL of a bytea and a
    uuid."""
    hashed = f"encode(substr(sha256({salt} || uuid_send({member_id})), 1, 4), 'hex')"
    return f"(('x' || {hashed})::bit(32)::bigint)"


def place_sql(salt: str, member_id: str, ends: str) -> str:
    """At how many of the `ends` (SQL of a bytea[], of `boundary`, ascending) a member's bucket has
    arrived, as an SQL expression. The hash is compared as it is: half the price of `sql`."""
    return f"width_bucket(sha256({salt} || uuid_send({member_id})), {ends})"


def boundary(bucket: int) -> bytes:
    """A bucket as what hashes of it and of all after it do not come before."""
    return bucket.to_bytes(4)
