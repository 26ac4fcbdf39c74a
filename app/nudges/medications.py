"""A medication's reminders: one for each of its times, in step with the newest version."""

from datetime import date, datetime, time

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.ids import new_id
from app.members import service as members
from app.members.models import Member
from app.nudges import reminders
from app.nudges.models import MedicationReminder, Reminder
from app.nudges.rules import ReminderKind
from app.records.models import MedicationVersion
from app.texts import Text

_DAILY = "FREQ=DAILY"


async def follow(session: AsyncSession, medication: MedicationVersion, *, now: datetime) -> None:
    """Make, change or delete the reminders of a medication.

    A reminder that the member has deleted stays deleted, as long as the time stays. Raises
    reminders.TooManyReminders.
    """
    member = await members.lock(session, medication.member_id)
    today = civil_time.local_date(now, civil_time.zone(member.time_zone))
    ends_on = medication.ends_on
    is_over = ends_on is not None and ends_on < max(today, medication.starts_on)
    reminded = medication.remind and not is_over
    wanted = {time.fromisoformat(it) for it in medication.times if reminded}
    known = await _known(session, medication)
    for at, (link, reminder) in known.items():
        if at not in wanted:
            _delete(reminder, now)
            await session.delete(link)
        elif reminder.deleted_at is None:
            _update(reminder, member, medication, today, now)
    for at in sorted(wanted - known.keys()):
        await _make(session, member, medication, at, today, now)


async def _known(
    session: AsyncSession, medication: MedicationVersion
) -> dict[time, tuple[MedicationReminder, Reminder]]:
    """Locked, because the worker may be firing them just now."""
    found = await session.exec(
        select(MedicationReminder, Reminder)
        .join(
            Reminder,
            (col(Reminder.member_id) == MedicationReminder.member_id)
            & (col(Reminder.id) == MedicationReminder.reminder_id),
        )
        .where(
            MedicationReminder.member_id == medication.member_id,
            MedicationReminder.medication_id == medication.medication_id,
        )
        .order_by(col(Reminder.id))
        .with_for_update(of=Reminder, key_share=True)
        .execution_options(populate_existing=True)
    )
    return {link.local_time: (link, reminder) for link, reminder in found}


async def _make(
    session: AsyncSession,
    member: Member,
    medication: MedicationVersion,
    at: time,
    today: date,
    now: datetime,
) -> None:
    key = new_id(now)
    await reminders.check_room(session, member.member_id, besides=key)
    reminder = Reminder(
        member_id=member.member_id,
        id=key,
        title=_title(member, medication),
        kind=ReminderKind.MEDICATION,
        local_time=at,
        recurrence=_DAILY,
        starts_on=max(medication.starts_on, today),
        ends_on=medication.ends_on,
        created_at=now,
        changed_at=now,
    )
    reminders.plan(reminder, civil_time.zone(member.time_zone), now=now)
    session.add(reminder)
    await session.flush()
    session.add(
        MedicationReminder(
            member_id=member.member_id,
            medication_id=medication.medication_id,
            local_time=at,
            reminder_id=key,
        )
    )
    await session.flush()


def _update(
    reminder: Reminder, member: Member, medication: MedicationVersion, today: date, now: datetime
) -> None:
    """The time of day and the rule may be the member's own by now: they stay."""
    reminder.title = _title(member, medication)
    starts_on = max(medication.starts_on, min(reminder.starts_on, today))
    ends_on = medication.ends_on
    if (reminder.starts_on, reminder.ends_on) != (starts_on, ends_on):
        reminder.starts_on, reminder.ends_on = starts_on, ends_on
        reminder.changed_at = now
    reminders.plan(reminder, civil_time.zone(member.time_zone), now=now)


def _delete(reminder: Reminder, now: datetime) -> None:
    if reminder.deleted_at is None:
        reminder.deleted_at = now
        reminder.next_on = reminder.next_at = None


def _title(member: Member, medication: MedicationVersion) -> str:
    """Shown in the app only, never on a lock screen."""
    name = medication.name
    return Text(zh=f"服用{name}", en=f"Take {name}").to(member.locale)[: reminders.TITLE_CHARS_MAX]
