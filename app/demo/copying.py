"""Rows that go in by COPY, past the services."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

from app.health_tasks.models import CheckIn, ParticipationMonth, Task, TaskAssignment
from app.members.models import ConsentRecord, Member, MemberSignIn
from app.nudges.models import Message, Reminder
from app.points.models import PointsLot, PointsTransfer, Wallet
from app.premiums.models import Policy, PolicyTerm, PremiumProjection

Row = dict[str, Any]


@dataclass(slots=True)
class Rows:
    """What is to be copied, by table, in the order of their foreign keys."""

    tables: dict[type[SQLModel], list[Row]] = field(
        default_factory=lambda: {
            kind: []
            for kind in (
                Member, MemberSignIn, ConsentRecord, Wallet, Policy, PolicyTerm,
                PremiumProjection, ParticipationMonth, TaskAssignment, Task, CheckIn,
                PointsTransfer, PointsLot, Reminder, Message,
            )
        }
    )  # fmt: skip

    def add(self, table: type[SQLModel], /, **row: Any) -> None:
        self.tables[table].append(row)

    async def copy(self, connection: AsyncConnection) -> None:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        for kind, rows in self.tables.items():
            columns = [column.name for column in kind.__table__.columns]  # type: ignore[attr-defined]
            defaults = {
                name: field.default
                for name, field in kind.model_fields.items()
                if not field.is_required()
            }
            whole = ({**defaults, **row} for row in rows)
            records = [[row[name] for name in columns] for row in whole]
            await driver.copy_records_to_table(kind.__tablename__, records=records, columns=columns)
            rows.clear()
