"""Tensors out of files of weights as people have them: a network's alone, or within a training checkpoint."""

from __future__ import annotations

import logging
import pickle
import re
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from wbcsr.errors import InputError, first_line

log = logging.getLogger(__name__)

Tensors = dict[str, Tensor]

# Where checkpoints keep a network's tensors; of Real-ESRGAN's two the averaged ones, as its own tool takes them.
KEYS = ("params_ema", "params", "state_dict", "model_state_dict", "model")
# What DataParallel, torch.compile and Lightning put before the names of the tensors.
PREFIXES = ("module.", "_orig_mod.", "model.")
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


def read_tensors(path: Path) -> Tensors:
    """The tensors of a network by their names, on the CPU, in fp32 where they are floating-point numbers.

    The format (safetensors, or what `torch.save` writes) is found from the content. Of a training checkpoint the
    network's tensors are taken (`KEYS`), and wrappers' prefixes of names (`PREFIXES`) are left out, which is logged.
    InputError where the file cannot be read without running code inside it, is damaged, or holds something else, and
    where a tensor is quantised or has values that are not finite.
    """
    content = _content(path)
    while isinstance(content, dict) and (
        key := next((key for key in KEYS if isinstance(content.get(key), dict)), None)
    ):
        content = content[key]
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: holds no tensors; save them by {SAVE}")
    for name, value in content.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            raise InputError(
                f"{path}: holds {name!r} ({type(value).__name__}) where a network's tensors alone are expected; "
                f"save them by {SAVE}"
            )
    while prefix := next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in content)), None):
        log.info("%s: '%s' before the names of all tensors is left out", path, prefix)
        content = {name.removeprefix(prefix): tensor for name, tensor in content.items()}
    return {name: _checked(tensor, name, path) for name, tensor in content.items()}


def fill(network: nn.Module, tensors: Tensors, origin: str | Path, name: str, remedy: str) -> None:
    """Load `tensors` into a network called `name`; they take the place of its own ones.

    InputError, which begins with `origin`, where a tensor is missing, surplus, or of the wrong shape.
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
    """What a file of weights begins as: "safetensors", "zip" or "pickle", the two of torch.save.

    InputError, which says what it is instead and what to do, where it is none.
    """
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; give a file of weights")
    with open(path, "rb") as file:
        head = file.read(512)
    if head[8:9] == b"{":  # after eight bytes that say how long this JSON is
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(b"\x80"):
        return "pickle"
    if not head:
        raise InputError(f"{path}: is empty; {AGAIN}")
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{path}: is a Git LFS pointer and not the weights; run `git lfs pull` where it comes from")
    if head.lstrip().startswith(b"<"):
        raise InputError(f"{path}: is a web page and not the weights; download the file itself")
    raise InputError(f"{path}: is no file of weights; give what torch.save or safetensors wrote")


def _content(path: Path) -> object:
    """What a file holds, whatever it is."""
    kind = find_format(path)
    try:
        if kind == "safetensors":
            return load_file(path)
        if kind == "zip":
            _check_zip(path)
        with open(path, "rb") as file:  # of a name, torch.load would heed the ending
            return torch.load(file, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        if found := re.search(r"GLOBAL (\S{1,80})", str(error)):
            raise InputError(
                f"{path}: holds Python objects ({found[1]}), as a whole pickled model does, and loading those could "
                f"run code inside the file; where you trust it, load it yourself and save its tensors by {SAVE}"
            ) from error
        raise InputError(
            f"{path}: damaged or only a part of a file of weights ({first_line(error)}); {AGAIN}"
        ) from error


def _check_zip(path: Path) -> None:
    """That a zip is what torch.save writes, and whole: PyTorch does not compare the checksums."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"checksum of {damaged} differs")
    if any(name.endswith("/constants.pkl") for name in names):
        raise InputError(f"{path}: is a TorchScript program; save its tensors by {SAVE}")
    if not any(name.endswith("/data.pkl") for name in names):
        raise InputError(
            f"{path}: is a zip with {names[0] if names else 'nothing'} in it; unpack it and give that file"
        )


def _checked(tensor: Tensor, name: str, path: Path) -> Tensor:
    if not tensor.is_floating_point():
        # A counter of batches is one number.
        if tensor.ndim:
            raise InputError(f"{path}: tensor {name} holds {tensor.dtype}; give weights in fp32, fp16 or bf16")
        return tensor
    tensor = tensor.float()
    wrong = tensor.numel() - int(torch.isfinite(tensor).sum())
    if wrong:
        raise InputError(
            f"{path}: tensor {name}: {wrong} of {tensor.numel()} values are NaN or infinite; give other weights, as an "
            "earlier checkpoint of that training"
        )
    return tensor
