"""An engine's results beside those of the network as it is in fp32, on the same device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from wbcsr import imaging
from wbcsr.classify import resnet
from wbcsr.classify.pack import select
from wbcsr.engines.engine import Engine, Source, load
from wbcsr.errors import InputError
from wbcsr.files import read_csv
from wbcsr.pixels import reference, to_network
from wbcsr.upscale import upscaler

# A side of the pieces of cells that are compared where the engine takes any size (pixels).
PIECE = 128
BLACK = 1.0  # a mean below this is black (of 255)


def compare_upscaler(engine: str, weights: str, manifests: list[str], inference: dict[str, Any]) -> dict[str, Any]:
    """Enlarge a fixed set of the manifests' images by the engine and by the fp32 network.

    Gives how many `images`, and of their 8-bit values `psnr_db` (None where nothing differs) and `max_difference` (of
    255). InputError where the engine's output is not finite, or black where the network's is not.
    """
    source, _ = upscaler.source(Path(weights))
    ready = load(source, Path(engine))
    cells = _cells(
        [Path(path) for path in manifests],
        inference["gate"]["images"],
        ready.profile.best if ready.profile else (PIECE, PIECE),
    )
    exact = _exact_network(source, ready.device)
    squares, largest = [], 0
    for cell in cells:
        sides = [-(-side // source.multiple) * source.multiple for side in cell.shape[:2]]
        size = ready.profile.best if ready.profile else (sides[0], sides[1])
        pixels = torch.from_numpy(cell)[None]
        with torch.inference_mode():
            prepared = to_network(pixels.to(ready.device), size, *upscaler.RANGE, ready.dtype, ready.memory_format)
            output = _run_once(ready, prepared).cpu()
            _require_finite(engine, output)
            prepared = reference.to_network(pixels, size, *upscaler.RANGE, torch.float32, torch.contiguous_format)
            expected = exact(prepared.to(ready.device)).cpu()
        shape = (output.shape[2], output.shape[3])
        ours, theirs = (reference.to_pixels(part, shape).short() for part in (output, expected))
        _require_light(engine, ours, theirs)
        difference = (ours - theirs).abs()
        squares.append((difference.double() ** 2).mean().item())
        largest = max(largest, int(difference.max()))
    return {"images": len(cells), "psnr_db": _psnr(float(np.mean(squares))), "max_difference": largest}


def compare_classifier(
    engine: str, model: str, array: str, index: str, split: str, classes: list[str], inference: dict[str, Any]
) -> dict[str, Any]:
    """Classify validation images by the engine and by the fp32 network.

    Gives how many `images`, the share of `changed_labels`, and `max_probability_difference` over images and classes.
    InputError where the engine's output is not finite.
    """
    source, _ = resnet.source(Path(model))
    ready = load(source, Path(engine))
    images = select([Path(array)], [Path(index)], Path(split), classes, {"validation"})
    chosen = np.unique(np.linspace(0, len(images) - 1, min(len(images), inference["gate"]["labels"])).astype(int))
    pixels = torch.from_numpy(images.gather(chosen)[0])
    ours = resnet.engine_logits(ready, pixels.split(ready.batch))
    _require_finite(engine, ours)
    exact = _exact_network(source, ready.device)
    size = (pixels.shape[1], pixels.shape[2])
    parts = []
    with torch.inference_mode():
        for part in pixels.split(resnet.EVALUATION_BATCH):
            batch = reference.to_network(part, size, *resnet.NORMALISATION, torch.float32, torch.contiguous_format)
            parts.append(exact(batch.to(ready.device)).cpu())
    theirs = torch.cat(parts)
    probabilities = (ours.double().softmax(1) - theirs.double().softmax(1)).abs().max().item()
    changed = (ours.argmax(1) != theirs.argmax(1)).double().mean().item()
    return {"images": len(chosen), "changed_labels": changed, "max_probability_difference": probabilities}


def _cells(manifests: Sequence[Path], count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """`count` images spread over the manifests, the same at each call, each cut about its middle to at most `size`."""
    tables = [read_csv(path, ["image", "file"]).assign(folder=path.parent) for path in manifests]
    rows = pd.concat([table.assign(order=np.arange(len(table)) / max(len(table), 1)) for table in tables])
    rows = rows.sort_values(["order", "image"], kind="stable").head(count)
    if rows.empty:
        raise InputError(f"{manifests[0]}: names no image to compare the engine by; check dataset.archive")
    cells = []
    for folder, file in rows[["folder", "file"]].itertuples(index=False):
        pixels = imaging.to_rgb8(imaging.decode((folder / file).read_bytes(), str(folder / file), whole=True))
        tops = [max(0, (pixels.shape[axis] - size[axis]) // 2) for axis in (0, 1)]
        cells.append(np.ascontiguousarray(pixels[tops[0] : tops[0] + size[0], tops[1] : tops[1] + size[1]]))
    return cells


def _run_once(engine: Engine, image: torch.Tensor) -> torch.Tensor:
    """The engine's output for (1, 3, h, w), float32; the image goes through a whole batch, and the last is taken."""
    copies = engine.batch if engine.profile else 1
    batch = image.expand(copies, -1, -1, -1).contiguous(memory_format=engine.memory_format)
    return engine.run(batch)[-1:].float()


def _exact_network(source: Source, device: torch.device) -> torch.nn.Module:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return source.network.to(device, torch.float32).to(memory_format=torch.contiguous_format)


def _require_finite(engine: str, output: torch.Tensor) -> None:
    if not torch.isfinite(output).all():
        raise InputError(f"{engine}: gives values that are not finite; take inference.precision bf16 or fp32")


def _require_light(engine: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    if ours.double().mean() < BLACK <= theirs.double().mean():
        raise InputError(f"{engine}: gives black images; take another inference.precision or backend")


def _psnr(mean_square: float) -> float | None:
    """Peak signal-to-noise ratio in dB for 8-bit values; None where there is no noise."""
    return 10 * math.log10(255**2 / mean_square) if mean_square else None
