"""A model repository for NVIDIA Triton Inference Server: upscaler, classifier, and an ensemble of both.

The formats are documented in triton-inference-server/server, docs/user_guide: model_repository.md,
model_configuration.md, batcher.md, ensemble_models.md; and for AOTInductor packages in the README of pytorch_backend.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from google.protobuf import text_format
from google.protobuf.message import Message
from torch import nn
from tritonclient.grpc import model_config_pb2 as schema

from wbcsr import provenance
from wbcsr.checks import psnr
from wbcsr.checks.gate import FOUND, hold
from wbcsr.classify import classifiers
from wbcsr.dataset.synthetic.cells import KINDS
from wbcsr.dataset.synthetic.photograph import draw_photograph
from wbcsr.engines.capability import DTYPES
from wbcsr.engines.engine import Engine, load
from wbcsr.engines.profile import Size
from wbcsr.engines.source import Source
from wbcsr.errors import InputError
from wbcsr.files import read_csv, read_json, sha256, write_json, write_text
from wbcsr.serve.networks import Classifier, Upscaler
from wbcsr.serve.programs import INPUT, OUTPUT, PACKAGE, Format, compile_program, format_for, load_program
from wbcsr.upscale import upscaler

log = logging.getLogger(__name__)

UPSCALER, CLASSIFIER, ENSEMBLE = "upscaler", "classifier", "enhance_and_classify"
IMAGE, PROBABILITIES = "IMAGE", "PROBABILITIES"
LABELS = "labels.txt"
# Maximum difference from fp32: bf16 has 8 bits of precision, and the steepest slope of softmax is 1/4.
PROBABILITY_TOLERANCE = 0.05
_DRAWN = (320, 240)  # width and height of the synthetic cells for the check


@dataclass(frozen=True)
class Tensor:
    """An input or output of a served model; `dims` is its shape without the batch, as in the configuration."""

    name: str
    data_type: str
    dims: tuple[int, ...]
    label_filename: str | None = None


@dataclass(frozen=True)
class Model:
    """A served network in the precision of its engine and in fp32, with its input and output."""

    name: str
    network: nn.Module
    exact: nn.Module
    engine: Engine
    fingerprint: dict[str, str]
    input: Tensor
    output: Tensor


def export_repository(
    weights: Path,
    upscaler_engine: Path,
    model: Path,
    classifier_engine: Path,
    images_csv: Path,
    scale: int,
    inference: Mapping[str, Any],
    repository: Path,
    manifest: Path,
) -> dict[str, Any]:
    """Write both networks as a model repository, with README.md and `manifest` next to it; returns the manifest.

    Programs are compiled for this machine, in the precision of the engines: TensorRT plans for TensorRT engines,
    otherwise AOTInductor packages. They take 1 to max_batch_size images, (height, width, 3) uint8 RGB, of the most
    common size in `images_csv`. `upscaler` returns images `scale` times as large, `classifier` takes these and returns
    class probabilities, `enhance_and_classify` does both. Each program is loaded from its file and compared with the
    fp32 network; for pixels, `inference.tolerances` applies. The folder `repository` is replaced atomically.

    Raises InputError if an engine was built for something else or another machine, the network has another `scale`, the
    images are larger than `inference.tile`, compiling is not possible here, or the results of a program are wrong.
    """
    network, architecture = upscaler.source(weights)
    trained, description = classifiers.source(model)
    if scale != architecture.scale:
        raise InputError(
            f"{weights}: upscales by {architecture.scale}, not by {scale}, and the server cannot resize its output; "
            f"export a variant of scale {architecture.scale}"
        )
    size = _size_of_images(images_csv, inference["tile"])
    enlarged = (size[0] * scale, size[1] * scale)
    models = [
        _prepare(
            UPSCALER,
            network,
            upscaler_engine,
            lambda network, dtype: Upscaler(network, dtype, size, scale, architecture.multiple, architecture.least),
            Tensor(INPUT, "UINT8", (*size, 3)),
            Tensor(OUTPUT, "UINT8", (*enlarged, 3)),
        ),
        _prepare(
            CLASSIFIER,
            trained,
            classifier_engine,
            lambda network, dtype: Classifier(
                network, dtype, enlarged, description.input_size, *description.network.normalisation
            ),
            Tensor(INPUT, "UINT8", (*enlarged, 3)),
            Tensor(OUTPUT, "FP32", (len(description.classes),), LABELS),
        ),
    ]
    # A dynamic batch with maximum 1 cannot be exported. Both models use the upscaler's batch size.
    batch = max(2, models[0].engine.batch)
    record: dict[str, Any] = {
        "max_batch_size": batch,
        "image_size": list(size),
        "scale": scale,
        "classes": list(description.classes),
        "versions": provenance.versions(),
        "machine": provenance.machine(),
    }
    with _replacing_folder(repository) as beside:
        record["models"] = {served.name: _write_model(served, beside, batch, inference) for served in models}
        labels = "".join(f"{label}\n" for label in description.classes)
        for name in (CLASSIFIER, ENSEMBLE):
            write_text(beside / name / LABELS, labels)
        _write_config(beside / ENSEMBLE, _ensemble_config(batch, models[0].input, models[1].output))
        (beside / ENSEMBLE / "1").mkdir()  # a server requires a version even if there is nothing to load
        files = sorted(path for path in beside.rglob("*") if path.is_file())
        record["files_sha256"] = {str(path.relative_to(beside)): sha256(path) for path in files}
    write_text(manifest.with_name("README.md"), _readme(repository.name, record))
    write_json(manifest, record)
    return record


def _prepare(
    name: str,
    source: Source,
    engine_path: Path,
    wrap: Callable[[nn.Module, torch.dtype], nn.Module],
    taken: Tensor,
    given: Tensor,
) -> Model:
    """Return the network of `source` on the device of its engine, in the engine's precision and in fp32."""
    engine = load(source, engine_path)
    network, exact = (
        wrap(copy.deepcopy(source.network).to(dtype), dtype).to(engine.device).eval().requires_grad_(False)
        for dtype in (DTYPES[engine.precision], torch.float32)
    )
    return Model(name, network, exact, engine, read_json(engine_path)["fingerprint"], taken, given)


def _write_model(model: Model, repository: Path, batch: int, inference: Mapping[str, Any]) -> dict[str, Any]:
    """Compile and check one model and write its configuration; returns its entry in the manifest."""
    kind, engine = format_for(model.engine.backend), model.engine
    program = repository / model.name / "1" / kind.file
    log.info("compiling %s as %s", model.name, kind.platform)
    size = (model.input.dims[0], model.input.dims[1])
    compile_program(model.network, size, batch, engine.precision, kind, inference, engine.device, program)
    check = _check(model, program, kind, batch, inference["tolerances"])
    _write_config(repository / model.name, _model_config(model, kind, batch))
    return {
        "platform": kind.platform,
        "engine": engine.identity,
        "precision": engine.precision,
        "device": engine.device.type,
        "fingerprint": model.fingerprint,
        "input": asdict(model.input),
        "output": asdict(model.output),
        "check": check,
    }


def _model_config(model: Model, kind: Format, batch: int) -> schema.ModelConfig:
    """Return the configuration of a program: dynamic batching, one instance on each GPU or on the CPU."""
    group = "KIND_GPU" if model.engine.device.type == "cuda" else "KIND_CPU"
    return schema.ModelConfig(
        name=model.name,
        backend=kind.backend,
        platform=kind.platform,
        max_batch_size=batch,
        input=[_message(schema.ModelInput, model.input)],
        output=[_message(schema.ModelOutput, model.output)],
        dynamic_batching=schema.ModelDynamicBatching(),
        instance_group=[schema.ModelInstanceGroup(count=1, kind=group)],
    )


def _ensemble_config(batch: int, image: Tensor, probabilities: Tensor) -> schema.ModelConfig:
    """Return the configuration of `enhance_and_classify`; the upscaled image stays on the server's GPU."""
    steps = [(UPSCALER, IMAGE, "ENLARGED"), (CLASSIFIER, "ENLARGED", PROBABILITIES)]
    return schema.ModelConfig(
        name=ENSEMBLE,
        platform="ensemble",
        max_batch_size=batch,
        input=[_message(schema.ModelInput, replace(image, name=IMAGE))],
        output=[_message(schema.ModelOutput, replace(probabilities, name=PROBABILITIES))],
        ensemble_scheduling=schema.ModelEnsembling(
            step=[
                schema.ModelEnsembling.Step(
                    model_name=model, model_version=-1, input_map={INPUT: taken}, output_map={OUTPUT: given}
                )
                for model, taken, given in steps
            ]
        ),
    )


def _message(kind: Callable[..., Message], tensor: Tensor) -> Message:
    """Return an input or output in the form of a configuration."""
    given = {name: value for name, value in asdict(tensor).items() if value is not None}
    return kind(**given | {"data_type": f"TYPE_{tensor.data_type}"})


def _write_config(folder: Path, config: schema.ModelConfig) -> None:
    """Write the config.pbtxt of the model in `folder`."""
    write_text(folder / "config.pbtxt", text_format.MessageToString(config))


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """Like `files.replacing`, for a folder: yield a new folder, and replace `folder` by it at the end."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = f"{os.getpid()}@{socket.gethostname()}.part"
    beside, former = folder.with_name(f".{folder.name}.{mark}"), folder.with_name(f".{folder.name}.former.{mark}")
    beside.mkdir()
    try:
        yield beside
        if folder.exists():
            folder.rename(former)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    shutil.rmtree(former, ignore_errors=True)


def _size_of_images(images_csv: Path, tile: int) -> Size:
    """Return the most common (height, width)."""
    sizes = read_csv(images_csv, ["height", "width"]).value_counts(["height", "width"])
    if sizes.empty:
        raise InputError(f"{images_csv}: lists no image, so the image size is not known; check dataset.archive")
    size = max((int(count), (int(height), int(width))) for (height, width), count in sizes.items())[1]
    if max(size) > tile:
        raise InputError(
            f"{images_csv}: most images are {size[1]}×{size[0]}, and a server upscales without tiles; "
            f"set inference.tile to {max(size)} or more, if memory suffices"
        )
    if len(sizes) > 1:
        log.warning("images have %d sizes; the server takes the most common, %d×%d", len(sizes), size[1], size[0])
    return size


def _check(model: Model, program: Path, kind: Format, batch: int, gate: Mapping[str, Any]) -> dict[str, Any]:
    """Run the program on a full batch of synthetic cells and on one. Raises InputError if it differs from fp32."""
    run = load_program(program, kind)
    size = (model.input.dims[0], model.input.dims[1])
    cells = torch.from_numpy(_cells(batch, size)).to(model.engine.device)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    with torch.inference_mode():
        expected = torch.cat([model.exact(cell) for cell in cells.split(1)]).double()
        off = torch.cat([run(cells).double() - expected, run(cells[:1]).double() - expected[:1]]).abs()
    largest = off.nan_to_num(nan=math.inf).max().item()
    if model.name == CLASSIFIER:
        if largest > PROBABILITY_TOLERANCE:
            raise InputError(
                f"{program}: a probability differs by {largest:.3f} from the fp32 network, more than "
                f"{PROBABILITY_TOLERANCE}; choose another inference.precision"
            )
        return {"images": batch, "max_probability_difference": largest}
    found = {"images": batch, "psnr_db": psnr(off.square().mean().item()), "max_difference": int(largest)}
    hold(program, dict.fromkeys(FOUND) | found, gate)
    return found


def _cells(count: int, size: Size) -> np.ndarray:
    """Return synthetic white cells of all kinds in turn, (count, *size, 3) uint8, the same at each call."""
    rng, kinds = np.random.default_rng(0), list(KINDS)
    drawn = [draw_photograph(_DRAWN, kinds[number % len(kinds)], rng) for number in range(count)]
    return np.stack([cv2.resize(cell, size[::-1]) for cell in drawn])


def _readme(folder: str, record: Mapping[str, Any]) -> str:
    """Return the README: how to start a server with the repository, and what to send."""
    height, width = record["image_size"]
    scale, batch, versions = record["scale"], record["max_batch_size"], record["versions"]
    models = record["models"]
    packages = any(model["platform"] == PACKAGE.platform for model in models.values())
    plans = any(model["platform"] != PACKAGE.platform for model in models.values())
    gpu = any(model["device"] == "cuda" for model in models.values())
    needs = []
    if packages:
        needs.append(
            "- Triton Inference Server 26.07 or later, whose PyTorch backend batches AOTInductor packages, with "
            f"PyTorch {versions['torch']}, with which the packages were compiled (see the release notes)."
        )
    if plans:
        needs.append(
            f"- Triton Inference Server with TensorRT {versions.get('tensorrt')}, with which the plans were built. See "
            "the release notes for its version."
        )
    machine = record["machine"]
    here = machine["gpu"]["name"] if gpu else machine["processor"]
    needs.append(f"- The kind of machine on which it was exported: {here}. For another kind, run the export there.")
    rows = "\n".join(
        f"| `{name}` | `{taken}`: UINT8, {list(dims_in)} | `{given}`: {kind}, {list(dims_out)} |"
        for name, taken, dims_in, given, kind, dims_out in [
            *(
                (name, INPUT, model["input"]["dims"], OUTPUT, model["output"]["data_type"], model["output"]["dims"])
                for name, model in models.items()
            ),
            (ENSEMBLE, IMAGE, [height, width, 3], PROBABILITIES, "FP32", [len(record["classes"])]),
        ]
    )
    return f"""# Models for NVIDIA Triton Inference Server

    tritonserver --model-repository={folder}

## What it needs
{chr(10).join(needs)}

## What to send
| model | input | output |
| --- | --- | --- |
{rows}

A batch dimension of 1 to {batch} comes first. Images are 8-bit RGB, rows from the top, channels last,
{width}×{height} pixels (the most common size in the data set). `{UPSCALER}` returns
{width * scale}×{height * scale}, which `{CLASSIFIER}` takes. The client must not scale, normalise or resize images.
Probabilities are those of {", ".join(record["classes"])}, in this order; a client that requests a *classification* of
the output gets the names. `manifest.json` describes how the models were made.
"""
