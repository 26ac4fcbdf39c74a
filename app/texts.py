"""Sentences in the two languages of the programme."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    """One sentence, in Simplified Chinese and English."""

    zh: str
    en: str

    def to(self, locale: str) -> str:
        """In `locale` (BCP 47); English wherever it is not Chinese."""
        return self.zh if locale[:2].lower() == "zh" else self.en
