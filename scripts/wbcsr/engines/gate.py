"""The gate on quality: an engine's output beside that of the network as it is in fp32, before anything relies on it.

The comparison runs in a process of its own, so that what is compared is the engine as every later job will load it.
"""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from wbcsr import imaging
from wbcsr.classify import resnet
from wbcsr.classify.pack import select
from wbcsr.engines.engine import Engine, Source, is_reference, load
from wbcsr.errors import InputError
from wbcsr.files import read_csv, read_json, write_json
from wbcsr.pixels import reference, to_network
from wbcsr.upscale import upscaler

log = logging.getLogger(__name__)

# A side of the pieces of cells that are compared where the engine takes any size (pixels).
PIECE = 128
BLACK = 1.0  # a mean below this is black (of 255)


@dataclass(frozen=True)
class Comparison:
    """An engine's results beside those of the fp32 network.

    `psnr_db` (None where nothing differs) and `max_difference` (of 255) are of 8-bit pixels of `images` cells;
    `changed_labels` (a share) and `max_probability_difference` of the classes of `images` cells.
    """

    images: int
    psnr_db: float | None = None
    max_difference: int | None = None
    changed_labels: float | None = None
    max_probability_difference: float | None = None


def pass_gate(check: str, arguments: dict[str, Any], quality_path: Path) -> dict[str, Any]:
    """Run `check` (a key of `CHECKS`) in a fresh process, compare with the thresholds, and write what was found.

    `arguments` are those of the check, as JSON can hold them; `inference` and `engine` are among them. An engine that
    is itself the fp32 network is not compared with itself, and the file says so.
    InputError where a threshold is missed or the output is not finite or black; the file is not written then.
    """
    gate = arguments["inference"]["gate"]
    if is_reference(read_json(arguments["engine"])):
        quality: dict[str, Any] = {"passed": True, "reference": True, "thresholds": gate}
    else:
        found = _in_fresh_process(check, arguments)
        _hold(arguments["engine"], found, gate)
        quality = {"passed": True, "reference": False, "thresholds": gate, **asdict(found)}
    write_json(quality_path, quality)
    log.info("quality: %s", _in_words(quality))
    return quality


def check_upscaler(engine: str, weights: str, manifests: list[str], inference: dict[str, Any]) -> Comparison:
    """Enlarge a fixed set of the manifests' images by the engine and by the fp32 network on the same device."""
    source, _ = upscaler.source(Path(weights))
    ready = load(source, Path(engine), inference)
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
    return Comparison(images=len(cells), psnr_db=_psnr(float(np.mean(squares))), max_difference=largest)


def check_classifier(
    engine: str, model: str, array: str, index: str, split: str, classes: list[str], inference: dict[str, Any]
) -> Comparison:
    """Classify validation images by the engine and by the fp32 network on the same device."""
    source, _ = resnet.source(Path(model))
    ready = load(source, Path(engine), inference)
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
    return Comparison(images=len(chosen), changed_labels=changed, max_probability_difference=probabilities)


CHECKS: dict[str, Callable[..., Comparison]] = {"upscaler": check_upscaler, "classifier": check_classifier}


def _hold(engine: str, found: Comparison, gate: Mapping[str, Any]) -> None:
    """InputError that names the first threshold which is missed."""
    missed = None
    if found.psnr_db is not None and found.psnr_db < gate["psnr_db"]:
        missed = f"its images have a PSNR of {found.psnr_db:.1f} dB to those of the fp32 network, below psnr_db"
    elif found.max_difference is not None and found.max_difference > gate["max_difference"]:
        missed = f"a pixel is {found.max_difference} of 255 off the fp32 network's, above max_difference"
    elif found.changed_labels is not None and found.changed_labels > gate["changed_labels"]:
        missed = f"{found.changed_labels:.1%} of {found.images} labels are not those in fp32, above changed_labels"
    if missed:
        key = missed.rsplit(" ", 1)[1]
        raise InputError(
            f"{engine}: {missed} {gate[key]:g} of inference.gate; take another inference.precision or backend, "
            "or, if that quality will do, another threshold"
        )


def _in_words(quality: Mapping[str, Any]) -> str:
    if quality["reference"]:
        return "the engine is the fp32 network itself"
    if quality["changed_labels"] is not None:
        return f"{quality['changed_labels']:.2%} of {quality['images']} labels are not those in fp32"
    psnr = "identical" if quality["psnr_db"] is None else f"PSNR {quality['psnr_db']:.1f} dB"
    return f"{psnr} to fp32, largest difference {quality['max_difference']} of 255, {quality['images']} cells"


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


def _in_fresh_process(check: str, arguments: dict[str, Any]) -> Comparison:
    folder = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    process = subprocess.run(
        [sys.executable, "-m", "wbcsr.engines.gate", check],
        input=json.dumps(arguments),
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    for line in process.stderr.splitlines():
        log.debug("in a fresh process: %s", line)
    if process.returncode == 0:
        return Comparison(**json.loads(process.stdout.splitlines()[-1]))
    errors = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    if errors:
        raise InputError(errors[-1].removeprefix("error: "))
    raise RuntimeError(f"{arguments['engine']}: cannot be used in a fresh process:\n{process.stderr}")


def main() -> None:
    """Run the check named in the first argument on arguments from standard input; the last line out is its result."""
    try:
        found = CHECKS[sys.argv[1]](**json.load(sys.stdin))
    except InputError as error:
        sys.exit(f"error: {error}")
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
