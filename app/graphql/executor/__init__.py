"""Runs GraphQL operations by plans: compiled once, as fast as a handler written by hand allows,
and in all else as graphql-core. See README.md beside this file. Knows nothing of what is around
it."""

from .dialect import CLASS, Dialect, Layout, Rows
from .plan import CoercionFailed, Plan, execute, subscribe
from .run import Run

__all__ = [
    "CLASS",
    "CoercionFailed",
    "Dialect",
    "Layout",
    "Plan",
    "Rows",
    "Run",
    "execute",
    "subscribe",
]
