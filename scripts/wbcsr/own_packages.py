"""Whether PYTHONPATH, which the modules of a cluster often set, hides packages of this environment."""

from __future__ import annotations

import os
import pkgutil
import sys
import sysconfig
from pathlib import Path

from wbcsr.errors import InputError


def require_own_packages() -> None:
    """Raise InputError if a folder in PYTHONPATH has packages that this Python's environment has, too.

    Python looks into PYTHONPATH first. Other versions of packages can change results without an error.
    """
    own = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    installed = {name for folder in own for name in _importable(folder)}
    for entry in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        folder = Path(entry).resolve()
        hidden = sorted(installed & _importable(folder)) if folder not in own else []
        if hidden:
            more = f" and {len(hidden) - 3} more" if len(hidden) > 3 else ""
            raise InputError(
                f"PYTHONPATH: {entry} has {', '.join(hidden[:3])}{more}, which would be used instead of the packages "
                f"of {sys.prefix}; run `unset PYTHONPATH` (a loaded module may have set it) and start again"
            )


def _importable(folder: Path) -> set[str]:
    """The names of the modules and packages in a folder."""
    return {module.name for module in pkgutil.iter_modules([str(folder)])}
