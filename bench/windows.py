"""Windows of load on servers in turn, and what they found."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from bench.load import BadAnswer, Figures, Order, Series

ROOT = Path(__file__).resolve().parent.parent

Round = dict[str, Figures]
"""One window of each server, one after the other; by the server's name."""


class Load:
    """The process that makes the load."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "bench.load"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )

    def prepare(self, series: Mapping[str, Series]) -> None:
        """What is run from now on, by name."""
        with TemporaryDirectory(prefix="wellward-bench-") as folder:
            path = Path(folder) / "plan.json"
            path.write_bytes(orjson.dumps({name: asdict(it) for name, it in series.items()}))
            self._ask(orjson.dumps({"plan": str(path)}), "it was prepared")

    def run(self, order: Order) -> Figures:
        """Raises BadAnswer when a server did not do what was asked."""
        answer = orjson.loads(self._ask(orjson.dumps(asdict(order)), order.series))
        if "bad_answer" in answer:
            raise BadAnswer(f"{order.series}: {answer['bad_answer']}")
        return Figures(**answer)

    def _ask(self, line: bytes, what: str) -> bytes:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"The load ended while {what}; see above.")
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@contextmanager
def loading() -> Iterator[Load]:
    load = Load()
    try:
        yield load
    finally:
        load.close()


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the windows of one operation."""

    rounds: int
    seconds: float
    connections: int
    warm_up_seconds: float = 1.5
    requests_max: int | None = None
    """In one window of a series that may send each request only once."""
    instructions: bool = False

    def order(self, name: str, once: bool) -> Order:
        return Order(
            series=name,
            seconds=self.seconds,
            warm_up_seconds=min(self.warm_up_seconds, self.seconds),
            connections=self.connections,
            requests_max=self.requests_max if once else None,
            instructions=self.instructions,
        )


def run(
    load: Load,
    series: Mapping[str, Series],
    shape: Shape,
    told: Callable[[str], object] = lambda _text: None,
) -> list[Round]:
    """Each round has a window of every series; which is the first changes from round to round."""
    load.prepare(series)
    names = list(series)
    rounds: list[Round] = []
    for number in range(shape.rounds):
        first = number % len(names)
        found: Round = {}
        for name in [*names[first:], *names[:first]]:
            told(f"round {number + 1} of {shape.rounds}: {name}")
            found[name] = load.run(shape.order(name, series[name].once))
        rounds.append(found)
    return rounds
