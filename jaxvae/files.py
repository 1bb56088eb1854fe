"""Files that are replaced whole: a reader, or one who comes after a kill, sees the old file or the new one."""

import os
from contextlib import suppress
from pathlib import Path

from jaxvae.errors import RunFolderError


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace `path` by `content` in one step; what a killed writer leaves is taken over by the next one.

    Raises:
        RunFolderError: it cannot be written; the old file is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # never through a link that stands there
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RunFolderError(f"{path}: cannot be written: {error.strerror}") from error
        raise
