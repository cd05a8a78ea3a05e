"""Compare the results of an engine with those of the fp32 network on the same device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wbcsr import imaging
from wbcsr.checks import psnr
from wbcsr.classify import classifiers
from wbcsr.classify.pack import select
from wbcsr.engines.engine import Engine, load
from wbcsr.engines.profile import Profile, Size, allowed_side
from wbcsr.engines.source import Source
from wbcsr.errors import InputError
from wbcsr.pixels import reference, to_network
from wbcsr.upscale import upscaler
from wbcsr.upscale.shard import spread

# Maximum side (pixels) of the image crops that are compared if the engine accepts any size.
PIECE = 128
BLACK = 1.0  # an image with a lower mean (of 255) counts as black


def compare_upscaler(engine: Path, weights: Path, manifests: Sequence[Path], count: int) -> dict[str, Any]:
    """Upscale the same `count` images of the manifests with the engine and with the fp32 network, and compare them.

    An engine for a range of sizes is tested with its optimal, smallest and largest size. Returns the number of `images`
    and, for their 8-bit values, `psnr_db` (None if identical) and `max_difference` (of 255). Raises InputError if the
    engine's output is not finite, or is black while the network's is not.
    """
    source, _ = upscaler.source(weights)
    ready = load(source, engine)
    profile = ready.profile or Profile.fixed(ready.batch, PIECE, PIECE)
    sizes = list(dict.fromkeys([profile.opt, profile.min, profile.max]))
    exact = _exact_network(source, ready.device)
    squares, largest = [], 0
    for number, whole in enumerate(_cells(manifests, count)):
        cell = _cut(whole, sizes[number % len(sizes)])
        size = sizes[number % len(sizes)] if ready.profile else _allowed(cell.shape, source)
        pixels = torch.from_numpy(cell)[None]
        with torch.inference_mode():
            prepared = to_network(pixels.to(ready.device), size, *upscaler.RANGE, ready.dtype, ready.memory_format)
            output = _run_once(ready, prepared).cpu()
            _require_finite(engine, output)
            prepared = reference.to_network(pixels, size, *upscaler.RANGE, torch.float32, torch.contiguous_format)
            expected = exact(prepared.to(ready.device)).cpu()
        shape = (output.shape[2], output.shape[3])
        ours, theirs = (reference.to_pixels(part, shape).short() for part in (output, expected))
        _require_not_black(engine, ours, theirs)
        difference = (ours - theirs).abs()
        squares.append((difference.double() ** 2).mean().item())
        largest = max(largest, int(difference.max()))
    return {"images": len(squares), "psnr_db": psnr(float(np.mean(squares))), "max_difference": largest}


def compare_classifier(
    engine: Path, model: Path, array: Path, index: Path, split: Path, classes: Sequence[str], most: int
) -> dict[str, Any]:
    """Classify the same validation images, at most `most`, with the engine and with the fp32 network, and compare.

    Returns the number of `images`, the fraction of `changed_labels`, and `max_probability_difference` over images and
    classes. Raises InputError if the engine's output is not finite.
    """
    source, description = classifiers.source(model)
    ready = load(source, engine)
    images = select([array], [index], split, classes, {"validation"})
    chosen = np.unique(np.linspace(0, len(images) - 1, min(len(images), most)).astype(int))
    pixels = torch.from_numpy(images.gather(chosen)[0])
    ours = classifiers.engine_logits(ready, description.network, pixels.split(ready.batch))
    _require_finite(engine, ours)
    exact = _exact_network(source, ready.device)
    size = (pixels.shape[1], pixels.shape[2])
    parts = []
    with torch.inference_mode():
        for part in pixels.split(classifiers.EVALUATION_BATCH):
            normalisation = description.network.normalisation
            batch = reference.to_network(part, size, *normalisation, torch.float32, torch.contiguous_format)
            parts.append(exact(batch.to(ready.device)).cpu())
    theirs = torch.cat(parts)
    probabilities = (ours.double().softmax(1) - theirs.double().softmax(1)).abs().max().item()
    changed = (ours.argmax(1) != theirs.argmax(1)).double().mean().item()
    return {"images": len(chosen), "changed_labels": changed, "max_probability_difference": probabilities}


def _cells(manifests: Sequence[Path], count: int) -> list[np.ndarray]:
    """Return `count` images spread over the manifests, (height, width, 3) uint8."""
    files = spread(manifests).head(count)
    if files.empty:
        raise InputError(f"{manifests[0]}: lists no image to check the engine with; check dataset.archive")
    paths = [folder / file for folder, file in files[["folder", "file"]].itertuples(index=False)]
    return [imaging.to_rgb8(imaging.decode(path.read_bytes(), str(path), whole=True)) for path in paths]


def _cut(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Return the central part of an image, at most `size`."""
    tops = [max(0, (pixels.shape[axis] - size[axis]) // 2) for axis in (0, 1)]
    return np.ascontiguousarray(pixels[tops[0] : tops[0] + size[0], tops[1] : tops[1] + size[1]])


def _allowed(shape: tuple[int, ...], source: Source) -> Size:
    height, width = (allowed_side(side, source.multiple, source.least) for side in shape[:2])
    return height, width


def _run_once(engine: Engine, image: torch.Tensor) -> torch.Tensor:
    """Return the engine's output for (1, 3, h, w), float32: the last one of a full batch of copies."""
    copies = engine.batch if engine.profile else 1
    batch = image.expand(copies, -1, -1, -1).contiguous(memory_format=engine.memory_format)
    return engine.run(batch)[-1:].float()


def _exact_network(source: Source, device: torch.device) -> torch.nn.Module:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return source.network.to(device, torch.float32).to(memory_format=torch.contiguous_format)


def _require_finite(engine: Path, output: torch.Tensor) -> None:
    if not torch.isfinite(output).all():
        raise InputError(f"{engine}: produces NaN or infinite values; choose inference.precision bf16 or fp32")


def _require_not_black(engine: Path, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    if ours.double().mean() < BLACK <= theirs.double().mean():
        raise InputError(f"{engine}: produces black images; choose another inference.precision or backend")
