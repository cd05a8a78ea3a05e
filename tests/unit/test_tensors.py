"""Weight files as users have them: the right tensors are read, or one line says what to do."""

from __future__ import annotations

import argparse
import io
import logging
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor, nn

from wbcsr.errors import InputError
from wbcsr.weights.tensors import read_tensors

NETWORK = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
STATE = NETWORK.state_dict()
HALF = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in STATE.items()}
# As in a training checkpoint: numbers, lists and tensors that do not belong to the network.
OPTIMIZER = torch.optim.AdamW(NETWORK.parameters()).state_dict()


def saved(content: Any, **options: Any) -> bytes:
    """The bytes that torch.save writes."""
    target = io.BytesIO()
    torch.save(content, target, **options)
    return target.getvalue()


def prefixed(*prefixes: str) -> dict[str, Tensor]:
    return {"".join(prefixes) + name: tensor for name, tensor in STATE.items()}


def zipped(name: str, content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, content)
    return target.getvalue()


def flipped(content: bytes) -> bytes:
    """The file with one bit of the first tensor changed."""
    place = content.index(STATE["0.weight"].numpy().tobytes())
    return content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :]


RIGHT: dict[str, tuple[str, bytes]] = {
    "a network's state": ("w.pth", saved(STATE)),
    "PyTorch before 1.6": ("w.pth", saved(STATE, _use_new_zipfile_serialization=False)),
    "safetensors": ("w.safetensors", save(STATE)),
    "safetensors, renamed": ("w.pth", save(STATE)),
    "a .pth, renamed": ("w.safetensors", saved(STATE)),
    "parameters": ("w.pth", saved(dict(NETWORK.named_parameters()) | dict(NETWORK.named_buffers()))),
    "Real-ESRGAN's averaged weights first": (
        "w.pth",
        saved({"params": {"0.weight": torch.ones(1)}, "params_ema": STATE}),
    ),
    "Real-ESRGAN's only weights": ("w.pth", saved({"params": STATE})),
    "DataParallel": ("w.pth", saved(nn.DataParallel(NETWORK).state_dict())),
    "DataParallel, safetensors": ("w.safetensors", save(prefixed("module."))),
    "compiled": ("w.pth", saved(prefixed("_orig_mod."))),
    "compiled and parallel": ("w.pth", saved(prefixed("module.", "_orig_mod."))),
    "Lightning": ("w.ckpt", saved({"epoch": 3, "state_dict": prefixed("model."), "optimizer_states": [OPTIMIZER]})),
    "a checkpoint with its optimizer": ("w.pth", saved({"model": STATE, "optimizer": OPTIMIZER, "epoch": 90})),
    "model_state_dict": ("w.tar", saved({"model_state_dict": STATE, "loss": 0.5})),
    "one key in another": ("w.pth", saved({"model": {"state_dict": prefixed("module.")}})),
    "fp64": ("w.pth", saved({name: tensor.double() for name, tensor in STATE.items()})),
}


@pytest.mark.parametrize(("name", "content"), RIGHT.values(), ids=RIGHT.keys())
def test_the_networks_tensors_are_read(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    found = read_tensors(tmp_path / name)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)
    assert {tensor.dtype for tensor in found.values() if tensor.ndim} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_tensors_become_fp32(dtype: torch.dtype, tmp_path: Path) -> None:
    narrow = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in STATE.items()}
    save_file(narrow, tmp_path / "w.safetensors")
    found = read_tensors(tmp_path / "w.safetensors")
    assert all(torch.equal(found[key], narrow[key].to(STATE[key].dtype)) for key in STATE)


def test_a_removed_prefix_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "w.pth").write_bytes(saved(prefixed("module.")))
    read_tensors(tmp_path / "w.pth")
    (message,) = caplog.messages
    assert re.search(r"w\.pth: .*'module\.'", message)


class Malicious:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


class Own(nn.Module):
    """A network defined in a user's own package."""


WRONG: dict[str, tuple[bytes, str]] = {
    "a whole model": (saved(NETWORK), r"\(torch\.nn\.modules\.container\.Sequential\).*state_dict\(\)"),
    "a whole model, old format": (
        saved(NETWORK, _use_new_zipfile_serialization=False),
        r"Sequential\).*state_dict\(\)",
    ),
    "a whole model of a user's class": (saved(Own()), r"\.Own\).*state_dict\(\)"),
    "a checkpoint with its arguments": (
        saved({"model": STATE, "args": argparse.Namespace(lr=1)}),
        r"argparse\.Namespace",
    ),
    "a checkpoint with NumPy's numbers": (saved({"model": STATE, "best": np.float64(1)}), r"numpy.*scalar"),
    "code": (saved({"params": Malicious()}), r"\(\w+\.system\)"),
    "NaN": (saved(STATE | {"1.weight": torch.tensor([1, torch.nan])}), r"1\.weight: 1 of 2 values are NaN"),
    "infinite in fp16": (saved(HALF | {"1.bias": torch.full((2,), 1e5).half()}), r"1\.bias: 2 of 2"),
    "too large for fp32": (saved(STATE | {"1.bias": torch.full((2,), 1e300, dtype=torch.float64)}), r"1\.bias: 2 of 2"),
    "whole numbers": (
        saved(STATE | {"0.weight": torch.ones(2, 1, 3, 3, dtype=torch.int8)}),
        r"0\.weight holds torch\.int8",
    ),
    "complex numbers": (
        saved(STATE | {"0.bias": torch.ones(2, dtype=torch.complex64)}),
        r"0\.bias holds torch\.complex64",
    ),
    "a list": (saved([1, 2]), "holds no tensors"),
    "nothing": (saved({}), "holds no tensors"),
    "no tensors": (saved({"epoch": 3}), r"'epoch' \(int\)"),
    "numbers instead of names": (saved({0: torch.ones(1)}), r"holds 0 \(Tensor\)"),
    "a text": (b"hello there\n", "is not a weights file"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "is not a weights file"),
    "a web page": (b"\n<!DOCTYPE html><html>Sign in</html>", "is a web page"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "git lfs pull"),
    "an empty file": (b"", "is empty"),
    "a zip around it": (zipped("weights.pth", saved(STATE)), r"is a zip file with weights\.pth in it; unpack it"),
    "an empty zip": (io.BytesIO(zipped("a", b"")).getvalue()[-22:], "is not a weights file"),
    "TorchScript": (zipped("w/constants.pkl", b""), "TorchScript"),
    "truncated": (saved(STATE)[:-100], "damaged or incomplete"),
    "truncated, old format": (saved(STATE, _use_new_zipfile_serialization=False)[:-20], "damaged or incomplete"),
    "safetensors, truncated": (save(STATE)[:-20], "damaged or incomplete"),
    "a bit flipped": (flipped(saved(STATE)), r"damaged .*checksum"),
    "pickled by another": (b"\x80\x04K\x01.", "damaged or incomplete"),
}


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize(("content", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_file_without_the_networks_tensors_gives_one_line(
    name: str, content: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_tensors(Path(name))
    assert re.match(rf"{re.escape(name)}: .*{words}", str(raised.value))
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 300
    assert not Path("executed").exists()


@pytest.mark.parametrize(("make", "words"), [(Path.mkdir, "is a folder"), (lambda path: None, "no such file")])
def test_a_path_that_is_not_a_file_gives_one_line(make: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    make(tmp_path / "w.pth")
    with pytest.raises(InputError, match=rf"w\.pth: {words}"):
        read_tensors(tmp_path / "w.pth")
