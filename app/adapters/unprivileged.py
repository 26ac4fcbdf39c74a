"""Running PostgreSQL's programs as an ordinary user, which PostgreSQL insists on."""

import contextlib
import os
import pwd
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ACCOUNTS = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """The user to run programs as. Only root can be somebody else than itself."""

    name: str
    uid: int
    gid: int

    def run(
        self, command: Sequence[str], *, stdin: str = "", keeping_open: Collection[int] = ()
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=environment(),
            pass_fds=keeping_open,
            **self.options(),
        )

    def options(self) -> dict[str, Any]:
        """What `subprocess` needs to run a program as this account."""
        options: dict[str, Any] = {"cwd": "/", "umask": 0o077}
        if os.geteuid() == 0:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options

    def may_execute(self, path: Path) -> bool:
        """Whether it may run this program or enter this folder; the kernel is asked."""
        return self.run(["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)]).returncode == 0

    def make_dir(self, path: Path) -> bool:
        """Make a private folder; False if it is there and is somebody else's."""
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(path, self.uid, self.gid)
        return path.is_dir() and not path.is_symlink() and path.lstat().st_uid == self.uid


def account_for(data_dir: Path) -> Account | None:
    """Ourselves, or for root the owner of the data, else an ordinary system user.

    None when there is nobody: the data is another user's, or no ordinary user exists.
    """
    owner = data_dir.stat() if data_dir.exists() else None
    if os.geteuid() != 0:
        mine = owner is None or owner.st_uid == os.geteuid()
        return Account(f"uid {os.geteuid()}", os.geteuid(), os.getegid()) if mine else None
    if owner is not None:
        return Account(f"uid {owner.st_uid}", owner.st_uid, owner.st_gid) if owner.st_uid else None
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(f"user {name!r}", entry.pw_uid, entry.pw_gid)
    return None


def environment() -> dict[str, str]:
    """Ours, without what would redirect PostgreSQL's programs or translate their messages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}


def is_running(pid: int, program: str, folder: Path) -> bool:
    """Whether this process is alive and is `program`, given `folder`."""
    process = Path(f"/proc/{pid}")
    if not Path("/proc/self").exists():  # macOS
        ps = ["ps", "-ww", "-o", "stat=,command=", "-p", str(pid)]
        listed = subprocess.run(ps, capture_output=True, text=True, check=False).stdout
        return not listed.startswith("Z") and program in listed and str(folder) in listed
    try:
        # A zombie has no arguments any more.
        arguments = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    if program.encode() not in arguments[0]:
        return False
    if os.fsencode(folder) in arguments:
        return True
    try:  # somebody else may have named it otherwise
        return (process / "cwd").readlink() == folder
    except OSError:
        return False
