"""What every part of a product document is made of."""

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """An unknown key is an error with its path."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Words(Strict):
    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)

    def to(self, locale: str) -> str:
        return self.zh if locale[:2].lower() == "zh" else self.en


Code = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,59}$")]
Percent = Annotated[Decimal, Field(ge=-100, le=100, max_digits=5, decimal_places=2)]
Share = Annotated[Decimal, Field(ge=0, le=100, max_digits=5, decimal_places=2)]
Months = Annotated[int, Field(ge=1, le=60)]
