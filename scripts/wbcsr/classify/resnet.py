"""The classifier: torchvision's ResNet-50; its normalisation, its initial weights, its files and its engine."""

from __future__ import annotations

import http.client
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from wbcsr.engines.capability import pick_precision
from wbcsr.engines.engine import Engine
from wbcsr.engines.source import Source
from wbcsr.errors import InputError, first_line
from wbcsr.files import write_bytes
from wbcsr.pixels import to_network
from wbcsr.text import counted
from wbcsr.vision import models
from wbcsr.weights.tensors import read_tensors

log = logging.getLogger(__name__)

ARCHITECTURE = "resnet50"
# ImageNet's mean and standard deviation by channel, as torchvision's weights expect them, for values 0 to 255.
MEAN = 255 * torch.tensor((0.485, 0.456, 0.406))
STD = 255 * torch.tensor((0.229, 0.224, 0.225))
# The same as offset and scale of `to_network`.
NORMALISATION = tuple(MEAN.tolist()), tuple(STD.tolist())
# What a file of initial weights need not have: the head is new, and so are the constants of `Classifier`.
_OWN = ("fc.weight", "fc.bias", "mean", "std")
# One key, since the order of several is not stable from one process to the next.
_METADATA_KEY = "classifier"
# Measured on a CPU at 96 and 224 pixels: larger batches are not faster.
EVALUATION_BATCH = 32
# Images that go through an engine at once, by device.
ENGINE_BATCH = {"cpu": EVALUATION_BATCH, "cuda": 256}


class Classifier(models.ResNet):
    """ResNet-50 (He et al. 2016, torchvision's variant 1.5) that takes images as they are packed.

    Its tensors have torchvision's names; `mean` and `std` beside them hold the normalisation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classes: int) -> None:
        # Blocks that start as the identity (Goyal et al. 2017) let random weights learn from few images.
        super().__init__(models.resnet.Bottleneck, [3, 4, 6, 3], num_classes=classes, zero_init_residual=True)
        self.register_buffer("mean", MEAN.view(1, 3, 1, 1))
        self.register_buffer("std", STD.view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, H, W, 3) or (n, 3, H, W), uint8 or float, 0 to 255 RGB → logits (n, classes)."""
        if x.shape[-1] == 3:
            x = x.permute(0, 3, 1, 2)
        return super().forward((x.to(self.mean.dtype) - self.mean) / self.std)


@dataclass(frozen=True)
class Description:
    """What a model file says about its model; `input_size` is the side of its images in pixels."""

    classes: tuple[str, ...]
    input_size: int
    architecture: str = ARCHITECTURE


def build(classes: int, seed: int, init: Path | None) -> Classifier:
    """A classifier whose random tensors (all, or only the head where `init` is a file) follow from `seed`.

    `init` is a file of a ResNet-50 with any head, under torchvision's names; see `wbcsr.weights.tensors.read_tensors`.
    InputError where it is another network; the message names the first tensor that is missing or does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Classifier(classes)
    if init is not None:
        _load_initial(model, init)
    return model


def save(state: dict[str, Tensor], description: Description, path: Path) -> None:
    """Write a state of `Classifier` as safetensors; equal states give equal bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    # Not save_file, whose files only their owner may read.
    write_bytes(path, serialize(tensors, metadata={_METADATA_KEY: json.dumps(asdict(description))}))


def load(path: Path) -> tuple[Classifier, Description]:
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
    if description.architecture != ARCHITECTURE:
        raise InputError(f"{path}: is a {description.architecture} and not a {ARCHITECTURE}; {again}")
    model = Classifier(len(description.classes))
    model.load_state_dict(state)
    return model.eval(), description


def source(path: Path) -> tuple[Source, Description]:
    """The trained network of `path` as an engine is built from it, and what its file says.

    It takes images that `to_network` has normalised by `NORMALISATION`, (n, 3, side, side), and gives logits
    (n, classes). InputError where the file is not a classifier of ours.
    """
    model, description = load(path)
    network = models.ResNet(models.resnet.Bottleneck, [3, 4, 6, 3], num_classes=len(description.classes))
    network.load_state_dict(
        {name: tensor for name, tensor in model.state_dict().items() if name not in ("mean", "std")}
    )
    architecture = {
        "name": description.architecture,
        "classes": len(description.classes),
        "input_size": description.input_size,
    }
    return Source(
        network.eval(), architecture, path, 1, "compile_classifier", tiled=False, exact_on_cpu=True
    ), description


def engine_logits(engine: Engine, batches: Iterable[Tensor]) -> Tensor:
    """Logits of all images of `batches`, each (n, side, side, 3) uint8 on the CPU; (images, classes) float32 there.

    A short batch is filled up where the engine takes whole ones only; where it takes any, one that the memory does not
    hold is halved, which is logged. Nothing waits for a GPU before the last batch. InputError where there is not the
    memory for one image, or for a whole batch.
    """
    parts: list[Tensor] = []
    largest = engine.batch
    with torch.inference_mode():
        for batch in batches:
            start = 0
            while start < len(batch):
                pixels = batch[start : start + largest]
                try:
                    parts.append(_logits(engine, pixels))
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


def _logits(engine: Engine, pixels: Tensor) -> Tensor:
    """Logits of (n, side, side, 3) uint8 on the CPU, (n, classes) float32 on the engine's device."""
    size = (pixels.shape[1], pixels.shape[2])
    uploaded = engine.fill(to_device(pixels, engine.device))
    batch = to_network(uploaded, size, *NORMALISATION, engine.dtype, engine.memory_format)
    # A copy: the engine may overwrite its output at the next call.
    return engine.run(batch)[: len(pixels)].to(torch.float32, copy=True)


def fetch_imagenet(path: Path) -> None:
    """Download torchvision's ImageNet weights (IMAGENET1K_V2, hash checked) and write them as safetensors.

    torchvision keeps its copy under TORCH_HOME. InputError where the network does not give it.
    """
    weights = models.ResNet50_Weights.IMAGENET1K_V2
    try:
        state = weights.get_state_dict(progress=sys.stderr.isatty(), check_hash=True)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise InputError(
            f"{weights.url}: could not be downloaded ({first_line(error)}); run again with a network, "
            "or set train.init to random or to a .pth or .safetensors file of a ResNet-50"
        ) from error
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    write_bytes(path, serialize(tensors, metadata={"source": weights.url}))


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


def _load_initial(model: Classifier, path: Path) -> None:
    given = read_tensors(path)
    state = model.state_dict()
    if "fc.weight" in given:
        head, classes = len(given["fc.weight"]), len(state["fc.weight"])
        log.info("%s: its head of %d classes is replaced by a random one of %d", path, head, classes)
    advice = f"give a {ARCHITECTURE} with torchvision's names of tensors as train.init"
    for name, tensor in state.items():
        if name in _OWN:
            continue
        if name in given:
            if given[name].shape != tensor.shape:
                shapes = f"{tuple(given[name].shape)}, needed is {tuple(tensor.shape)}"
                raise InputError(f"{path}: tensor {name} has shape {shapes}; {advice}")
            state[name] = given[name]
        # Files of older torch versions have no such counters, and nothing depends on them.
        elif not name.endswith("num_batches_tracked"):
            raise InputError(f"{path}: lacks tensor {name}; {advice}")
    surplus = [name for name in given if name not in state]
    if surplus:
        raise InputError(f"{path}: has tensor {surplus[0]}, which a {ARCHITECTURE} has not; {advice}")
    model.load_state_dict(state)
