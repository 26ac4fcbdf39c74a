"""The questionnaires of the programme: one data file a version, published once, never changed."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml
from pydantic import ValidationError
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ConfigurationError
from app.records.forms import Questionnaire
from app.records.models import QuestionnaireVersion

_FOLDER = Path(__file__).with_name("questionnaires")


class QuestionnaireInvalid(ConfigurationError):
    """Names the file, and what is wrong in it."""


class QuestionnaireChanged(ConfigurationError):
    def __init__(self, code: str, version: str) -> None:
        super().__init__(
            f"Questionnaire {code!r} version {version} is published and differs from its file; "
            "leave that as it was and give the change a file of the next version."
        )


def read(folder: Path) -> Mapping[tuple[str, str], Questionnaire]:
    """The questionnaires of a folder by code and version. Raises QuestionnaireInvalid."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        form = _read(path)
        if path.name != f"{form.code}.{form.version}.yaml":
            raise QuestionnaireInvalid(
                f"{path.name} holds {form.code!r} version {form.version}; "
                f"call it {form.code}.{form.version}.yaml."
            )
        found[form.code, form.version] = form
    return found


def _read(path: Path) -> Questionnaire:
    try:
        return Questionnaire.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise QuestionnaireInvalid(f"{path.name} is no YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise QuestionnaireInvalid(
            f"{path.name}: {where}: {first['msg']}" if where else f"{path.name}: {first['msg']}"
        ) from error


@cache
def every() -> Mapping[tuple[str, str], Questionnaire]:
    """All versions of the programme's own."""
    return read(_FOLDER)


@cache
def in_force() -> Mapping[str, Questionnaire]:
    """The newest version of each code."""
    found: dict[str, Questionnaire] = {}
    for form in every().values():
        known = found.get(form.code)
        if known is None or int(known.version) < int(form.version):
            found[form.code] = form
    return found


async def publish(
    connection: AsyncConnection | AsyncSession,
    forms: Mapping[tuple[str, str], Questionnaire] | None = None,
) -> int:
    """Store the versions that are new, by default those of the programme's own files; how many
    they were. Raises QuestionnaireChanged when a published one differs from its file."""
    rows = await connection.execute(
        select(QuestionnaireVersion.code, QuestionnaireVersion.version, QuestionnaireVersion.hash)
    )
    known = {(code, version): bytes(hashed) for code, version, hashed in rows.all()}
    added = 0
    for key, form in (forms if forms is not None else every()).items():
        earlier = known.get(key)
        if earlier is None:
            row = {
                "code": form.code,
                "version": form.version,
                "hash": form.hash,
                "definition": form.definition,
            }
            await connection.execute(insert(QuestionnaireVersion).values(row))
            added += 1
        elif earlier != form.hash:
            raise QuestionnaireChanged(*key)
    return added
