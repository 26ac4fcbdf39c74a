"""`wellward serve` with graphql-core's executor in the place of ours: what is compared with, and
nothing that a product could be told to do."""

from collections.abc import Callable
from typing import Any

from app.cli import running
from app.graphql.executor import Plan

REASON = "graphql-core is what is measured"


def handing_over(compile: Callable[..., None]) -> Callable[..., None]:
    """A constructor of plans, none of which is run by our executor."""

    def handed_over(self: Plan, *arguments: Any, **options: Any) -> None:
        compile(self, *arguments, **options)
        self.unsupported = REASON

    return handed_over


if __name__ == "__main__":
    Plan.__init__ = handing_over(Plan.__init__)  # type: ignore[method-assign]
    running.serve()
