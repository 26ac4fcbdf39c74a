"""Turns an expected refusal into data. Every mutation result is `Payload | UserError`."""

import strawberry
from strawberry.types import Info
from strawberry.types.field import StrawberryField

from app import errors
from app.graphql import enums

enums.register(
    errors.ErrorCode,
    {
        "REQUEST_REUSED": "The same `requestId` was already used with another input.",
        "NOT_FOUND": "It does not exist, or it is not yours.",
        "TOO_OLD": "Older than the product accepts late data: 30 days unless it says otherwise.",
        "VERSION_OUTDATED": "A newer version of the text or questionnaire is in force; "
        "load it and ask again.",
    },
    name="UserErrorCode",
)


@strawberry.type(description="An expected refusal: nothing was changed.")
class UserError:
    code: errors.ErrorCode
    message: str = strawberry.field(description="In the member's locale; may be shown as it is.")
    field: str | None = strawberry.field(
        description="Path of the input at fault, as `answers.2.values`; "
        "null when it is none in particular."
    )


class UserErrorHandler(strawberry.ExceptionHandler[errors.UserError, UserError]):
    def handle(
        self, exception: errors.UserError, *, field: StrawberryField, info: Info
    ) -> UserError:
        return UserError(
            code=exception.code,
            message=exception.text.to(info.context.locale),
            field=exception.field,
        )
