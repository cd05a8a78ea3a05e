"""Classifiers, whatever their network: their initial weights, their files and their engines."""

from __future__ import annotations

import http.client
import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from wbcsr.classify.networks import GROUPED, NETWORKS, RESNET50, Network
from wbcsr.engines.capability import pick_precision
from wbcsr.engines.engine import Engine
from wbcsr.engines.source import Source
from wbcsr.errors import InputError, first_line
from wbcsr.files import write_bytes
from wbcsr.pixels import to_network
from wbcsr.text import counted
from wbcsr.vision import models
from wbcsr.weights.tensors import read_tensors
from wbcsr.weights.wheels import Wheel, read_wheel

log = logging.getLogger(__name__)

# Measured on a CPU at 96 and 224 pixels: larger batches are not faster.
EVALUATION_BATCH = 32
# Images that go through an engine, or a network that is validated, at once; a GPU waits for launches in small batches.
ENGINE_BATCH = {"cpu": EVALUATION_BATCH, "cuda": 256}
IMAGENET_CLASSES = 1000
# Constants of a classifier beside the tensors of its network.
_NORMALISATION = ("mean", "std")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
# One key, since the order of several is not stable from one process to the next.
_METADATA_KEY = "classifier"


def empty(architecture: str, classes: int) -> nn.Module:
    """A network of `NETWORKS` with random weights that takes images as they are packed.

    (n, height, width, 3) or (n, 3, height, width), uint8 or float, 0 to 255 RGB → logits (n, classes). Its tensors have
    the network's names; `mean` and `std` beside them hold the normalisation.
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
    """What a model file says about its model; `input_size` is the side of its images in pixels."""

    classes: tuple[str, ...]
    input_size: int
    architecture: str = RESNET50

    @property
    def network(self) -> Network:
        """What is known of the model's architecture."""
        return NETWORKS[self.architecture]


def build(classes: int, seed: int, init: Path | None, architecture: str = RESNET50) -> nn.Module:
    """A classifier (see `empty`); its random tensors (all, or where `init` is a file only the head) follow from `seed`.

    `init` is a file of the same architecture with any head; see `wbcsr.weights.tensors.read_tensors`.
    InputError where it is another network; the message names the first tensor that is missing or does not fit.
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
    """Write the state of a classifier as safetensors; equal states give equal bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    # Not save_file, whose files only their owner may read.
    write_bytes(path, serialize(tensors, metadata={_METADATA_KEY: json.dumps(asdict(description))}))


def load(path: Path) -> tuple[nn.Module, Description]:
    """Read what `save` wrote, in evaluation mode on the CPU; InputError where the file is not that."""
    again = "run the rule train_classifier again"
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error}); {again}") from error
    if _METADATA_KEY not in metadata:
        raise InputError(f"{path}: does not say which classes it knows, so it is not a classifier of ours; {again}")
    fields = json.loads(metadata[_METADATA_KEY])
    description = Description(tuple(fields["classes"]), fields["input_size"], fields["architecture"])
    if description.architecture not in NETWORKS:
        raise InputError(f"{path}: is a {description.architecture}, and known are {', '.join(NETWORKS)}; {again}")
    model = empty(description.architecture, len(description.classes))
    model.load_state_dict(state)
    return model.eval(), description


def source(path: Path) -> tuple[Source, Description]:
    """The trained network of `path` as an engine is built from it, and what its file says.

    It takes images that `to_network` has normalised as its `Network` says, (n, 3, side, side), and gives logits
    (n, classes). InputError where the file is not a classifier of ours.
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
    """Logits of all images of `batches`, each (n, side, side, 3) uint8 on the CPU; (images, classes) float32 there.

    `network` is what the engine was built of, and says how images are normalised. A short batch is filled up where the
    engine takes whole ones only; where it takes any, one that the memory does not hold is halved, which is logged.
    Nothing waits for a GPU before the last batch. InputError where there is not the memory for one image, or for a
    whole batch.
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
                            f"{engine.device}: has not the memory for {counted(len(pixels), 'image')} at once; leave "
                            "the GPU to this job alone"
                        ) from error
                largest = len(pixels) // 2
                log.warning("out of memory; going on with %s at once", counted(largest, "image"))
    return torch.cat(parts).cpu()


def _logits(engine: Engine, network: Network, pixels: Tensor) -> Tensor:
    """Logits of (n, side, side, 3) uint8 on the CPU, (n, classes) float32 on the engine's device."""
    size = (pixels.shape[1], pixels.shape[2])
    uploaded = engine.fill(to_device(pixels, engine.device))
    batch = to_network(uploaded, size, *network.normalisation, engine.dtype, engine.memory_format)
    # A copy: the engine may overwrite its output at the next call.
    return engine.run(batch)[: len(pixels)].to(torch.float32, copy=True)


def fetch_imagenet(architecture: str, path: Path) -> dict[str, str | None]:
    """Bring a network's ImageNet weights from where its `Network` says, and write them as safetensors.

    Returns where they came from: origin, and origin_sha256, which is None where torchvision checks its own hash.
    torchvision's are IMAGENET1K_V2, of which it keeps a copy under TORCH_HOME. InputError where the network does not
    give them.
    """
    wheel = NETWORKS[architecture].imagenet
    origin, digest = (wheel.requirement, wheel.sha256) if wheel else (models.ResNet50_Weights.IMAGENET1K_V2.url, None)
    state = _from_wheel(wheel, architecture) if wheel else _from_torchvision()
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


def _from_wheel(wheel: Wheel, architecture: str) -> Mapping[str, Tensor]:
    """The wheel has the same tensors in the same order, by the names of another project."""
    given = read_wheel(wheel)
    wanted = {name: tensor.shape for name, tensor in NETWORKS[architecture].make(IMAGENET_CLASSES).state_dict().items()}
    if [tensor.shape for tensor in given.values()] != list(wanted.values()):
        raise InputError(f"{wheel.requirement}: does not hold the tensors of {architecture}; set train.init to a file")
    return dict(zip(wanted, given.values(), strict=True))


def choose_precision(requested: str, device: torch.device) -> str:
    """`fp32` or `bf16`: as `pick_precision`, but fp16 gives way to fp32, since it would need a scaled loss."""
    precision = pick_precision(requested, device)
    return "fp32" if precision == "fp16" else precision


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Mixed precision: convolutions and products in bf16 where `precision` says so, the rest in fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def to_device(pixels: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """What lies in the CPU's memory as a tensor on `device`; a GPU copies it while it still computes."""
    tensor = torch.as_tensor(pixels)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def check_classes(path: Path, found: Sequence[str], configured: Sequence[str]) -> None:
    """InputError unless the model of `path` was trained for exactly the configured classes, in their order."""
    if list(found) != list(configured):
        raise InputError(
            f"{path}: was trained for the classes {', '.join(found)} and not for those of dataset.classes "
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
        # The head is new, and the normalisation is the network's own.
        if name in (head_weight, head_bias, *_NORMALISATION):
            continue
        if name in given:
            if given[name].shape != tensor.shape:
                shapes = f"{tuple(given[name].shape)}, needed is {tuple(tensor.shape)}"
                raise InputError(f"{path}: tensor {name} has shape {shapes}; {advice}")
            state[name] = given[name]
        # Files of older torch versions have no such counters, and nothing depends on them.
        elif not name.endswith(_STATISTICS[2]):
            raise InputError(f"{path}: lacks tensor {name}; {advice}")
    surplus = [name for name in given if name not in state]
    if surplus:
        raise InputError(f"{path}: has tensor {surplus[0]}, which a {architecture} has not; {advice}")
    model.load_state_dict(state)
