"""What is measured of each operation: its requests, who is compared, and that they agree."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import uuid4

from app.demo.bulk import BulkMember
from bench import agreement, series, sign_in
from bench.load import Series
from bench.population import Population, consent_to_devices
from bench.series import EXPECTS, Sent
from bench.servers import Server
from bench.windows import Load, Shape

OURS, RAW, RAW_KEPT, CORE = "wellward", "raw", "raw, kept", "graphql-core"
RAWS = frozenset({RAW, RAW_KEPT})
"""Of one handler: with asyncpg's pool, and with connections kept."""
READS = ("Home", "PointsHistory", "Premium")
OPERATIONS = (*READS, "CheckIn", "RecordMeasurements")
COMPARED = 8
"""Members whose answers must be equal before anything is measured."""
READERS = 256
WRITERS = 2048
"""Who sends readings, in turn: each sends a few times a day, as phones do. A day of one member with
tens of thousands of readings is none that an insurer has."""
_FIRST_SECONDS_MAX = 300.0


@dataclass(slots=True)
class Bench:
    """One database, its servers, and the process that makes the load."""

    population: Population
    issuer: sign_in.Issuer
    load: Load
    servers: Mapping[str, Server]
    """By the names above; what else is there is run as Wellward is."""

    def require_agreement(self, operation: str, members: int = COMPARED) -> None:
        """Of so many members; of a check-in the shape, since each server ticks another task.
        Raises Disagreement."""
        population = self.population
        if operation == "CheckIn":
            for name in self.servers:
                if name not in RAWS:
                    [sent] = series.check_ins(population.ticks(1), population.now)
                    raw = self._answer(RAW, operation, sent)
                    agreement.require_alike(
                        f"{operation}, {name} and {RAW}", self._answer(name, operation, sent), raw
                    )
            return
        for member in population.some(members):
            [sent] = self._sent(operation, [member])
            ours = self._answer(OURS, operation, sent)
            for name in self.servers:
                if name != OURS:
                    agreement.require_equal(
                        f"{operation}, {OURS} and {name}", ours, self._answer(name, operation, sent)
                    )

    def _answer(self, server: str, operation: str, sent: Sent) -> object:
        [request] = self._requests(server, operation, [sent])
        return agreement.ask(self.servers[server].ports[0], request, str(uuid4()))

    def series(self, operation: str, shape: Shape, members: int | None = None) -> dict[str, Series]:
        """Of each server, with requests of so many members. Whoever ticks tasks gets its own."""
        found = {}
        for name, server in self.servers.items():
            once = operation == "CheckIn" and name not in RAWS
            if once:
                assert shape.requests_max is not None
                count = shape.rounds * shape.requests_max
                sent = series.check_ins(self.population.ticks(count), self.population.now)
            elif operation == "CheckIn":
                sent = series.check_ins(
                    [(it.member_id, *it.ticks[0]) for it in self.population.members],
                    self.population.now,
                )
            else:
                usual = WRITERS if operation == "RecordMeasurements" else READERS
                sent = self._sent(operation, self.population.some(members or usual))
            made = self._requests(name, operation, sent)
            is_shared = operation == "RecordMeasurements"
            requests, body = series.shared_body(made) if is_shared else ([*made], "")
            found[name] = Series(
                list(server.ports), list(server.pids), self.population.where.postgres_pid,
                requests, EXPECTS[operation], once, series.greeting() if once else None, body,
            )  # fmt: skip
        return found

    def _sent(self, operation: str, members: list[BulkMember]) -> list[Sent]:
        if operation == "RecordMeasurements":
            return series.readings(members, self.population.now)
        return series.reads(members)

    def _requests(self, server: str, operation: str, sent: list[Sent]) -> Iterator[str]:
        subjects, now = self.population.subjects, self.population.now
        for it in sent:
            if server in RAWS:
                yield series.to_raw(operation, it)
            else:
                token = self.issuer.token(subjects[it.member_id], now=now)
                yield series.to_product(operation, it, token)

    def first_readings(self, connections: int, members: int = WRITERS) -> float:
        """The first of a member's day completes tasks and pays, for which a raw insert has nothing
        like: all of them send one before anything is compared. Requests a second."""
        population = self.population
        writers = population.some(members)
        consent_to_devices(population.where, writers, population.now)
        sent = self._sent("RecordMeasurements", writers)
        requests, body = series.shared_body(self._requests(OURS, "RecordMeasurements", sent))
        server = self.servers[OURS]
        first = Series(
            list(server.ports), list(server.pids), self.population.where.postgres_pid, requests,
            EXPECTS["RecordMeasurements"], once=True, body=body,
        )  # fmt: skip
        self.load.prepare({OURS: first})
        shape = Shape(1, _FIRST_SECONDS_MAX, connections, warm_up_seconds=0)
        return self.load.run(shape.order(OURS, once=False)).per_second
