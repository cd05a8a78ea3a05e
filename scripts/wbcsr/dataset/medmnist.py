"""The .npz files of MedMNIST, such as BloodMNIST, as an archive of PNG files.

Source of the format: Yang et al., Scientific Data 10, 2023, 41, and the package medmnist: the arrays `train_images`,
`train_labels`, `val_images`, `val_labels`, `test_images` and `test_labels`; images (n, H, W) or (n, H, W, 3) uint8,
labels (n, 1), whole numbers from 0.
"""

from __future__ import annotations

import math
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from wbcsr import imaging
from wbcsr.dataset.archive import Archive, Zip
from wbcsr.errors import InputError, first_line

PARTITIONS = ("train", "val", "test")
_REMEDY = "download it again, or give a MedMNIST file of 2-D images with one label each (dataset.archive)"


class MedMnist(Archive):
    """The images of the file as `<partition>/<class>/<partition>_<number>.png`; all arrays are held in memory.

    A partition is one of `PARTITIONS`; the number is that of the row in the partition's array. The class of label k is
    `classes[k]`, or the number k itself if all `classes` are numbers.

    Of `limits`, `files` and `file_mb` apply to the images, `total_gb` and `ratio` to the arrays. Raises InputError as
    `Zip` does, and if an array is missing, is damaged, has another type or shape, or does not have the size in its
    header, and if a label has no class.
    """

    def __init__(self, path: Path, limits: Mapping[str, int], classes: Sequence[str]) -> None:
        super().__init__(path, limits)
        self._images: dict[str, tuple[npt.NDArray[np.generic], int]] = {}
        # One array holds the images of a partition, so no single file of the zip is too large.
        with Zip(path, {**limits, "file_mb": sys.maxsize}) as packed:
            arrays = {f"{name}.npy" for name in ("train_images", "train_labels")}
            if lacking := sorted(arrays - packed.entries.keys()):
                raise InputError(f"{path}: lacks the array {lacking[0].removesuffix('.npy')!r}; {_REMEDY}")
            for partition in PARTITIONS:
                if f"{partition}_images.npy" in packed.entries:
                    self._take(packed, partition, classes)
        if beyond := self._beyond(len(self.entries), "files"):
            raise InputError(f"{path}: has {len(self.entries):,} images, {beyond}")

    def _take(self, packed: Zip, partition: str, classes: Sequence[str]) -> None:
        images = self._array(packed, f"{partition}_images")
        labels = self._array(packed, f"{partition}_labels")
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (3,)):
            raise InputError(
                f"{self.path}: {partition}_images are {_kind(images)}, not (n, H, W[, 3]) uint8; {_REMEDY}"
            )
        if labels.dtype.kind not in "iu" or labels.shape != (len(images), 1):
            raise InputError(
                f"{self.path}: {partition}_labels are {_kind(labels)}, not one whole number for each of the "
                f"{len(images)} images; {_REMEDY}"
            )
        numbered = all(name.isdecimal() for name in classes)
        least, most = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
        if least < 0 or (most >= len(classes) and not numbered):
            raise InputError(
                f"{self.path}: {partition}_labels has {most if least >= 0 else least}, but dataset.classes names the "
                f"labels 0 to {len(classes) - 1}; name all classes in the order of their labels, or write '0', '1', …"
            )
        size = images[:1].nbytes
        if beyond := self._beyond(size, "file_mb", 1_000_000):
            raise InputError(f"{self.path}: an image of {partition}_images has {size:,} bytes, {beyond}")
        for row, label in enumerate(labels[:, 0].tolist()):
            name = str(label) if numbered else classes[label]
            entry = f"{partition}/{name}/{partition}_{row:06}.png"
            self.entries[entry] = size
            self._images[entry] = (images, row)

    def _array(self, packed: Zip, name: str) -> npt.NDArray[np.generic]:
        entry = f"{name}.npy"
        if entry not in packed.entries:
            raise InputError(f"{self.path}: lacks the array {name!r}; {_REMEDY}")
        try:
            with packed.open(entry) as file:
                _check_size(file, packed.entries[entry])
            with packed.open(entry) as file:
                array: npt.NDArray[np.generic] = np.lib.format.read_array(file, allow_pickle=False)
                return array
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError) as error:
            raise InputError(f"{self.path}: array {name!r} cannot be read ({first_line(error)}); {_REMEDY}") from error

    def read(self, entry: str) -> bytes:
        images, row = self._images[entry]
        return imaging.encode_png(images[row])

    def close(self) -> None:
        self._images.clear()


def _check_size(file: IO[bytes], size: int) -> None:
    """Raise ValueError if the header of an array announces another size than the `size` bytes of its file."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the format")
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if file.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"its header says {shape} {dtype}, but it has {size:,} bytes")


def _kind(array: npt.NDArray[np.generic]) -> str:
    return f"{array.shape} {array.dtype}"
