"""Classifiers of any architecture: initial weights, model files and engines."""

from __future__ import annotations

import http.client
import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from wbcsr.classify.networks import GROUPED, NETWORKS, RESNET50, Network
from wbcsr.engines.engine import Engine
from wbcsr.engines.source import Source
from wbcsr.errors import InputError, first_line
from wbcsr.files import write_bytes
from wbcsr.pixels import to_network
from wbcsr.text import counted
from wbcsr.vision import models
from wbcsr.weights.packages import Package, read_package
from wbcsr.weights.tensors import read_tensors

log = logging.getLogger(__name__)

# Measured on a CPU with images of 96 and 224 pixels: larger batches are not faster.
EVALUATION_BATCH = 32
# Batch size of an engine and of validation, by device; in small batches, a GPU waits for launches.
ENGINE_BATCH = {"cpu": EVALUATION_BATCH, "cuda": 256}
IMAGENET_CLASSES = 1000
# Buffers of a classifier in addition to the tensors of its network.
_NORMALISATION = ("mean", "std")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
# A single key, because the order of several keys differs between processes.
_METADATA_KEY = "classifier"


def empty(architecture: str, classes: int) -> nn.Module:
    """Return a network of `NETWORKS` with random weights, which also normalises its input.

    (n, height, width, 3) or (n, 3, height, width), uint8 or float, RGB from 0 to 255 → logits (n, classes). The tensors
    keep the network's names; the buffers `mean` and `std` are added for the normalisation.
    """
    network = NETWORKS[architecture]
    model = network.make(classes)
    for name, values in zip(_NORMALISATION, network.normalisation, strict=True):
        model.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
    model.register_forward_pre_hook(_normalise)
    return model


def _normalise(model: nn.Module, given: tuple[Tensor]) -> Tensor:
    pixels, mean, std = given[0], model.get_buffer("mean"), model.get_buffer("std")
    if pixels.shape[-1] == 3:
        pixels = pixels.permute(0, 3, 1, 2)
    return (pixels.to(mean.dtype) - mean) / std


@dataclass(frozen=True)
class Description:
    """The metadata of a model file; `input_size` is the side length of the images in pixels."""

    classes: tuple[str, ...]
    input_size: int
    architecture: str = RESNET50

    @property
    def network(self) -> Network:
        """Return the description of the model's architecture."""
        return NETWORKS[self.architecture]


def build(classes: int, seed: int, init: Path | None, architecture: str = RESNET50) -> nn.Module:
    """Return a classifier (see `empty`) with tensors initialised from `seed`: all, or only the head if `init` is given.

    `init` is a weights file of the same architecture with any head; see `wbcsr.weights.tensors.read_tensors`. Raises
    InputError if it belongs to another network; the message names the first tensor that is missing or does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = empty(architecture, classes)
    if init is not None:
        _load_initial(model, init, architecture)
    return model


def freeze(model: nn.Module, architecture: str, stages: int) -> list[nn.Module]:
    """Exclude the first `stages` stages of a network from training; returns their modules.

    Their batch norms must be kept in evaluation mode, too, or their running statistics would still change.
    """
    frozen = [model.get_submodule(name) for stage in NETWORKS[architecture].stages[:stages] for name in stage]
    for module in frozen:
        module.requires_grad_(False)
    return frozen


def save(state: dict[str, Tensor], description: Description, path: Path) -> None:
    """Write the state of a classifier as a safetensors file; equal states give identical bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    # Not safetensors' save_file, which makes files that only their owner can read.
    write_bytes(path, serialize(tensors, metadata={_METADATA_KEY: json.dumps(asdict(description))}))


def load(path: Path) -> tuple[nn.Module, Description]:
    """Read a file written by `save`; the model is on the CPU in evaluation mode. Raises InputError for other files."""
    again = "run the rule train_classifier again"
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error}); {again}") from error
    if _METADATA_KEY not in metadata:
        raise InputError(f"{path}: has no list of classes, so this workflow did not write it; {again}")
    fields = json.loads(metadata[_METADATA_KEY])
    description = Description(tuple(fields["classes"]), fields["input_size"], fields["architecture"])
    if description.architecture not in NETWORKS:
        raise InputError(f"{path}: its network {description.architecture} is not one of {', '.join(NETWORKS)}; {again}")
    model = empty(description.architecture, len(description.classes))
    model.load_state_dict(state)
    return model.eval(), description


def source(path: Path) -> tuple[Source, Description]:
    """Return the trained network in `path` as the source of an engine, and the metadata of the file.

    The network takes images (n, 3, side, side) normalised by `to_network` and returns logits (n, classes). Raises
    InputError if `path` is not a classifier of this workflow.
    """
    model, description = load(path)
    network = description.network.make(len(description.classes))
    network.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if name not in _NORMALISATION})
    architecture = {
        "name": description.architecture,
        "classes": len(description.classes),
        "input_size": description.input_size,
    }
    return Source(
        network.eval(), architecture, path, 1, "compile_classifier", tiled=False, exact_on_cpu=True,
        elements_per_pixel=64,  # more than ResNet-50 and EfficientNet-Lite have
    ), description  # fmt: skip


def engine_logits(engine: Engine, network: Network, batches: Iterable[Tensor]) -> Tensor:
    """Return the logits (images, classes), float32 on the CPU, of `batches`, each (n, side, side, 3) uint8 on the CPU.

    `network` describes the engine's network and its normalisation. If the engine needs full batches, a short batch is
    padded; otherwise, if memory runs out, the batch size is halved and this is logged. The CPU waits for a GPU only
    after the last batch. Raises InputError if memory is too small for one image or, with a fixed batch size, for one
    batch.
    """
    parts: list[Tensor] = []
    largest = engine.batch
    with torch.inference_mode():
        for batch in batches:
            start = 0
            while start < len(batch):
                pixels = batch[start : start + largest]
                try:
                    parts.append(_logits(engine, network, pixels))
                    start += len(pixels)
                    continue
                except torch.OutOfMemoryError as error:
                    if engine.profile or len(pixels) == 1:
                        raise InputError(
                            f"{engine.device}: has too little memory for {counted(len(pixels), 'image')} at once; run "
                            "no other program on this GPU"
                        ) from error
                largest = len(pixels) // 2
                log.warning("out of memory; continuing with %s at once", counted(largest, "image"))
    return torch.cat(parts).cpu()


def _logits(engine: Engine, network: Network, pixels: Tensor) -> Tensor:
    """Return the logits (n, classes), float32 on the engine's device, of (n, side, side, 3) uint8 on the CPU."""
    size = (pixels.shape[1], pixels.shape[2])
    uploaded = engine.fill(to_device(pixels, engine.device))
    batch = to_network(uploaded, size, *network.normalisation, engine.dtype, engine.memory_format)
    # A copy, because the next call of the engine may overwrite its output.
    return engine.run(batch)[: len(pixels)].to(torch.float32, copy=True)


def fetch_imagenet(architecture: str, path: Path) -> dict[str, str | None]:
    """Download the ImageNet weights of a network and write them as safetensors.

    Returns `origin` and `origin_sha256` (None for torchvision, which checks its own hash). torchvision's weights are
    IMAGENET1K_V2; torchvision also keeps a copy below TORCH_HOME. Raises InputError if the download fails.
    """
    package, url = NETWORKS[architecture].imagenet, models.ResNet50_Weights.IMAGENET1K_V2.url
    origin, digest = (package.requirement, package.sha256) if package else (url, None)
    state = _from_package(package, architecture) if package else _from_torchvision()
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    write_bytes(path, serialize(tensors, metadata={"source": origin}))
    return {"origin": origin, "origin_sha256": digest}


def _from_torchvision() -> Mapping[str, Tensor]:
    weights = models.ResNet50_Weights.IMAGENET1K_V2
    try:
        return weights.get_state_dict(progress=sys.stderr.isatty(), check_hash=True)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise InputError(
            f"{weights.url}: could not be downloaded ({first_line(error)}); run again with a network, "
            "or set train.init to random or to a .pth or .safetensors file of a ResNet-50"
        ) from error


def _from_package(package: Package, architecture: str) -> Mapping[str, Tensor]:
    """Read the weights from a package, which has the same tensors in the same order under other names."""
    given = read_package(package)
    wanted = {name: tensor.shape for name, tensor in NETWORKS[architecture].make(IMAGENET_CLASSES).state_dict().items()}
    if [tensor.shape for tensor in given.values()] != list(wanted.values()):
        raise InputError(
            f"{package.requirement}: does not hold the tensors of {architecture}; set train.init to a file"
        )
    return dict(zip(wanted, given.values(), strict=True))


def to_device(pixels: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Copy an array or tensor in CPU memory to `device`; on a GPU, the copy is asynchronous."""
    tensor = torch.as_tensor(pixels)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def check_classes(path: Path, found: Sequence[str], configured: Sequence[str]) -> None:
    """Raise InputError unless the model in `path` was trained for the configured classes in the same order."""
    if list(found) != list(configured):
        raise InputError(
            f"{path}: was trained for the classes {', '.join(found)}, not for those of dataset.classes "
            f"({', '.join(configured)}); run the rule train_classifier again"
        )


def _load_initial(model: nn.Module, path: Path, architecture: str) -> None:
    network = NETWORKS[architecture]
    given = read_tensors(path)
    state = model.state_dict()
    if architecture.endswith(GROUPED):
        # Files have batch norms, whose statistics a group norm does not use.
        given = {name: given[name] for name in given if name in state or not name.endswith(_STATISTICS)}
    head_weight, head_bias = f"{network.head}.weight", f"{network.head}.bias"
    if head_weight in given:
        head, classes = len(given[head_weight]), len(state[head_weight])
        log.info("%s: its head of %d classes is replaced by a random one of %d", path, head, classes)
    advice = f"train.init needs the weights of {network.names_of.format(architecture.removesuffix(GROUPED))}"
    for name, tensor in state.items():
        # The head gets new weights, and the normalisation belongs to the architecture.
        if name in (head_weight, head_bias, *_NORMALISATION):
            continue
        if name in given:
            if given[name].shape != tensor.shape:
                shapes = f"{tuple(given[name].shape)}, needed is {tuple(tensor.shape)}"
                raise InputError(f"{path}: tensor {name} has shape {shapes}; {advice}")
            state[name] = given[name]
        # Files of older torch versions lack these counters, which do not affect the result.
        elif not name.endswith(_STATISTICS[2]):
            raise InputError(f"{path}: lacks tensor {name}; {advice}")
    surplus = [name for name in given if name not in state]
    if surplus:
        raise InputError(f"{path}: has tensor {surplus[0]}, which {architecture} does not have; {advice}")
    model.load_state_dict(state)
