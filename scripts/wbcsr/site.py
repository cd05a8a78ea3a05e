"""Check the PyTorch that a site has installed for missing or old parts, and detect whether this process uses one."""

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

# The oldest versions that the unit tests were run with.
LEAST = {"torch": (2, 11), "torchvision": (0, 26), "triton": (3, 6)}


def problems(wheelhouse: Path) -> list[str]:
    """What prevents `make setup-site` from using this Python and the folder `wheelhouse`, one line for each problem."""
    found = []
    for package, least in LEAST.items():
        needed = f"needed is {'.'.join(map(str, least))} or newer"
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            found.append(f"{package}: {sys.executable} has none; {needed}")
            continue
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if numbers is None or tuple(map(int, numbers.groups())) < least:
            found.append(f"{package}: {sys.executable} has {version}; {needed}")
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        found.append(f"Python.h: {sys.executable} has no headers, which Triton compiles with (Debian: python3-dev)")
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        found.append("C compiler: there is none on the PATH, and Triton needs one (Debian: gcc)")
    if not (wheelhouse / "requirements.txt").is_file():
        found.append(
            f"{wheelhouse}: there are no wheels; run `make wheelhouse PYTHON_VERSION={wheelhouse.name}` where there is "
            "a network, and copy the folder wheelhouse here"
        )
    return found


def folder() -> Path | None:
    """The folder of the site's PyTorch that this environment uses; None if it has its own or none."""
    try:
        place = Path(str(metadata.distribution("torch").locate_file("")))
    except metadata.PackageNotFoundError:
        return None
    return None if place.resolve().is_relative_to(Path(sys.prefix).resolve()) else place


if __name__ == "__main__":
    lines = problems(Path(sys.argv[1]))
    sys.exit("\n".join(f"error: {line}" for line in lines) if lines else 0)
