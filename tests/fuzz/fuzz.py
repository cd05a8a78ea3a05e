"""Fuzzing of all parsers of foreign data: `python tests/fuzz/fuzz.py <parser> [options of libFuzzer]`.

For any bytes, a parser must return a result or raise an InputError of one line. Anything else is a defect; libFuzzer
keeps its input as crash-<hash> in the working folder. `-max_total_time=60` limits a run to a minute.
"""

from __future__ import annotations

import io
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["wbcsr", "zipfile", "tifffile"]):
    import cv2
    import numpy as np
    import pandas as pd
    import tifffile
    import yaml

    from wbcsr.config.schema import complete
    from wbcsr.dataset.archive import open_archive
    from wbcsr.dataset.labels import read_labels
    from wbcsr.dataset.split import custom_split
    from wbcsr.errors import InputError
    from wbcsr.files import read_csv, read_json
    from wbcsr.imaging import decode, encode_png
    from wbcsr.weights.ncnn import FP16_TAG, read_layers

SCHEMA = Path(__file__).parents[2] / "config" / "schema.yaml"
LIMITS = complete({}, SCHEMA)["dataset"]["limits"]
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz"))
PIXELS = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def written(content: bytes, name: str = "input") -> Path:
    path = FOLDER / name
    path.write_bytes(content)
    return path


def archive(content: bytes) -> None:
    with open_archive(written(content), LIMITS) as opened:
        for entry in opened.entries:
            opened.read(entry)


def image(content: bytes) -> None:
    decode(content, "image")


def labels(content: bytes) -> None:
    partitions = {"train": "TRAIN", "test": "TEST"} if content[:1] == b"p" else None
    columns = {"file": None, "label": None, "group": None, "partition": None}
    names = {"classes": ["A", "B"], "members": None, "labels": {"columns": columns, "name": "{}"}}
    read_labels(written(content), {"partitions": partitions, **names})


def split(content: bytes) -> None:
    custom_split(pd.DataFrame({"image": ["ALL/A/1.png", "ALL/B/1.png"], "class": ["A", "B"]}), written(content))


def manifest(content: bytes) -> None:
    table = read_csv(written(content), ["image", "file", "width", "height", "sha256"])
    zip(table["image"], table["sha256"], strict=True)


def record(content: bytes) -> None:
    read_json(written(content))


def ncnn(content: bytes) -> None:
    param, _, model = content.partition(b"\0")
    read_layers(written(param, "param"), written(model, "model"))


def configuration(content: bytes) -> None:
    try:
        config = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return  # Snakemake reads this file and reports the error itself
    if isinstance(config, dict):
        complete(config, SCHEMA)


def _zip() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("TRAIN/A/1.png", encode_png(PIXELS))
        packed.writestr("TEST/", b"")
    return target.getvalue()


def _tiff(compression: str | None, **options: Any) -> bytes:
    target = io.BytesIO()
    tifffile.imwrite(target, PIXELS, compression=compression, metadata=None, **options)
    return target.getvalue()


# The parsers, each with valid inputs from which libFuzzer makes others.
PARSERS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "archive": (archive, [_zip()]),
    "image": (
        image,
        [encode_png(PIXELS), encode_png(PIXELS[:, :, 0])]
        + [cv2.imencode(f".{kind}", PIXELS)[1].tobytes() for kind in ("jpg", "bmp", "webp")]
        + [_tiff(compression) for compression in (None, "lzw", "deflate", "packbits", "jpeg", "zstd")]
        + [_tiff("lzw", tile=(16, 16), predictor=True), _tiff(None, byteorder=">", bigtiff=True, photometric="rgb")],
    ),
    "labels": (labels, [b"file,label,group\na/1.png,A,p1\nb.png,B,\n", b"partition,file,label\nTRAIN,a,A\nTEST,b,B\n"]),
    "split": (split, [b"image,subset\nALL/A/1.png,train\nALL/B/1.png,test\n"]),
    "manifest": (manifest, [b"image,file,width,height,sha256,input_sha256\nTRAIN/A/1.png,1.png,8,6,00,00\n"]),
    "record": (record, [b'{"rule": "upscale", "inputs": {"a": [1, null, 2.5]}}']),
    "ncnn": (
        ncnn,
        [
            b"7767517\n1 2\nConvolution conv 1 1 in out 0=1 1=1 5=1 6=2\n\0"
            + struct.pack("<I", FP16_TAG) + bytes(4) + bytes(4)
        ],
    ),
    "configuration": (configuration, [b"seeds: [0, 1]\ndataset: {classes: [A, B], partitions: {train: X, test: Y}}\n"]),
}  # fmt: skip


def main() -> None:
    name, *options = sys.argv[1:]
    parse, inputs = PARSERS[name]
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    for number, content in enumerate(inputs):
        parse(content) if name != "split" else None
        (corpus / str(number)).write_bytes(content)

    def once(content: bytes) -> None:
        try:
            parse(content)
        except InputError as error:
            if len(str(error).splitlines()) > 1:
                raise AssertionError(f"more than one line: {error!r}") from error

    atheris.Setup([sys.argv[0], str(corpus), *options], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
