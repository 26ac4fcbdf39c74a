"""From a verified identity to a viewer, and from a viewer to what they may see."""

from collections import OrderedDict
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Uuid, bindparam, insert, text

from app.db import Database
from app.errors import Forbidden
from app.graphql.context import Context, Viewer
from app.ids import new_id
from app.members import directory, rules
from app.members.models import AuditRead

STRANGER = Viewer(known=False)
"""A good token of somebody we do not know."""

REMEMBERED_FOR = timedelta(seconds=30)
"""A revoked sign-in, role or guardianship bites within this time."""

_REMEMBERED_MAX = 50_000

_FIND = text("""
select m.member_id, m.locale, s.staff_id, s.roles, s.locale as staff_locale,
  exists(select from guardianships g where g.guardian_id = m.member_id
         and g.member_id = :acting_for and g.ended_at is null) as guards
from (select 1) one
left join member_sign_ins i on i.issuer = :issuer and i.subject = :subject
left join members m on m.member_id = i.member_id and m.erased_at is null
left join staff_sign_ins e on e.issuer = :issuer and e.subject = :subject
left join staff s on s.staff_id = e.staff_id and s.active
""").bindparams(bindparam("acting_for", type_=Uuid))

_GUARDS = text("""
select exists(select from guardianships g join members m on m.member_id = g.member_id
  where g.member_id = :child_id and g.guardian_id = :guardian_id
  and g.ended_at is null and m.erased_at is null)
""").bindparams(bindparam("child_id", type_=Uuid), bindparam("guardian_id", type_=Uuid))


class SignIns:
    """Who a verified (issuer, subject) is; remembered for half a minute, so that a screen
    costs one database round trip."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: OrderedDict[tuple[str, str, UUID | None], tuple[datetime, Viewer]]
        self._known = OrderedDict()

    async def viewer(
        self,
        *,
        issuer: str,
        subject: str,
        acting_for: UUID | None,
        expires_at: datetime,
        now: datetime,
    ) -> Viewer:
        """The member or employee; STRANGER for somebody we do not know.

        Raises Forbidden when `acting_for` is not a child of this guardian.
        """
        key = (issuer, subject, acting_for)
        known = self._known.get(key)
        if known is not None and now < known[0] and known[1].expires_at == expires_at:
            return known[1]
        viewer = await self._find(issuer, subject, acting_for, expires_at)
        self._known[key] = (now + REMEMBERED_FOR, viewer)
        self._known.move_to_end(key)
        while len(self._known) > _REMEMBERED_MAX:
            self._known.popitem(last=False)
        return viewer

    def forget(self, member_id: UUID) -> None:
        """After a change of locale, so that the next answer is in the new one."""
        stale = [key for key, (_, viewer) in self._known.items() if viewer.member_id == member_id]
        for key in stale:
            del self._known[key]

    async def _find(
        self, issuer: str, subject: str, acting_for: UUID | None, expires_at: datetime
    ) -> Viewer:
        parameters = {"issuer": issuer, "subject": subject, "acting_for": acting_for}
        async with self._db.read() as connection:
            row = (await connection.execute(_FIND, parameters)).one()
        if acting_for is not None and not row.guards:
            raise Forbidden("You do not act for this member.")
        if row.member_id is None and row.staff_id is None:
            return STRANGER
        return Viewer(
            member_id=row.member_id,
            staff_id=row.staff_id,
            roles=frozenset(row.roles or ()),
            acting_for=acting_for,
            locale=row.locale or row.staff_locale,
            expires_at=expires_at,
        )


async def guards(db: Database, *, guardian_id: UUID, child_id: UUID) -> bool:
    """Whether the guardian may act for this child now."""
    async with db.read() as connection:
        parameters = {"guardian_id": guardian_id, "child_id": child_id}
        return bool(await connection.scalar(_GUARDS, parameters))


async def decide_access(context: Context, member_id: UUID) -> bool:
    """Whether an employee may see this member. A read that is allowed is written down
    before it happens, or it does not happen. Members see themselves only."""
    viewer = context.viewer
    if viewer.staff_id is None:
        return False
    async with context.db.read() as connection:
        grounded = await directory.is_grounded(
            connection, staff_id=viewer.staff_id, member_id=member_id
        )
    if grounded is None or not rules.may_see(viewer.roles, assigned=grounded):
        return False
    await audit(context, [member_id])
    return True


async def audit(context: Context, member_ids: list[UUID]) -> None:
    """Write down that the employee reads these members' data, in one statement."""
    if not member_ids:
        return
    assert context.viewer.staff_id is not None
    rows = [
        {
            "member_id": member_id,
            "id": new_id(context.now),
            "staff_id": context.viewer.staff_id,
            "operation": context.operation or "(unnamed)",
            "request_id": context.request_id,
            "read_at": context.now,
        }
        for member_id in member_ids
    ]
    async with context.db.write() as connection:
        await connection.execute(insert(AuditRead), rows)
