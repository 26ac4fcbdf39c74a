"""Enums of the API; whoever uses one in a type takes it from here, where it is registered."""

import strawberry

from app.graphql import enums
from app.measurements.catalogue import MeasurementCode, quantities
from app.measurements.kinds import Context, Method, TrustGrade

__all__ = ["Context", "MeasurementCode", "Method", "TrustGrade"]

enums.register(
    MeasurementCode,
    {
        code: f"{it.name_en}: {', '.join(unit.ucum for unit in it.units)}."
        for code, it in quantities().items()
    },
    name="MeasurementCode",
    description="A quantity of the catalogue; the unit sent with a value decides the conversion.",
)
strawberry.enum(Method, name="MeasurementMethod")
strawberry.enum(Context, name="MeasurementContext")
strawberry.enum(
    TrustGrade,
    description="How far a reading may be relied on; it decides what the reading may drive: "
    "points, tier, premium.",
)
