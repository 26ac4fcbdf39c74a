"""What the demo population remembers of its own making."""

from datetime import datetime

from sqlmodel import SQLModel

from app.columns import column


class SeedRun(SQLModel, table=True):
    """A population being made; unfinished when the process was stopped on the way."""

    __tablename__ = "seed_runs"

    name: str = column(str, key=True)
    started_at: datetime = column(datetime)
    finished_at: datetime | None = column(datetime, null=True)
