"""Why a campaign is not made, changed or started."""

from app.campaigns.rules import CampaignState, Fault
from app.errors import ErrorCode, UserError
from app.texts import Text


class NameInvalid(UserError):
    def __init__(self, *, length_max: int) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"名称须为 1 至 {length_max} 个字符。",
                en=f"A name has 1 to {length_max} characters.",
            ),
            field="name",
        )


class VariantsInvalid(UserError):
    def __init__(self, fault: Fault) -> None:
        text = Text(
            zh=f"内容版本无效：{fault.text.zh}。",
            en=f"These variants are invalid: {fault.text.en}.",
        )
        super().__init__(ErrorCode.VARIANTS_INVALID, text, field=fault.field)


class PeriodInvalid(UserError):
    def __init__(self, fault: Fault) -> None:
        text = Text(
            zh=f"时间无效：{fault.text.zh}。", en=f"This time is invalid: it {fault.text.en}."
        )
        super().__init__(ErrorCode.PERIOD_INVALID, text, field=fault.field)


class OutOfRange(UserError):
    def __init__(self, said: Text, *, field: str) -> None:
        super().__init__(ErrorCode.VALUE_OUT_OF_RANGE, said, field=field)


class RecurrenceInvalid(UserError):
    def __init__(self, said: Text) -> None:
        super().__init__(ErrorCode.RECURRENCE_INVALID, said, field="recurrence")


class BroadcastOfHealth(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.FILTER_INVALID,
            Text(
                zh="广播人人都能听到，筛选条件不能涉及健康状况；请改用电话或上门。",
                en="Everybody hears a broadcast: its filter cannot ask about anybody's health. "
                "Take calls or home visits.",
            ),
            field="filter",
        )


class StateInvalid(UserError):
    def __init__(self, state: CampaignState) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh=f"活动处于 {state} 状态，不能这样做。",
                en=f"The campaign is {state}; this cannot be done.",
            ),
            field="campaignId",
        )


class SecondPersonNeeded(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.SECOND_PERSON_NEEDED,
            Text(
                zh="须由没有编写该活动的另一位活动经理审核并启动。",
                en="Another campaign manager, who has not written it, must look at it and start it.",
            ),
            field="campaignId",
        )


class VersionOutdated(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.VERSION_OUTDATED,
            Text(
                zh="该活动在你查看之后已被修改，请重新审阅。",
                en="The campaign was changed after you looked at it; look at it again.",
            ),
            field="version",
        )
