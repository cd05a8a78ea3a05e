"""Read the tensors of a network from weights files and training checkpoints."""

from __future__ import annotations

import logging
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from wbcsr.errors import InputError, first_line
from wbcsr.weights import ncnn

log = logging.getLogger(__name__)

Tensors = dict[str, Tensor]

# Keys under which checkpoints store the tensors; of Real-ESRGAN's two, the averaged ones, as its own program does.
KEYS = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net")
# Prefixes that DataParallel, torch.compile, trainers of GANs and Lightning add to the names of tensors.
PREFIXES = ("module.", "_orig_mod.", "netG.", "model.")
SAVE = 'torch.save(model.state_dict(), "weights.pth")'
AGAIN = "copy or download it again"
_UNREADABLE = (
    SafetensorError,
    pickle.UnpicklingError,
    EOFError,
    RuntimeError,
    ValueError,
    KeyError,
    zipfile.BadZipFile,
)


def read_tensors(path: Path, recognised: Callable[[Tensors], bool] = lambda _: False) -> Tensors:
    """Return the tensors of a network by name, on the CPU; floating-point tensors are converted to fp32.

    The format (safetensors, torch.save or ncnn) is detected from the content. From a training checkpoint, the network's
    tensors are taken (`KEYS`). Prefixes that wrappers add to names (`PREFIXES`) are removed, which is logged, until
    the names are `recognised`. Raises InputError if the file cannot be read without executing code in it, is damaged or
    holds something else, or if a tensor is quantised or has NaN or infinite values.
    """
    content = _content(path)
    while isinstance(content, dict) and (
        key := next((key for key in KEYS if isinstance(content.get(key), dict)), None)
    ):
        content = content[key]
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: holds no tensors; save them with {SAVE}")
    for name, value in content.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            raise InputError(
                f"{path}: holds {name!r} ({type(value).__name__}), but only tensors of a network are expected; "
                f"save them with {SAVE}"
            )
    while not recognised(content) and (
        prefix := next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in content)), None)
    ):
        log.info("%s: removing the prefix '%s' from the names of all tensors", path, prefix)
        content = {name.removeprefix(prefix): tensor for name, tensor in content.items()}
    return {name: _checked(tensor, name, path) for name, tensor in content.items()}


def fill(network: nn.Module, tensors: Tensors, origin: str | Path, name: str, remedy: str) -> None:
    """Replace the tensors of a network, called `name` in messages, by `tensors`.

    Raises InputError, which begins with `origin`, if a tensor is missing, unknown, or has the wrong shape.
    """
    expected = network.state_dict()
    for key in sorted(expected.keys() | tensors.keys()):
        if key not in tensors or key not in expected:
            raise InputError(
                f"{origin}: tensor {key} is {'missing' if key in expected else 'unknown'} for {name}; {remedy}"
            )
        if tensors[key].shape != expected[key].shape:
            raise InputError(
                f"{origin}: tensor {key} has shape {tuple(tensors[key].shape)}, not {tuple(expected[key].shape)}; "
                f"{remedy}"
            )
    network.load_state_dict(tensors, assign=True)


def find_format(path: Path) -> str:
    """Detect the format of a weights file: "safetensors", "zip" or "pickle" (those of torch.save), or "ncnn".

    Raises InputError for any other file; the message says what the file is and what to do.
    """
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; use a file of weights")
    with open(path, "rb") as file:
        head = file.read(512)
    if head[8:9] == b"{":  # JSON starts after eight bytes with its length
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(b"\x80"):
        return "pickle"
    if head.startswith(ncnn.MAGIC):
        return "ncnn"
    if not head:
        raise InputError(f"{path}: is empty; {AGAIN}")
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{path}: is a Git LFS pointer, not the weights; run `git lfs pull` in its repository")
    if head.lstrip().startswith(b"<"):
        raise InputError(f"{path}: is a web page, not the weights; download the file itself")
    raise InputError(f"{path}: is not a weights file; use a file written by torch.save or safetensors")


def _content(path: Path) -> object:
    """Load the content of a weights file, whatever it contains."""
    kind = find_format(path)
    try:
        if kind == "safetensors":
            return load_file(path)
        if kind == "ncnn":
            return {name: torch.from_numpy(values) for name, values in ncnn.read_network(path).items()}
        if kind == "zip":
            _check_zip(path)
        with open(path, "rb") as file:  # with a file name, torch.load would depend on its ending
            return torch.load(file, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        if found := re.search(r"GLOBAL (\S{1,80})", str(error)):
            raise InputError(
                f"{path}: holds Python objects ({found[1]}), not only tensors; load it yourself, and save its tensors "
                f"with {SAVE}"
            ) from error
        raise InputError(f"{path}: damaged or incomplete ({first_line(error)}); {AGAIN}") from error


def _check_zip(path: Path) -> None:
    """Check that a zip file was written by torch.save and is complete; PyTorch does not verify checksums."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"checksum of {damaged} differs")
    if any(name.endswith("/constants.pkl") for name in names):
        raise InputError(f"{path}: is a TorchScript program; save its tensors with {SAVE}")
    if not any(name.endswith("/data.pkl") for name in names):
        raise InputError(
            f"{path}: is a zip file with {names[0] if names else 'nothing'} in it; unpack it and use that file"
        )


def _checked(tensor: Tensor, name: str, path: Path) -> Tensor:
    if not tensor.is_floating_point():
        # Counters of batches and indices are integers; weights of 8 bits are quantised.
        if tensor.dtype not in (torch.int64, torch.int32, torch.bool):
            raise InputError(f"{path}: tensor {name} holds {tensor.dtype}; use weights in fp32, fp16 or bf16")
        return tensor
    tensor = tensor.float()
    wrong = tensor.numel() - int(torch.isfinite(tensor).sum())
    if wrong:
        raise InputError(
            f"{path}: tensor {name}: {wrong} of {tensor.numel()} values are NaN or infinite; use other weights or an "
            "earlier checkpoint"
        )
    return tensor
