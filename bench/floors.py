"""What is promised of speed, all middleware on, and what is aimed at. Ratios, because the machine
decides the rest."""

from dataclasses import dataclass

from bench.results import Found


@dataclass(frozen=True, slots=True)
class Floor:
    text: str
    operation: str
    figure: str
    """As in `bench/latest.json`."""
    limit: float
    aim: float
    at_most: bool = False

    def kept(self, found: Found) -> bool | None:
        """None when it was not measured."""
        value = self.value(found)
        if value is None:
            return None
        return value <= self.limit if self.at_most else value >= self.limit

    def value(self, found: Found) -> float | None:
        return found.get(self.operation, {}).get(self.figure)

    @property
    def promised(self) -> str:
        return f"{'at most' if self.at_most else 'at least'} {self.limit:g}"


FLOORS = (
    Floor("Home ÷ raw handler, req/s", "Home", "ratio_raw", 0.75, 1.0),
    Floor("PointsHistory ÷ raw handler, req/s", "PointsHistory", "ratio_raw", 0.65, 0.95),
    Floor("CheckIn ÷ raw one-statement handler, req/s", "CheckIn", "ratio_raw", 0.6, 0.9),
    Floor(
        "RecordMeasurements(500) ÷ raw unnest handler, req/s",
        "RecordMeasurements", "ratio_raw", 0.5, 0.8,
    ),
    Floor("Home, p99 ÷ p50 at 32 connections", "Home", "p99_to_p50", 2.5, 1.5, at_most=True),
    Floor(
        "Home latency at 10 M transfers ÷ at 10 k",
        "Home", "latency_10m_to_10k", 1.2, 1.05, at_most=True,
    ),
    Floor(
        "executor alone, graphql-core ÷ ours, Home",
        "Home", "executor_alone_graphql_core", 10, 35,
    ),
    Floor(
        "guard, sign-in, metrics and log, part of Home's CPU",
        "Home", "layers_share", 0.15, 0.15, at_most=True,
    ),
)  # fmt: skip


def missed(found: Found) -> list[Floor]:
    return [it for it in FLOORS if it.kept(found) is False]
