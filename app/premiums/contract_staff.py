"""What employees do with contracts and money."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import strawberry

from app.errors import NotFound
from app.graphql.errors import UserError
from app.graphql.ids import GlobalId, Kind, decode
from app.graphql.node import Info
from app.premiums import (
    contracts_graphql,
    payment_choices,
    payments,
    reinstatement,
    rescission,
    underwriting,
)
from app.premiums.contract_mutations import ContractResult, payload
from app.premiums.contract_terms import Payer
from app.premiums.contracts_graphql import Invoice
from app.worklist.graphql import ACTING


@strawberry.input
class DecideUnderwritingInput:
    request_id: UUID
    contract_id: strawberry.ID
    accept: bool
    reason: str


@strawberry.input
class SetPolicyPayerInput:
    request_id: UUID
    contract_id: strawberry.ID
    payer: Payer


@strawberry.input
class ProposeRescissionInput:
    request_id: UUID
    contract_id: strawberry.ID
    reason: str = strawberry.field(description="What was concealed, for the member to read.")
    refunds: bool = strawberry.field(description="Whether what was paid is given back.")


@strawberry.input
class DecideRescissionInput:
    request_id: UUID
    contract_id: strawberry.ID
    confirm: bool = strawberry.field(
        description="Another person than who proposed it confirms; anybody may drop it."
    )


@strawberry.input
class ReinstatePolicyInput:
    request_id: UUID
    contract_id: strawberry.ID
    reason: str


@strawberry.input
class RecordPaymentInput:
    request_id: UUID
    invoice_id: strawberry.ID
    reference: str = strawberry.field(description="Of the transfer; each one counts once.")
    amount: Decimal = strawberry.field(description="In major units of the invoice's currency.")
    happened_at: datetime
    failure: str | None = strawberry.field(
        default=None, description="A code when it failed, as INSUFFICIENT_FUNDS."
    )


@strawberry.input
class RecordRefundInput:
    request_id: UUID
    refund_id: strawberry.ID
    reference: str


@strawberry.type
class InvoicePayload:
    replayed: bool
    invoice: Invoice


@strawberry.type
class RefundPayload:
    replayed: bool
    refund: contracts_graphql.Refund


InvoiceResult = Annotated[InvoicePayload | UserError, strawberry.union("InvoiceResult")]
RefundResult = Annotated[RefundPayload | UserError, strawberry.union("RefundResult")]


async def _acting(info: Info, id: strawberry.ID, kind: Kind, field: str) -> tuple[UUID, GlobalId]:
    """The employee, who may see the member; that they look is recorded. A member who asks finds
    nothing. Raises NotFound, Unauthenticated, Forbidden."""
    named = decode(id, kind, field=field)
    viewer = info.context.viewer
    if viewer.staff_id is None and viewer.member_id is not None:
        raise NotFound(field=field)
    staff_id = info.context.require_role(*ACTING)
    if not await info.context.may_see(named.owner_id):
        raise NotFound(field=field)
    return staff_id, named


@strawberry.type
class ContractsStaffMutation:
    @strawberry.mutation(
        description="About an application that waits or was referred. Staff only. Codes: "
        "NOT_FOUND, STATE_INVALID, EVIDENCE_MISSING, NOT_ELIGIBLE, VALUE_OUT_OF_RANGE, "
        "REQUEST_REUSED."
    )
    async def decide_underwriting(
        self, info: Info, input: DecideUnderwritingInput
    ) -> ContractResult:
        context = info.context
        staff_id, named = await _acting(info, input.contract_id, Kind.CONTRACT, "contractId")
        async with context.db.transaction() as session:
            policy, replayed = await underwriting.decide(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                member_id=named.owner_id,
                policy_id=named.key,
                accept=input.accept,
                reason=input.reason,
                now=context.now,
            )
        return await payload(info, policy, replayed)

    @strawberry.mutation(
        description="From the next term on; before the cover begins from the first. Staff only. "
        "Codes: NOT_FOUND, STATE_INVALID, NOT_ELIGIBLE, REQUEST_REUSED."
    )
    async def set_policy_payer(self, info: Info, input: SetPolicyPayerInput) -> ContractResult:
        context = info.context
        staff_id, named = await _acting(info, input.contract_id, Kind.CONTRACT, "contractId")
        async with context.db.transaction() as session:
            policy, replayed = await payment_choices.set_payer(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                member_id=named.owner_id,
                policy_id=named.key,
                payer=input.payer,
                now=context.now,
            )
        return await payload(info, policy, replayed)

    @strawberry.mutation(
        description="Something was concealed; nothing changes until another person agrees. Staff "
        "only. Codes: NOT_FOUND, STATE_INVALID, ALREADY_DECIDED, VALUE_OUT_OF_RANGE, "
        "REQUEST_REUSED."
    )
    async def propose_rescission(self, info: Info, input: ProposeRescissionInput) -> ContractResult:
        context = info.context
        staff_id, named = await _acting(info, input.contract_id, Kind.CONTRACT, "contractId")
        async with context.db.transaction() as session:
            policy, replayed = await rescission.propose(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                member_id=named.owner_id,
                policy_id=named.key,
                reason=input.reason,
                refunds=input.refunds,
                now=context.now,
            )
        return await payload(info, policy, replayed)

    @strawberry.mutation(
        description="The contract never was, or the proposal is dropped. Staff only. Codes: "
        "NOT_FOUND, STATE_INVALID, SECOND_PERSON_NEEDED, REQUEST_REUSED."
    )
    async def decide_rescission(self, info: Info, input: DecideRescissionInput) -> ContractResult:
        context = info.context
        staff_id, named = await _acting(info, input.contract_id, Kind.CONTRACT, "contractId")
        async with context.db.transaction() as session:
            policy, replayed = await rescission.confirm(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                member_id=named.owner_id,
                policy_id=named.key,
                confirm=input.confirm,
                now=context.now,
            )
        return await payload(info, policy, replayed)

    @strawberry.mutation(
        description="A cover that lapsed is in force again from today, within the product's days. "
        "Staff only. Codes: NOT_FOUND, STATE_INVALID, TOO_OLD, VALUE_OUT_OF_RANGE, "
        "REQUEST_REUSED."
    )
    async def reinstate_policy(self, info: Info, input: ReinstatePolicyInput) -> ContractResult:
        context = info.context
        staff_id, named = await _acting(info, input.contract_id, Kind.CONTRACT, "contractId")
        async with context.db.transaction() as session:
            policy, replayed = await reinstatement.reinstate(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                member_id=named.owner_id,
                policy_id=named.key,
                reason=input.reason,
                now=context.now,
            )
        return await payload(info, policy, replayed)

    @strawberry.mutation(
        description="Money came, or could not be collected. Staff only. Codes: NOT_FOUND, "
        "VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def record_payment(self, info: Info, input: RecordPaymentInput) -> InvoiceResult:
        context = info.context
        staff_id, named = await _acting(info, input.invoice_id, Kind.INVOICE, "invoiceId")
        async with context.db.transaction() as session:
            replayed = await payments.record_by_hand(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                member_id=named.owner_id,
                invoice_id=named.key,
                reference=input.reference,
                amount=input.amount,
                failure=input.failure,
                happened_at=input.happened_at,
                now=context.now,
            )
        found = await contracts_graphql.load_invoice(info, (named.owner_id, named.key))
        assert found is not None
        return InvoicePayload(replayed=replayed, invoice=found)

    @strawberry.mutation(
        description="What was owed to a member has been paid back. Staff only. Codes: NOT_FOUND, "
        "ALREADY_DECIDED, VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def record_refund(self, info: Info, input: RecordRefundInput) -> RefundResult:
        context = info.context
        staff_id, named = await _acting(info, input.refund_id, Kind.REFUND, "refundId")
        async with context.db.transaction() as session:
            refund, replayed = await payments.record_refund(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                member_id=named.owner_id,
                refund_id=named.key,
                reference=input.reference,
                now=context.now,
            )
        return RefundPayload(replayed=replayed, refund=contracts_graphql.Refund.of(refund))
