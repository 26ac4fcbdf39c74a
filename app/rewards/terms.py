"""Terms of a reward: data, validated, published as a version and never changed."""

from collections.abc import Mapping
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import orjson
import yaml
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from app.errors import ConfigurationError
from app.members.rules import SegmentCode
from app.rewards.rules import BENEFITS, Fulfilment, Offer, RewardKind, Window
from app.texts import Text

_FILE = Path(__file__).with_name("rewards.yaml")
PRICE_MAX = 10_000_000
STOCK_MAX = 100_000_000
Tier = Literal["LOW", "MEDIUM", "HIGH"]


_PUBLISHED: Mapping[str, bool] = {"published": True}
"""The context in which terms are read that stay, whatever is asked of new ones."""


class Impossible(ValueError):
    """Terms that contradict themselves; `said` is what employees read."""

    def __init__(self, said: Text) -> None:
        super().__init__(said.en)
        self.said = said


def _says_something(words: str, info: ValidationInfo) -> str:
    """PostgreSQL stores no NUL."""
    if info.context != _PUBLISHED and (not words.strip() or "\0" in words):
        raise Impossible(Text(zh="请填写可以显示的文字", en="write words that can be shown"))
    return words


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Title(_Strict):
    zh: Annotated[str, AfterValidator(_says_something)] = Field(min_length=1, max_length=80)
    en: Annotated[str, AfterValidator(_says_something)] = Field(min_length=1, max_length=80)


class Words(_Strict):
    zh: Annotated[str, AfterValidator(_says_something)] = Field(min_length=1, max_length=1000)
    en: Annotated[str, AfterValidator(_says_something)] = Field(min_length=1, max_length=1000)

    @property
    def text(self) -> Text:
        return Text(zh=self.zh, en=self.en)


class Credit(_Strict):
    """An amount of money."""

    amount: int = Field(gt=0, le=10**12)
    """In minor units of `currency`."""
    currency: str = Field(pattern=r"^[A-Z]{3}$")


class Terms(_Strict):
    kind: RewardKind
    fulfilment: Fulfilment
    title: Title
    description: Words
    conditions: Words | None = None
    """In plain words."""
    image_url: str | None = Field(default=None, pattern=r"^https://[^\s\x00]{1,500}$")
    price: int = Field(ge=1, le=PRICE_MAX)
    """In points."""
    limit_per_member: int | None = Field(default=None, ge=1, le=1000)
    visible_from: AwareDatetime | None = None
    visible_to: AwareDatetime | None = None
    active_from: AwareDatetime | None = None
    active_to: AwareDatetime | None = None
    tiers: tuple[Tier, ...] = ()
    segments: tuple[SegmentCode, ...] = ()
    reserved_days: int = Field(default=30, ge=1, le=365)
    """How long a redemption may wait to be fulfilled."""
    cover_uplift_percent: Decimal | None = Field(
        default=None, gt=0, le=100, max_digits=5, decimal_places=2
    )
    premium_credit: Credit | None = None
    unit_cost: Credit | None = None
    """What one costs the programme; a credit costs itself."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name, window in (("visible", self.visible), ("active", self.active)):
            if window.is_empty:
                raise Impossible(
                    Text(
                        zh=f"{name}_from 必须早于 {name}_to",
                        en=f"{name}_from must be before {name}_to",
                    )
                )
        if (self.kind in BENEFITS) != (self.fulfilment is Fulfilment.BENEFIT):
            raise Impossible(
                Text(
                    zh=f"{self.kind} 不能以 {self.fulfilment} 方式履行",
                    en=f"{self.kind} is not fulfilled as {self.fulfilment}",
                )
            )
        for name, kind, worth in (
            ("cover_uplift_percent", RewardKind.COVER_UPLIFT, self.cover_uplift_percent),
            ("premium_credit", RewardKind.PREMIUM_CREDIT, self.premium_credit),
        ):
            if (self.kind is kind) != (worth is not None):
                raise Impossible(
                    Text(
                        zh=f"{kind} 须填写 {name}，其他种类不填",
                        en=f"{name} belongs to {kind}, and to no other",
                    )
                )
        if self.premium_credit is not None and self.unit_cost is not None:
            raise Impossible(
                Text(
                    zh="PREMIUM_CREDIT 的 unit_cost 就是抵扣金额，不另填写",
                    en="unit_cost of a PREMIUM_CREDIT is the credit itself",
                )
            )
        return self

    @property
    def visible(self) -> Window:
        return Window(self.visible_from, self.visible_to)

    @property
    def active(self) -> Window:
        return Window(self.active_from, self.active_to)

    @property
    def name(self) -> Text:
        return Text(zh=self.title.zh, en=self.title.en)

    def offer(self, stock: int | None) -> Offer:
        return Offer(
            price=self.price,
            stock=stock,
            limit_per_member=self.limit_per_member,
            active=self.active,
            tiers=frozenset(self.tiers),
            segments=frozenset(self.segments),
        )

    @property
    def definition(self) -> dict[str, Any]:
        # What came later is left out where it says nothing: published versions stay the same.
        return self.model_dump(mode="json", exclude=set() if self.unit_cost else {"unit_cost"})

    @property
    def hash(self) -> bytes:
        """SHA-256 of the definition in one spelling."""
        return sha256(orjson.dumps(self.definition, option=orjson.OPT_SORT_KEYS)).digest()


class NewReward(_Strict):
    code: str = Field(pattern=r"^[a-z][a-z0-9-]{1,39}$")
    stock: int | None = Field(ge=0, le=STOCK_MAX)
    """At first; from then on the database knows. Null is unlimited."""
    terms: Terms

    @model_validator(mode="after")
    def _stocked(self) -> Self:
        if self.terms.fulfilment is Fulfilment.VOUCHER_CODE and self.stock != 0:
            raise Impossible(
                Text(
                    zh="VOUCHER_CODE 的库存在导入券码前为 0",
                    en="the stock of VOUCHER_CODE is 0 until codes are imported",
                )
            )
        return self


class DataReward(NewReward):
    """A version of a reward in a data file."""

    version: int = Field(ge=1)


class _DataFile(_Strict):
    rewards: list[DataReward]


def read_rewards(path: Path = _FILE) -> list[DataReward]:
    """The rewards of a data file, the versions of each in order.

    Raises pydantic.ValidationError, ConfigurationError.
    """
    found = _DataFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    seen: set[tuple[str, int]] = set()
    for reward in found.rewards:
        key = (reward.code, reward.version)
        if key in seen:
            raise ConfigurationError(f"{path.name} holds {key[0]!r} version {key[1]} twice.")
        seen.add(key)
    return sorted(found.rewards, key=lambda reward: (reward.code, reward.version))


def of_definition(definition: Mapping[str, Any]) -> Terms:
    """Published terms, as the database keeps them."""
    return Terms.model_validate(definition, context=_PUBLISHED)
