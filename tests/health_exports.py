"""Exports of Apple Health as a phone writes them, small ones by hand and large ones by seed."""

import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from random import Random
from xml.sax.saxutils import quoteattr

# As iOS writes it; the missing `>` after `value` is what some versions leave out.
DOCUMENT_TYPE = """<!DOCTYPE HealthData [
<!-- HealthKit Export Version: 14 -->
<!ELEMENT HealthData (ExportDate,Me,(Record|Correlation|Workout|ActivitySummary|ClinicalRecord)*)>
<!ATTLIST HealthData
  locale CDATA #REQUIRED
>
<!ELEMENT Record ((MetadataEntry|HeartRateVariabilityMetadataList)*)>
<!ATTLIST Record
  type          CDATA #REQUIRED
  unit          CDATA #IMPLIED
  value         CDATA #IMPLIED
<!-- Note: Any Records that appear as children of a correlation also appear as top-level records. -->
]>
"""
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
SHANGHAI = timezone(timedelta(hours=8))
WATCH = (
    "<<HKDevice: 0x2830a1b30>, name:Apple Watch, manufacturer:Apple Inc., model:Watch,"
    " hardware:Watch6,2, software:9.1>"
)
PHONE = "<<HKDevice: 0x28302fa20>, name:iPhone, manufacturer:Apple Inc., hardware:iPhone14,2>"


def stamp(at: datetime, zone: timezone = SHANGHAI) -> str:
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %z")


def record(
    kind: str,
    at: datetime,
    value: str = "",
    unit: str = "",
    *,
    until: datetime | None = None,
    source: str = "王芳的 Apple Watch",
    device: str = WATCH,
    zone: timezone = SHANGHAI,
    **metadata: str,
) -> str:
    """One Record; a kind without a prefix is a quantity."""
    full = kind if kind.startswith("HK") else f"HKQuantityTypeIdentifier{kind}"
    attributes = {
        "type": full,
        "sourceName": source,
        "sourceVersion": "9.1",
        "device": device,
        "unit": unit,
        "creationDate": stamp(at, zone),
        "startDate": stamp(at, zone),
        "endDate": stamp(until or at, zone),
        "value": value,
    }
    text = " ".join(f"{name}={quoteattr(it)}" for name, it in attributes.items() if it)
    entries = "".join(
        f"\n  <MetadataEntry key={quoteattr(key)} value={quoteattr(it)}/>"
        for key, it in metadata.items()
    )
    return f" <Record {text}>{entries}\n </Record>\n" if entries else f" <Record {text}/>\n"


def document(*records: str, head: str = HEAD + DOCUMENT_TYPE, me: str = "") -> str:
    body = "".join(records)
    return (
        f'{head}<HealthData locale="zh_CN">\n'
        f' <ExportDate value="2026-03-02 12:00:00 +0800"/>\n <Me {me}/>\n{body}</HealthData>\n'
    )


def write(path: Path, *records: str) -> Path:
    path.write_text(document(*records), "utf-8")
    return path


def zipped(path: Path, content: bytes, name: str = "apple_health_export/导出.xml") -> Path:
    """As the phone packs it: with another XML file of another kind beside it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("apple_health_export/export_cda.xml", "<ClinicalDocument/>" * 10)
        archive.writestr(name, content)
        archive.writestr("apple_health_export/workout-routes/route.gpx", "<gpx/>")
    return path


_KINDS: tuple[tuple[str, str, float, float], ...] = (
    ("HeartRate", "count/min", 48, 150),
    ("HeartRate", "count/min", 48, 150),
    ("HeartRate", "count/min", 48, 150),
    ("StepCount", "count", 1, 180),
    ("StepCount", "count", 1, 180),
    ("ActiveEnergyBurned", "kcal", 0.1, 9),
    ("DistanceWalkingRunning", "km", 0.001, 0.2),
    ("BasalEnergyBurned", "kcal", 1, 20),
    ("FlightsClimbed", "count", 1, 3),
    ("AppleExerciseTime", "min", 1, 1),
    ("OxygenSaturation", "%", 0.93, 1.0),
    ("RespiratoryRate", "count/min", 12, 20),
    ("HeartRateVariabilitySDNN", "ms", 15, 110),
    ("RestingHeartRate", "count/min", 50, 70),
    ("BodyMass", "lb", 140, 180),
    ("BodyMassIndex", "count", 21, 27),
    ("BodyFatPercentage", "%", 0.18, 0.33),
    ("BloodGlucose", "mg/dL", 80, 160),
    ("BodyTemperature", "degF", 97, 99),
    ("VO2Max", "mL/min·kg", 28, 42),
    ("WalkingSpeed", "km/hr", 3, 6),
    ("HeadphoneAudioExposure", "dBASPL", 50, 90),
    ("DietaryWater", "mL", 100, 400),
)


def large(megabytes: float, *, seed: int = 1, end: datetime | None = None) -> Iterator[str]:
    """Pieces of an export of more than twenty record types in no order, over two years."""
    rng = Random(seed)
    end = end or datetime(2026, 3, 2, tzinfo=UTC)
    yield HEAD + DOCUMENT_TYPE + '<HealthData locale="zh_CN">\n'
    size, wanted = 0, int(megabytes * 2**20)
    while size < wanted:
        pieces = []
        for _ in range(500):
            kind, unit, low, high = rng.choice(_KINDS)
            at = (end - timedelta(seconds=rng.randrange(730 * 86_400))).replace(microsecond=0)
            value = f"{rng.uniform(low, high):.4g}"
            if unit == "count" and kind != "BodyMassIndex":
                value = str(int(float(value)))
            watch = rng.random() < 0.7
            pieces.append(
                record(
                    kind,
                    at,
                    value,
                    unit,
                    until=at + timedelta(seconds=rng.choice((0, 60, 300))),
                    source="王芳的 Apple Watch" if watch else "Fang’s iPhone",
                    device=(WATCH if watch else PHONE).replace(
                        "0x2830", f"0x{rng.randrange(99999)}"
                    ),
                )
            )
        piece = "".join(pieces)
        size += len(piece)
        yield piece
    yield "</HealthData>\n"
