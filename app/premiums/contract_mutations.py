"""What members do with their contracts; a guardian does it for a child."""

from datetime import date
from typing import Annotated
from uuid import UUID

import strawberry

from app.errors import NotFound
from app.graphql.errors import UserError
from app.graphql.ids import Kind, decode
from app.graphql.node import Info
from app.premiums import (
    applications,
    cancellation,
    contracts_graphql,
    declarations,
    payment_choices,
    renewal,
)
from app.premiums.contract_terms import Frequency
from app.premiums.contracts_graphql import InsuranceContract
from app.premiums.history import Actor
from app.premiums.models import Policy


@strawberry.input(description="One answer to a declaration of the product.")
class DeclarationInput:
    code: str
    confirmed: bool


@strawberry.input(description="What is concealed here may rescind the contract later.")
class DeclaredInput:
    conditions: list[str] = strawberry.field(description="ICD-10 of every diagnosis, at most 30.")
    answers: list[DeclarationInput] = strawberry.field(
        description="One to each declaration of the product."
    )

    def said(self) -> declarations.Declared:
        """Of a code that stands twice, nothing counts: it is refused as not answered."""
        codes = [it.code for it in self.answers]
        confirmed = {it.code: it.confirmed for it in self.answers if codes.count(it.code) == 1}
        return declarations.Declared(tuple(self.conditions), confirmed)


@strawberry.input
class ApplyForPolicyInput:
    request_id: UUID
    product_code: str
    starts_on: date | None = strawberry.field(
        default=None,
        description="First day of cover, from today to 60 days ahead; left out: as soon as "
        "possible.",
    )
    frequency: Frequency | None = strawberry.field(
        default=None, description="Left out: the first that the product offers."
    )
    group_code: str | None = strawberry.field(
        default=None, description="Of the employer or community that one is insured with."
    )
    declared: DeclaredInput | None = strawberry.field(
        default=None, description="May follow by `declareForPolicy`."
    )


@strawberry.input
class DeclareForPolicyInput:
    request_id: UUID
    contract_id: strawberry.ID
    declared: DeclaredInput


@strawberry.input
class AcceptOfferInput:
    request_id: UUID
    contract_id: strawberry.ID


@strawberry.input
class WithdrawApplicationInput:
    request_id: UUID
    contract_id: strawberry.ID


@strawberry.input
class AnswerRenewalInput:
    request_id: UUID
    contract_id: strawberry.ID
    accept: bool


@strawberry.input
class CancelPolicyInput:
    request_id: UUID
    contract_id: strawberry.ID


@strawberry.input
class SetPaymentFrequencyInput:
    request_id: UUID
    contract_id: strawberry.ID
    frequency: Frequency


@strawberry.type
class ContractPayload:
    replayed: bool
    contract: InsuranceContract


ContractResult = Annotated[ContractPayload | UserError, strawberry.union("ContractResult")]


def _own(info: Info, id: strawberry.ID) -> tuple[UUID, UUID, Actor]:
    """Member, policy and who acts. Raises NotFound, Unauthenticated, Forbidden."""
    member_id = info.context.member_id
    named = decode(id, Kind.CONTRACT, field="contractId")
    if named.owner_id != member_id:
        raise NotFound(field="contractId")
    return member_id, named.key, _actor(info)


def _actor(info: Info) -> Actor:
    return Actor.member(info.context.viewer.member_id or info.context.member_id)


async def payload(info: Info, policy: Policy, replayed: bool) -> ContractPayload:
    """After the commit."""
    found = await contracts_graphql.load(info, (policy.member_id, policy.id))
    assert found is not None
    return ContractPayload(replayed=replayed, contract=found)


@strawberry.type
class ContractsMutation:
    @strawberry.mutation(
        description="What can be decided at once is; the rest waits for what `underwriting` "
        "names. Codes: NOT_FOUND, NOT_ELIGIBLE, PERIOD_INVALID, STATE_INVALID, ANSWER_INVALID, "
        "REQUEST_REUSED."
    )
    async def apply_for_policy(self, info: Info, input: ApplyForPolicyInput) -> ContractResult:
        context = info.context
        wanted = applications.Wanted(
            product_code=input.product_code,
            starts_on=input.starts_on,
            frequency=input.frequency,
            group_code=input.group_code,
        )
        member_id = context.member_id
        async with context.db.transaction() as session:
            policy, replayed = await applications.apply(
                session,
                member_id=member_id,
                request_id=input.request_id,
                wanted=wanted,
                declared=input.declared.said() if input.declared else None,
                by=_actor(info),
                now=context.now,
            )
        return await payload(info, policy, replayed)

    @strawberry.mutation(
        description="Once or again, while nobody has decided. Codes: NOT_FOUND, STATE_INVALID, "
        "ANSWER_INVALID, REQUEST_REUSED."
    )
    async def declare_for_policy(self, info: Info, input: DeclareForPolicyInput) -> ContractResult:
        context = info.context
        member_id, policy_id, by = _own(info, input.contract_id)
        async with context.db.transaction() as session:
            policy, replayed = await declarations.declare(
                session,
                member_id=member_id,
                request_id=input.request_id,
                policy_id=policy_id,
                declared=input.declared.said(),
                by=by,
                now=context.now,
            )
        return await payload(info, policy, replayed)

    @strawberry.mutation(
        description="The cover begins at once, or on its first day. Codes: NOT_FOUND, "
        "STATE_INVALID, NOT_ELIGIBLE, REQUEST_REUSED."
    )
    async def accept_offer(self, info: Info, input: AcceptOfferInput) -> ContractResult:
        context = info.context
        member_id, policy_id, by = _own(info, input.contract_id)
        async with context.db.transaction() as session:
            policy, replayed = await applications.accept(
                session,
                member_id=member_id,
                request_id=input.request_id,
                policy_id=policy_id,
                by=by,
                now=context.now,
            )
        return await payload(info, policy, replayed)

    @strawberry.mutation(
        description="Takes an application back, or declines an offer, before the cover begins. "
        "Codes: NOT_FOUND, STATE_INVALID, REQUEST_REUSED."
    )
    async def withdraw_application(
        self, info: Info, input: WithdrawApplicationInput
    ) -> ContractResult:
        context = info.context
        member_id, policy_id, by = _own(info, input.contract_id)
        async with context.db.transaction() as session:
            policy, replayed = await applications.withdraw(
                session,
                member_id=member_id,
                request_id=input.request_id,
                policy_id=policy_id,
                by=by,
                now=context.now,
            )
        return await payload(info, policy, replayed)

    @strawberry.mutation(
        description="Until the next term begins; the last word counts. Codes: NOT_FOUND, "
        "STATE_INVALID, REQUEST_REUSED."
    )
    async def answer_renewal(self, info: Info, input: AnswerRenewalInput) -> ContractResult:
        context = info.context
        member_id, policy_id, by = _own(info, input.contract_id)
        async with context.db.transaction() as session:
            policy, replayed = await renewal.answer(
                session,
                member_id=member_id,
                request_id=input.request_id,
                policy_id=policy_id,
                accept=input.accept,
                by=by,
                now=context.now,
            )
        return await payload(info, policy, replayed)

    @strawberry.mutation(
        description="Within the product's free days everything paid is given back and points that "
        "were earned are taken back. Later a yearly premium is given back by days; who pays "
        "monthly is covered to the end of the month that runs. Codes: NOT_FOUND, STATE_INVALID, "
        "NOT_ELIGIBLE, REQUEST_REUSED."
    )
    async def cancel_policy(self, info: Info, input: CancelPolicyInput) -> ContractResult:
        context = info.context
        member_id, policy_id, by = _own(info, input.contract_id)
        async with context.db.transaction() as session:
            policy, replayed = await cancellation.cancel(
                session,
                member_id=member_id,
                request_id=input.request_id,
                policy_id=policy_id,
                by=by,
                now=context.now,
            )
        return await payload(info, policy, replayed)

    @strawberry.mutation(
        description="From the next term on; before the cover begins from the first. Codes: "
        "NOT_FOUND, STATE_INVALID, NOT_ELIGIBLE, REQUEST_REUSED."
    )
    async def set_payment_frequency(
        self, info: Info, input: SetPaymentFrequencyInput
    ) -> ContractResult:
        context = info.context
        member_id, policy_id, by = _own(info, input.contract_id)
        async with context.db.transaction() as session:
            policy, replayed = await payment_choices.set_frequency(
                session,
                member_id=member_id,
                request_id=input.request_id,
                policy_id=policy_id,
                frequency=input.frequency,
                by=by,
                now=context.now,
            )
        return await payload(info, policy, replayed)
