"""A pytest plugin: graphql-core's `execute`, `execute_sync` and `subscribe` run plans, and for
each test it is written down by which executor. Started by `bench/conformance.py`."""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from app.graphql.executor import Run
from app.graphql.executor.dropin import CompiledExecutor
from bench.conformance import REPORT

_ran: list[str] = []
"""What the test that runs has done so far: "compiled", or why graphql-core ran it."""
_tests: dict[str, dict[str, Any]] = {}


def _replacing(theirs: type[Any]) -> type[Any]:
    class Replacement(CompiledExecutor):
        fallback = theirs

        @classmethod
        def build(cls, *args: Any, **named: Any) -> Any:
            built = super().build(*args, **named)
            # A list is of errors: the variables do not fit, and nothing runs.
            if isinstance(built, Run):
                _ran.append("compiled")
            elif not isinstance(built, list):
                _ran.append(_why())
            return built

    return Replacement


def _why() -> str:
    plans = CompiledExecutor.plans.values()
    reasons = [plan.unsupported for plan in plans if plan.unsupported is not None]
    return reasons[-1] if reasons else "a variable asks for @defer or @stream"


# The function of the same name hides the module.
_module: Any = sys.modules["graphql.execution.execute"]
_module.IncrementalExecutor = _replacing(_module.IncrementalExecutor)
_module.ExecutorThrowingOnIncremental = _replacing(_module.ExecutorThrowingOnIncremental)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _ran.clear()
    CompiledExecutor.plans.clear()
    result = yield
    found = _tests.setdefault(item.nodeid, {"outcome": "passed"})
    found["ran"] = sorted(set(_ran))
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.outcome != "passed":
        _tests.setdefault(report.nodeid, {})["outcome"] = report.outcome


def pytest_sessionfinish() -> None:
    with open(os.environ[REPORT], "w", encoding="utf-8") as file:
        json.dump(_tests, file)
