"""A contract in whatever state, from the application to the end; `Policy` is what is in force."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Self
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from app.graphql import enums
from app.graphql.facets import Profile
from app.graphql.ids import GlobalId, Kind, encode, parse
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.premiums import contract_queries as queries
from app.premiums import money_graphql
from app.premiums.contract_queries import Key
from app.premiums.contract_terms import Frequency, Payer
from app.premiums.invoice_rules import InvoiceState
from app.premiums.lifecycle import PolicyEventKind, PolicyState
from app.premiums.money_graphql import Money
from app.premiums.payments_graphql import PaymentsOfContract
from app.premiums.premium_types import Product
from app.premiums.underwriting_rules import Finding, WaitsFor
from app.worklist.subjects import Load, SubjectKey, WorklistSubject

enums.register(
    PolicyState,
    {
        "GRACE": "Covered, with an invoice that is overdue.",
        "LAPSED": "Not paid until the end of the grace period.",
        "RESCINDED": "Never was, because something was concealed.",
        "EXPIRED": "Not completed, or not answered, in time.",
    },
    name="ContractState",
)
enums.register(PolicyEventKind, name="ContractEventKind")
enums.register(WaitsFor, name="UnderwritingNeed")
enums.register(Finding, name="UnderwritingFinding")
enums.register(Frequency, name="PaymentFrequency")
enums.register(Payer, name="PremiumPayer")
enums.register(InvoiceState, name="InvoiceState")


@strawberry.type
class Refund(Node):
    amount: Money
    owed_at: datetime
    paid_at: datetime | None = strawberry.field(description="Null while it is owed.")

    @classmethod
    def of(cls, row: Any) -> Self:
        """From a `Refund` of the tables, or a row with its columns."""
        return cls(
            id=strawberry.ID(encode(Kind.REFUND, row.member_id, row.id)),
            amount=money_graphql.of(row.amount, row.currency),
            owed_at=row.owed_at,
            paid_at=row.paid_at,
        )


@strawberry.type(description="One instalment of a term's premium.")
class Invoice(Node):
    state: InvoiceState
    amount: Money = strawberry.field(
        description="Less than planned when the cover ended before it was paid."
    )
    part: int = strawberry.field(description="From 1.")
    parts: int
    covers_from: date
    covers_to: date = strawberry.field(description="Last day that it pays for.")
    issued_at: datetime = strawberry.field(description="Or when it will be.")
    due_at: datetime | None = strawberry.field(
        description="Until before then it can be paid in time; null until it is issued."
    )
    paid_at: datetime | None
    failures: int = strawberry.field(description="How often it could not be collected.")
    payer: Payer

    @classmethod
    def of(cls, row: Any) -> Self:
        return cls(
            id=strawberry.ID(encode(Kind.INVOICE, row.member_id, row.id)),
            state=InvoiceState(row.state),
            amount=money_graphql.of(row.amount, row.currency),
            part=row.part,
            parts=row.parts,
            covers_from=row.covers_from,
            covers_to=row.covers_to,
            issued_at=row.issues_at,
            due_at=row.due_at,
            paid_at=row.paid_at,
            failures=row.failures,
            payer=Payer[row.payer],
        )


@strawberry.type
class ContractEvent:
    kind: PolicyEventKind
    state: PolicyState = strawberry.field(description="The one that it led to.")
    at: datetime
    reason: str | None = strawberry.field(description="Of an employee; null without one.")
    by_member: bool = strawberry.field(description="The member, or the guardian who acts for them.")

    @classmethod
    def of(cls, row: Any) -> Self:
        return cls(
            kind=PolicyEventKind(row.kind),
            state=PolicyState(row.state),
            at=row.at,
            reason=row.reason,
            by_member=row.actor == "MEMBER",
        )


@strawberry.type(description="A term that is offered, or that runs, with its price a year.")
class OfferedTerm:
    starts_on: date
    ends_on: date
    base: Money
    total: Money


@strawberry.type(description="What somebody declares of themselves.")
class Declaration:
    code: str
    confirmed: bool


@strawberry.type(description="What underwriting waits for, found and decided.")
class UnderwritingSheet:
    waits_for: list[WaitsFor] = strawberry.field(description="Empty when nothing is missing.")
    findings: list[Finding] = strawberry.field(
        description="Why a person decides, or why it was declined."
    )
    conditions: list[str] = strawberry.field(description="ICD-10, as declared.")
    declarations: list[Declaration]
    accepted: bool | None = strawberry.field(description="Null until it is decided.")
    reason: str | None = strawberry.field(description="Of the employee who decided.")
    decided_at: datetime | None


@strawberry.type(description="Cover that was applied for, is in force, or has ended.")
class InsuranceContract(PaymentsOfContract, WorklistSubject):
    product: Product
    state: PolicyState
    starts_on: date = strawberry.field(description="First day of cover, as wished for until then.")
    ended_on: date | None = strawberry.field(
        description="Last day of cover when it ends otherwise than with its term; the day before "
        "`startsOn` when there never was one."
    )
    answer_until: datetime | None = strawberry.field(
        description="When the application or offer closes of itself, or accepted cover begins."
    )
    grace_ends_at: datetime | None = strawberry.field(
        description="When the cover lapses unless it is paid; null when nothing is overdue."
    )
    payer: Payer
    frequency: Frequency = strawberry.field(description="Of the terms that begin from now on.")
    group_code: str | None
    term: OfferedTerm | None = strawberry.field(
        description="The newest term; null until it is offered."
    )
    underwriting: UnderwritingSheet | None
    renewal_offered_from: date | None = strawberry.field(
        description="First day of the term that is offered next; null when none is."
    )
    renewal_accepted: bool | None = strawberry.field(
        description="What the member said to it; null without an answer."
    )
    rescission_proposed: bool = strawberry.field(
        description="Seen by employees: another person is to decide. Always false for members."
    )

    @strawberry.field(description="In the order in which they are issued.")
    async def invoices(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[Invoice]:
        size = page_size(first)
        cursor: Any = read_cursor(after, datetime.fromisoformat, UUID)
        async with info.context.db.read() as reading:
            rows = await queries.invoices(reading, self.key, after=cursor, limit=size + 1)
        return connection(
            rows,
            size=size,
            after=after,
            node=Invoice.of,
            key=lambda row: (row.issues_at.isoformat(), row.id),
        )

    @strawberry.field(description="What is given back of what was paid.")
    async def refunds(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[Refund]:
        size = page_size(first)
        cursor = read_cursor(after, UUID)
        async with info.context.db.read() as reading:
            rows = await queries.refunds(
                reading, self.key, after=cursor[0] if cursor else None, limit=size + 1
            )
        return connection(rows, size=size, after=after, node=Refund.of, key=lambda row: (row.id,))

    @strawberry.field(description="What happened to it, the newest first.")
    async def history(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[ContractEvent]:
        size = page_size(first)
        cursor = read_cursor(after, int)
        but = _FOR_STAFF if info.context.viewer.staff_id is None else ()
        async with info.context.db.read() as reading:
            rows = await queries.history(
                reading, self.key, but=but, before=cursor[0] if cursor else None, limit=size + 1
            )
        return connection(
            rows, size=size, after=after, node=ContractEvent.of, key=lambda row: (row.place,)
        )

    @classmethod
    def of(cls, row: Any, info: Info) -> Self:
        zh = info.context.locale[:2] == "zh"
        answer = row.renewal_answer
        return cls(
            id=strawberry.ID(encode(Kind.CONTRACT, row.member_id, row.id)),
            product=Product(
                code=row.product_code,
                name=row.name_zh if zh else row.name_en,
                version=row.product_version,
            ),
            state=PolicyState.GRACE if row.grace_ends_at is not None else PolicyState(row.state),
            starts_on=row.started_on,
            ended_on=row.ended_on,
            answer_until=row.due_at,
            grace_ends_at=row.grace_ends_at,
            payer=Payer[row.payer],
            frequency=Frequency[row.frequency],
            group_code=row.group_code,
            term=_term(row),
            underwriting=_sheet(row),
            renewal_offered_from=row.renews_on,
            renewal_accepted=None if answer is None else answer == "ACCEPTED",
            rescission_proposed=row.rescission_proposed
            and info.context.viewer.staff_id is not None,
            key=(row.member_id, row.id),
        )


_FOR_STAFF = (PolicyEventKind.RESCISSION_PROPOSED, PolicyEventKind.RESCISSION_DROPPED)


def _term(row: Any) -> OfferedTerm | None:
    if row.starts_on is None:
        return None
    return OfferedTerm(
        starts_on=row.starts_on,
        ends_on=row.ends_on,
        base=money_graphql.of(row.base, row.currency),
        total=money_graphql.of(row.total, row.currency),
    )


def _sheet(row: Any) -> UnderwritingSheet | None:
    if row.waits_for is None:
        return None
    return UnderwritingSheet(
        waits_for=[WaitsFor(it) for it in row.waits_for],
        findings=[Finding(it) for it in row.findings],
        conditions=list(row.conditions),
        declarations=[
            Declaration(code=code, confirmed=said) for code, said in sorted(row.answers.items())
        ],
        accepted=None if row.decision is None else row.decision == "ACCEPT",
        reason=row.decision_reason,
        decided_at=row.decided_at,
    )


async def load(info: Info, key: Key) -> InsuranceContract | None:
    """Loads of one moment share one statement."""
    name, state = "premiums.contracts", info.context.state
    if name not in state:

        async def load_keys(keys: list[Key]) -> list[InsuranceContract | None]:
            found = await _load(info, keys)
            return [found.get(it) for it in keys]

        state[name] = DataLoader(load_fn=load_keys, cache=False)
    loaded: InsuranceContract | None = await state[name].load(key)
    return loaded


async def _load(info: Info, keys: Sequence[Key]) -> Mapping[Key, InsuranceContract]:
    async with info.context.db.read() as reading:
        rows = await queries.contracts(reading, keys)
    return {key: InsuranceContract.of(row, info) for key, row in rows.items()}


@strawberry.type
class ContractOfPolicy:
    """The part of `Policy` that is kept here."""

    @strawberry.field(description="The same with its state, history and invoices.")
    async def contract(self, info: Info) -> InsuranceContract:
        named = parse(self.id)  # type: ignore[attr-defined]
        assert named is not None
        found = await load(info, (named.owner_id, named.key))
        assert found is not None
        return found


@strawberry.type
class ContractsOfMember:
    """The part of `Member` that is kept here."""

    profile: strawberry.Private[Profile]

    @strawberry.field(description="Applications and policies in whatever state, newest first.")
    async def contracts(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[InsuranceContract]:
        size = page_size(first)
        cursor = read_cursor(after, UUID)
        async with info.context.db.read() as reading:
            rows = await queries.of_member(
                reading,
                self.profile.member_id,
                before=cursor[0] if cursor else None,
                limit=size + 1,
            )
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: InsuranceContract.of(row, info),
            key=lambda row: (row.id,),
        )


async def _load_subjects(
    info: Info, keys: Sequence[SubjectKey]
) -> Mapping[SubjectKey, WorklistSubject]:
    found = await _load(info, [(key.member_id, key.id) for key in keys])
    return {key: found[key.member_id, key.id] for key in keys if (key.member_id, key.id) in found}


SUBJECTS: dict[str, Load] = {"POLICY": _load_subjects}


async def _fetch_contract(info: Info, id: GlobalId) -> InsuranceContract | None:
    return await load(info, (id.owner_id, id.key))


async def load_invoice(info: Info, key: Key) -> Invoice | None:
    async with info.context.db.read() as reading:
        rows = await queries.invoices_of(reading, [key])
    return Invoice.of(rows[key]) if key in rows else None


async def _fetch_invoice(info: Info, id: GlobalId) -> Invoice | None:
    return await load_invoice(info, (id.owner_id, id.key))


async def _fetch_refund(info: Info, id: GlobalId) -> Refund | None:
    async with info.context.db.read() as reading:
        row = await queries.refund(reading, (id.owner_id, id.key))
    return Refund.of(row) if row is not None else None


NODE_FETCHERS: dict[Kind, Fetch] = {
    Kind.CONTRACT: _fetch_contract,
    Kind.INVOICE: _fetch_invoice,
    Kind.REFUND: _fetch_refund,
}
