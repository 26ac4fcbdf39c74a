"""The published models, each a pure function of its inputs."""

from collections.abc import Mapping

from app.risk.models.ada import ADA
from app.risk.models.base import Model
from app.risk.models.china_par import CHINA_PAR
from app.risk.models.ckd_epi import CKD_EPI
from app.risk.models.findrisc import FINDRISC
from app.risk.models.framingham_diabetes import FRAMINGHAM_DIABETES
from app.risk.models.framingham_hypertension import FRAMINGHAM_HYPERTENSION
from app.risk.models.ncdrs import NCDRS
from app.risk.models.prevent import PREVENT
from app.risk.models.score2 import SCORE2, SCORE2_ASIA_PACIFIC

_VERSIONS = (
    FINDRISC,
    NCDRS,
    CHINA_PAR,
    FRAMINGHAM_HYPERTENSION,
    PREVENT,
    SCORE2,
    SCORE2_ASIA_PACIFIC,
    FRAMINGHAM_DIABETES,
    ADA,
    CKD_EPI,
)

VERSIONS: Mapping[tuple[str, str], Model] = {(it.code, it.version): it for it in _VERSIONS}
"""Every version that was ever released: what was assessed with it must be recomputed."""
LATEST: Mapping[str, Model] = {it.code: it for it in _VERSIONS}
"""By code; of several versions the last one listed."""
