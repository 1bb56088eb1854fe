"""Where jaxvae keeps what it can fetch or compute again: downloads and compiled programs."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return `$XDG_CACHE_HOME/jaxvae`, or `~/.cache/jaxvae` where that variable is unset or not an absolute path.

    The folder is not created. Convention: XDG Base Directory Specification 0.8, which says to ignore relative paths.
    """
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache"
    return base / "jaxvae"
