"""What explanations say. Numbers, days and titles; of readings only what the member sent."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from app.health_tasks.rules import TaskKind
from app.health_tasks.sentences import CAP_NAMES, FINDINGS, Reason
from app.points.caps import CapKind
from app.points.rules import Account
from app.texts import Text


def both(*parts: Text) -> Text:
    """One after the other."""
    return Text(zh="".join(part.zh for part in parts), en=" ".join(part.en for part in parts))


def plain(number: Decimal) -> str:
    return f"{number.normalize():f}"


_UNITS = {
    "{steps}": Text(zh="步", en="steps"),
    "{times}": Text(zh="次", en="times"),
    "d": Text(zh="天", en="days"),
    "min": Text(zh="分钟", en="minutes"),
}
"""What people say for UCUM units; other units are shown as they are."""


def amount_of(number: Decimal, unit: str) -> Text:
    """`unit` is UCUM."""
    word = _UNITS.get(unit) or Text(zh=unit.strip("{}"), en=unit.strip("{}"))
    return Text(zh=f"{plain(number)} {word.zh}", en=f"{plain(number)} {word.en}")


POINTS = Text(zh="积分", en="Points")
LOTS = Text(zh="积分现在的去向", en="Where these points are now")
TAKEN = Text(zh="所用的积分", en="Which points were used")
TASK = Text(zh="任务", en="Task")
CHECK_IN = Text(zh="打卡", en="Check-in")
CAP = Text(zh="积分上限", en="Limit of points")
REVIEW = Text(zh="人工审核", en="Review")


# Tasks


def done_for(title: Text, points: int) -> Text:
    return Text(
        zh=f"「{title.zh}」已完成，获得 {points} 积分。",
        en=f"“{title.en}” is done: {points} points.",
    )


def done_but_capped(title: Text, *, points: int, of: int, kind: CapKind) -> Text:
    name = CAP_NAMES[kind]
    return Text(
        zh=f"「{title.zh}」已完成。本应获得 {of} 积分，因{name.zh}，获得 {points} 积分。",
        en=f"“{title.en}” is done. It pays {of} points; the {name.en} left {points}.",
    )


def done_but_waiting(title: Text, points: int) -> Text:
    return Text(
        zh=f"「{title.zh}」已完成，{points} 积分待审核。",
        en=f"“{title.en}” is done; {points} points wait for a decision.",
    )


def done_but_taken_back(title: Text, points: int) -> Text:
    return Text(
        zh=f"「{title.zh}」曾获得积分，其中 {points} 积分已被撤回。",
        en=f"“{title.en}” was paid, and {points} points were taken back.",
    )


def done_without_points(title: Text) -> Text:
    return Text(
        zh=f"「{title.zh}」已完成；这项任务没有积分。",
        en=f"“{title.en}” is done; it pays no points.",
    )


def in_review(title: Text) -> Text:
    return Text(
        zh=f"「{title.zh}」有一次打卡待审核，结果出来前不发放积分。",
        en=f"A check-in of “{title.en}” waits for a decision; the points come with it.",
    )


def not_due(title: Text, starts_on: date) -> Text:
    return Text(
        zh=f"「{title.zh}」从 {starts_on} 开始，现在还不能打卡。",
        en=f"“{title.en}” begins on {starts_on}; nothing can be done for it yet.",
    )


def nothing_yet(title: Text, ends_on: date, points: int) -> Text:
    return Text(
        zh=f"「{title.zh}」还没有打卡。在 {ends_on} 之前完成可得 {points} 积分。",
        en=f"Nothing was done for “{title.en}” yet. Done by {ends_on} it pays {points} points.",
    )


def under_way(title: Text, *, done: str, target: Text, ends_on: date, points: int) -> Text:
    return Text(
        zh=f"「{title.zh}」已完成 {done}，目标 {target.zh}。在 {ends_on} 之前达到目标可得 {points} 积分。",
        en=f"“{title.en}”: {done} of {target.en} so far. Reached by {ends_on} it pays {points} points.",
    )


def pays_at_end(title: Text, *, done: str, target: Text, ends_on: date) -> Text:
    return Text(
        zh=f"「{title.zh}」已确认 {done}，目标 {target.zh}。{ends_on} 结束后结算积分。",
        en=f"“{title.en}”: {done} of {target.en} confirmed. It pays when its period ends, "
        f"on {ends_on}.",
    )


def nothing_done(title: Text, ends_on: date) -> Text:
    return Text(
        zh=f"「{title.zh}」的周期已于 {ends_on} 结束，期间没有打卡，因此没有积分。",
        en=f"The period of “{title.en}” ended on {ends_on} and nothing was done, "
        "so there are no points.",
    )


def missed(title: Text, *, done: str, target: Text, ends_on: date) -> Text:
    return Text(
        zh=f"「{title.zh}」的周期已于 {ends_on} 结束，完成 {done}，未达到目标 {target.zh}，因此没有积分。",
        en=f"The period of “{title.en}” ended on {ends_on} with {done} of {target.en}, "
        "so there are no points.",
    )


def missed_but_given(title: Text, points: int, *, ends_on: date) -> Text:
    return Text(
        zh=f"「{title.zh}」的周期已于 {ends_on} 结束，未达到目标；经申诉获得 {points} 积分。",
        en=f"The period of “{title.en}” ended on {ends_on} without its target; "
        f"{points} points were given after all.",
    )


def paused(title: Text) -> Text:
    return Text(
        zh=f"计划已暂停，「{title.zh}」不要求完成，也不算错过。",
        en=f"The programme was paused: “{title.en}” was not asked for, and is not missed.",
    )


def silent(title: Text) -> Text:
    return Text(
        zh=f"设备没有传来数据，无法判断「{title.zh}」是否完成。这不等于没有做。",
        en=f"Nothing arrived from the device for “{title.en}”. That is not the same as "
        "nothing done.",
    )


CONSENT_REFUSED = Text(
    zh="你拒绝了使用健康数据，因此不能打卡，也没有积分；可在设置中同意。",
    en="You refused the use of health data, which a check-in needs; so there are no points. "
    "Settings change it.",
)
CONSENT_WITHDRAWN = Text(
    zh="你撤回了健康数据授权，因此不能打卡，也没有积分；可在设置中重新同意。",
    en="You withdrew the use of health data, which a check-in needs; so there are no points. "
    "Settings change it.",
)
CONSENT_NOT_ASKED = Text(
    zh="打卡前请先同意使用健康数据。",
    en="A check-in needs your consent to the use of health data first.",
)


def rule(
    title: Text, kind: TaskKind, *, target: Text, span: tuple[date, date], points: int
) -> Text:
    starts_on, ends_on = span
    end = (
        Text(zh="周期结束时结算。", en="It is settled when its period is over.")
        if kind is TaskKind.ABSTAIN
        else Text(zh="达到目标时发放一次。", en="It pays once, when the target is reached.")
    )
    return both(
        Text(
            zh=f"「{title.zh}」，{starts_on} 至 {ends_on}，目标 {target.zh}，{points} 积分。",
            en=f"“{title.en}”, {starts_on} to {ends_on}, target {target.en}, {points} points.",
        ),
        end,
    )


def cap(kind: CapKind, *, limit: int | None, points: int, of: int) -> Text:
    name = CAP_NAMES[kind]
    number = "" if limit is None else f" {limit} "
    return Text(
        zh=f"{name.zh}{number.rstrip()}：任务应得 {of} 积分，只剩 {points} 积分的额度。",
        en=f"The {name.en}{number.rstrip()} left {points} of {of} points.",
    )


# Check-ins


def check_in(local_date: date, reported: Text | None) -> Text:
    if reported is None:
        return Text(zh=f"{local_date} 打卡。", en=f"Ticked for {local_date}.")
    return Text(zh=f"{local_date} 记录了 {reported.zh}。", en=f"{reported.en} for {local_date}.")


def measured(local_date: date, reported: Text | None) -> Text:
    if reported is None:
        return Text(zh=f"{local_date} 由数据自动完成。", en=f"Counted from data of {local_date}.")
    return Text(
        zh=f"{local_date} 由数据记录 {reported.zh}。",
        en=f"{reported.en} from data of {local_date}.",
    )


def reading(local_date: date, amount: Text) -> Text:
    return Text(zh=f"{local_date} 测得 {amount.zh}。", en=f"{amount.en} on {local_date}.")


def total(local_date: date, amount: Text, sources: Sequence[tuple[str, Decimal]]) -> Text:
    said = Text(zh=f"{local_date} 共 {amount.zh}。", en=f"{amount.en} on {local_date}.")
    if len(sources) < 2:
        return said
    each = "; ".join(f"{name} {plain(value)}" for name, value in sources)
    return both(
        said,
        Text(
            zh=f"各设备：{each}；重叠的时段只算一次。",
            en=f"By source: {each}; what overlaps counts once.",
        ),
    )


CONTESTED_ENTRY = Text(zh="你对这笔积分提出了申诉。", en="You contested this entry.")
CONTESTED_CHECK_IN = Text(zh="你对这次打卡提出了申诉。", en="You contested this check-in.")


def review(
    state: str, *, contested: Text | None, findings: Sequence[str], due_on: date, reason: str | None
) -> Text:
    """What somebody looks at, and what they decided."""
    opened = contested or _found(findings)
    match state:
        case "ACCEPTED":
            return both(opened, _decided(Text(zh="审核通过", en="Accepted"), reason))
        case "REJECTED":
            return both(opened, _decided(Text(zh="审核未通过", en="Not accepted"), reason))
        case "AWAITING_SECOND_PERSON":
            second = Text(
                zh="一位同事已作出决定，等待第二位确认。",
                en="One person has decided; a second has to agree.",
            )
            return both(opened, second)
        case _:
            due = Text(zh=f"最迟 {due_on} 有结果。", en=f"It is decided by {due_on}.")
            return both(opened, due)


def _found(findings: Sequence[str]) -> Text:
    known = [FINDINGS[Reason.of_finding(code)] for code in findings]
    if not known:
        return Text(zh="需要人工审核。", en="It is looked at by a person.")
    return Text(
        zh=f"需要人工审核：{'；'.join(it.zh for it in known)}。",
        en=f"It is looked at because {', and '.join(it.en for it in known)}.",
    )


def _decided(said: Text, reason: str | None) -> Text:
    if reason is None:
        return Text(zh=f"{said.zh}。", en=f"{said.en}.")
    return Text(zh=f"{said.zh}：{reason}", en=f"{said.en}: {reason}")


def duplicate(title: Text) -> Text:
    return Text(
        zh=f"已记录，但「{title.zh}」在本周期已由另一次打卡完成，积分只发放一次。",
        en=f"Counted, but another check-in had completed “{title.en}” in this period, "
        "and it pays once.",
    )


def more(number: int) -> Text:
    return Text(zh=f"另有 {number} 次打卡。", en=f"And {number} more.")


# Points


def moved(debit: str, credit: str, points: int, expires_on: date | None) -> Text:
    """One line of the ledger."""
    until = (
        Text(zh=f"，有效期至 {expires_on}", en=f", to be spent until {expires_on}")
        if expires_on is not None
        else Text(zh="", en="")
    )
    said = _MOVED.get((debit, credit)) or _TO.get(credit) or _OTHER
    return Text(
        zh=said.zh.format(points=points) + until.zh + "。",
        en=said.en.format(points=points) + until.en + ".",
    )


_MOVED: dict[tuple[str, str], Text] = {
    (Account.ISSUED, Account.AVAILABLE): Text(zh="获得 {points} 积分", en="{points} points earned"),
    (Account.ISSUED, Account.PENDING): Text(
        zh="{points} 积分待审核", en="{points} points wait for a decision"
    ),
    (Account.ISSUED, Account.OWED): Text(
        zh="{points} 积分用于抵还欠分", en="{points} points paid what was owed"
    ),
    (Account.PENDING, Account.AVAILABLE): Text(
        zh="审核通过，{points} 积分可用", en="Accepted: {points} points can be spent"
    ),
    (Account.PENDING, Account.OWED): Text(
        zh="审核通过，{points} 积分用于抵还欠分", en="Accepted: {points} points paid what was owed"
    ),
    (Account.PENDING, Account.REVERSED): Text(
        zh="审核未通过，{points} 积分未发放", en="Not accepted: {points} points are not given"
    ),
    (Account.AVAILABLE, Account.PENDING): Text(
        zh="{points} 积分重新待审核", en="{points} points wait for a decision again"
    ),
    (Account.AVAILABLE, Account.HELD): Text(
        zh="为兑换预留 {points} 积分", en="{points} points reserved for a redemption"
    ),
    (Account.AVAILABLE, Account.REDEEMED): Text(
        zh="兑换使用 {points} 积分", en="{points} points spent on a redemption"
    ),
    (Account.HELD, Account.REDEEMED): Text(
        zh="预留的 {points} 积分已用于兑换", en="{points} reserved points spent on the redemption"
    ),
    (Account.HELD, Account.AVAILABLE): Text(
        zh="预留的 {points} 积分已退回", en="{points} reserved points came back"
    ),
    (Account.HELD, Account.OWED): Text(
        zh="预留的 {points} 积分用于抵还欠分", en="{points} reserved points paid what was owed"
    ),
    (Account.REDEEMED, Account.AVAILABLE): Text(
        zh="兑换取消，退回 {points} 积分", en="The redemption was undone: {points} points came back"
    ),
    (Account.REDEEMED, Account.OWED): Text(
        zh="兑换取消，{points} 积分用于抵还欠分",
        en="The redemption was undone: {points} points paid what was owed",
    ),
    (Account.OWED, Account.REVERSED): Text(
        zh="撤回 {points} 积分；它们已用掉，将由以后获得的积分抵还",
        en="{points} points taken back. They were spent, so later earnings pay them first",
    ),
}
_TO: dict[str, Text] = {
    Account.REVERSED: Text(zh="撤回 {points} 积分", en="{points} points taken back"),
    Account.EXPIRED: Text(zh="{points} 积分已过期", en="{points} points expired"),
}
_OTHER = Text(zh="变动 {points} 积分", en="{points} points moved")

_PARTS = (
    ("remaining", Text(zh="可用 {points}", en="{points} can be spent")),
    ("pending", Text(zh="待审核 {points}", en="{points} wait for a decision")),
    ("held", Text(zh="已预留 {points}", en="{points} are reserved")),
    ("used", Text(zh="已用 {points}", en="{points} were spent")),
    ("expired", Text(zh="已过期 {points}", en="{points} expired")),
    ("reversed", Text(zh="已撤回 {points}", en="{points} were taken back")),
)


def lot(parts: dict[str, int], expires_on: date) -> Text:
    """What became of points given together."""
    said = [
        Text(zh=text.zh.format(points=parts[name]), en=text.en.format(points=parts[name]))
        for name, text in _PARTS
        if parts[name]
    ]
    return Text(
        zh="，".join(text.zh for text in said) + f"；有效期至 {expires_on}。",
        en=", ".join(text.en for text in said) + f"; last day {expires_on}.",
    )


def taken(points: int, earned_on: date, expires_on: date) -> Text:
    return Text(
        zh=f"{points} 积分，获得于 {earned_on}，有效期至 {expires_on}。先过期的先用。",
        en=f"{points} points earned on {earned_on}, last day {expires_on}. The oldest go first.",
    )


def expired(points: int, day: date) -> Text:
    return Text(
        zh=f"{points} 积分的有效期至 {day}，已过期。",
        en=f"{points} points could be spent until {day}, and expired after it.",
    )


def redemption(title: Text, points: int, state: str) -> Text:
    said = _REDEMPTION[state]
    return Text(
        zh=f"兑换「{title.zh}」，{points} 积分：{said.zh}",
        en=f"“{title.en}” for {points} points: {said.en}",
    )


_REDEMPTION = {
    "RESERVED": Text(zh="积分已预留，等待发放。", en="the points are reserved until it is given."),
    "FULFILLED": Text(zh="已发放。", en="it was given."),
    "CANCELLED": Text(zh="已取消，不扣积分。", en="cancelled; it costs no points."),
    "REVERSED": Text(zh="已撤回，积分已退回。", en="reversed; the points came back."),
    "EXPIRED": Text(zh="逾期未发放，不扣积分。", en="not given in time; it costs no points."),
}
