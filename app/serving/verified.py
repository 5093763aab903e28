"""Artifacts that this process has compared with their manifests already, and whose files are as they were then.

A roll-back goes to versions that have served a while ago: to hash gigabytes of tables once more would take longer than
all the rest of it.
"""

import time
from pathlib import Path

from app.artifact import Manifest, read_manifest, verify

_MOST_REMEMBERED = 64
_TICK_NS = 50_000_000
"""Several ticks of any file system's clock: within one a second change would look like the first."""

_Signature = tuple[tuple[str, int, int, int, int], ...]


class Verified:
    """Verifies folders; one whose files have not been touched since is not read once more."""

    def __init__(self) -> None:
        self._seen: dict[Path, _Signature] = {}

    def manifest(self, folder: Path) -> Manifest:
        """The manifest of a sound artifact. Raises ArtifactCorrupt naming what differs."""
        # Before the comparison: what is changed meanwhile differs from this the next time.
        signature = _signature(folder)
        if signature and self._seen.get(folder) == signature:
            return read_manifest(folder)
        self._seen.pop(folder, None)
        is_settled = bool(signature) and time.time_ns() - _newest(signature) > _TICK_NS
        manifest = verify(folder)
        if is_settled:
            self._seen[folder] = signature
            while len(self._seen) > _MOST_REMEMBERED:
                del self._seen[next(iter(self._seen))]
        return manifest


def _newest(signature: _Signature) -> int:
    return max(changed_ns for *_, changed_ns in signature)


def _signature(folder: Path) -> _Signature:
    """What changes whenever a file is written, replaced, or put elsewhere; nothing where that cannot be read."""
    try:
        found = [(path.name, path.lstat()) for path in sorted(folder.iterdir())]
    except OSError:
        return ()
    # The time of the last change of the inode: unlike that of the content nobody can set it.
    return tuple((name, one.st_dev, one.st_ino, one.st_size, one.st_ctime_ns) for name, one in found)
