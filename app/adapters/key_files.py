"""Keys that a process makes for itself when embedded mode has none yet."""

import os
import tempfile
from pathlib import Path


def write_once(path: Path, content: bytes) -> None:
    """Have `content` in a new file that only its owner can read. Of any number of processes
    that start together exactly one wins, whole or not at all: a hard link appears in one step
    and never replaces what is there. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".key-")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first; its key is ours too
    finally:
        os.unlink(draft)
