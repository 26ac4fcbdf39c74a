"""What the clock remembers. The queue's own tables belong to pgqueuer."""

from datetime import datetime

from sqlmodel import SQLModel

from app.columns import column


class ClockSlot(SQLModel, table=True):
    """A slot of a clock job that has been given to the queue. Its key makes it happen once,
    whatever several leaders believe; its job commits in the same statement."""

    __tablename__ = "clock_slots"

    job: str = column(str, key=True)
    slot: datetime = column(datetime, key=True)
