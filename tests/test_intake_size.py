"""A large export in a small process: `wellward import apple-health`, as an operator runs it."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest

from app.db import Database
from tests import health_exports, processes
from tests.factories import consent, make_member
from tests.figures import record_figure
from tests.tasks_at_work import rows

MEGABYTES = 300 if processes.FULL_COUNTS else 20
MEMORY_MAX_MB = 200
SECONDS_MAX = 60 * 40
# The kernel's own peak of this program: what getrusage says begins with the process that started
# it.
_MEASURED_BY_ITSELF = """
import os
from pathlib import Path
from app import cli
try:
    cli.main()
finally:
    lines = Path("/proc/self/status").read_text().splitlines()
    [peak] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    Path(os.environ["WELLWARD_PEAK"]).write_text(str(int(peak) // 1024))
"""


def write_large(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for piece in health_exports.large(MEGABYTES):
            file.write(piece)


@pytest.mark.timeout(SECONDS_MAX)
async def test_an_export_of_any_size_is_imported_in_bounded_memory(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    member = await make_member(db, login="runner")
    async with db.transaction() as session:
        session.add(consent(member, "DEVICE_DATA", "GRANTED"))
    export, told, peak = (tmp_path / name for name in ("export.xml", "report.json", "peak"))
    await asyncio.to_thread(write_large, export)
    megabytes = export.stat().st_size / 2**20
    assert megabytes >= MEGABYTES

    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _MEASURED_BY_ITSELF,
        "import", "apple-health", str(export), "--member", "runner", "--report", str(told),
        cwd=processes.PROJECT,
        env=processes.environment(
            WELLWARD_DATABASE_URL=database_url,
            WELLWARD_DATA_DIR=str(tmp_path),
            WELLWARD_PEAK=str(peak),
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, complained = await asyncio.wait_for(process.communicate(), SECONDS_MAX)
    seconds = time.monotonic() - started

    assert process.returncode in (0, 3), complained.decode()
    report = json.loads(told.read_text("utf-8"))
    kinds = {line.partition("Identifier")[2] for line in report["ignored"]}
    assert kinds == {"BasalEnergyBurned", "WalkingSpeed", "HeadphoneAudioExposure"}
    assert report["readings"]["accepted"] > 100_000 * MEGABYTES / 20 / 4
    assert report["daily_totals"]["accepted"] > 2_000
    codes = {row.code for row in await rows(
        db, "select code from measurements union select code from measurement_streams"
        " union select code from daily_totals"
    )}  # fmt: skip
    assert len(codes) >= 17
    memory = int(peak.read_text())
    record_figure("memory of an import", memory, "MB")
    record_figure("size of an export", round(megabytes), "MB")
    record_figure("import of an export", megabytes / seconds, "MB/s")
    assert memory < MEMORY_MAX_MB
