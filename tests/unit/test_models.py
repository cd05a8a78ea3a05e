"""Any super-resolution network as a variant: recognised, built, tiled and compiled, from files as people have them."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from architectures import NETWORKS, write_architecture
from small_networks import inference, rrdbnet, write_network
from wbcsr.checks import psnr
from wbcsr.engines import choice
from wbcsr.engines.engine import Engine, build, load
from wbcsr.engines.source import Source, Workload
from wbcsr.errors import InputError
from wbcsr.upscale.upscaler import SuperResolution, source
from wbcsr.weights import networks
from wbcsr.weights.tensors import Tensors

SCRIPTS = Path(networks.__file__).parents[2]
NETWORK = rrdbnet(4, blocks=2)
STATE = NETWORK.state_dict()
# An architecture takes seconds to compile; with this variable, all of them are compiled.
COMPILED = list(NETWORKS) if os.environ.get("WBCSR_ALL_ARCHITECTURES") else ["SPAN"]


def prefixed(prefix: str) -> Tensors:
    return {prefix + name: tensor for name, tensor in STATE.items()}


def old_names() -> Tensors:
    """The names of the first ESRGAN: model.0.weight, model.1.sub.0.RDB1.conv1.0.weight, …"""
    from spandrel import MAIN_REGISTRY

    return MAIN_REGISTRY.load(dict(STATE)).model.state_dict()


def realsr_names() -> Tensors:
    """The names of BSRGAN and RealSR."""
    names = {
        "conv_body": "trunk_conv",
        "conv_up": "upconv",
        "conv_hr": "HRconv",
        "body.": "RRDB_trunk.",
        ".rdb": ".RDB",
    }

    def renamed(name: str) -> str:
        for new, old in names.items():
            name = name.replace(new, old)
        return name

    return {renamed(name): tensor for name, tensor in STATE.items()}


CHECKPOINTS: dict[str, Callable[[], object]] = {
    "its tensors": lambda: STATE,
    "params": lambda: {"params": STATE},
    "params_ema": lambda: {"params_ema": STATE, "params": {"conv_first.weight": torch.ones(1)}},
    "state_dict": lambda: {"state_dict": STATE, "epoch": 3},
    "model": lambda: {"model": STATE, "optimizer": {"lr": 0.1}},
    "module.": lambda: {"params": prefixed("module.")},
    "netG.": lambda: prefixed("netG."),
    "Lightning": lambda: {"state_dict": prefixed("model.")},
    "the first ESRGAN": old_names,
    "the first ESRGAN, in parallel": lambda: {f"module.{name}": tensor for name, tensor in old_names().items()},
    "RealSR": realsr_names,
}


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("content", CHECKPOINTS.values(), ids=CHECKPOINTS.keys())
def test_a_network_is_built_from_checkpoints_as_people_have_them(
    content: Callable[[], object], half: bool, tmp_path: Path
) -> None:
    def narrowed(value: object) -> object:
        if isinstance(value, dict):
            return {key: narrowed(inner) for key, inner in value.items()}
        return value.half() if half and isinstance(value, torch.Tensor) else value

    torch.save(narrowed(content()), tmp_path / "w.pth")
    built, architecture = networks.build(networks.read_network(tmp_path / "w.pth"))
    assert (architecture.scale, type(built)) == (4, type(NETWORK))
    expected = {name: tensor.half().float() if half else tensor for name, tensor in STATE.items()}
    assert built.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in built.state_dict().items())


def test_safetensors_with_old_names_and_buffers_of_whole_numbers_are_read(tmp_path: Path) -> None:
    save_file({name: tensor.clone() for name, tensor in old_names().items()}, tmp_path / "old.safetensors")
    assert networks.build(networks.read_network(tmp_path / "old.safetensors"))[1].scale == 4
    swinir = write_architecture("SwinIR", tmp_path / "swinir.safetensors")
    assert any(tensor.dtype == torch.int64 for tensor in networks.read_network(swinir).values())


def sr_of(engine: Engine, architecture: networks.Architecture, scale: int) -> SuperResolution:
    return SuperResolution(engine, architecture, scale, tile=64, overlap=8)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_architecture_upscales_images_of_any_size(name: str, tmp_path: Path) -> None:
    src, architecture = source(write_architecture(name, tmp_path / "w.safetensors"))
    size = (17, 70)  # smaller than some networks accept, indivisible, and larger than a tile
    settings = inference(backend="eager", tile=64, overlap=8)
    build(src, tmp_path / "engine.json", Workload({size: 1}, {"cpu": 1, "cuda": 1}), settings)
    engine = load(src, tmp_path / "engine.json")
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    (upscaled,) = sr_of(engine, architecture, architecture.scale)([image])
    assert upscaled.shape == (17 * architecture.scale, 70 * architecture.scale, 3)
    assert upscaled.std() > 0
    (resized,) = sr_of(engine, architecture, 3)([image])
    assert resized.shape == (51, 210, 3)


@pytest.mark.parametrize("name", COMPILED)
def test_an_architecture_is_compiled_by_inductor(name: str, tmp_path: Path) -> None:
    src, _ = source(write_architecture(name, tmp_path / "w.safetensors"))
    outputs = []
    for backend in ("eager", "inductor"):
        path = tmp_path / backend / "engine.json"
        path.parent.mkdir()
        workload = Workload({(24, 40): 1}, {"cpu": 1, "cuda": 1})
        build(src, path, workload, inference(backend=backend, precision="fp32"))
        engine = load(src, path)
        batch = torch.rand((1, 3, 24, 40), generator=torch.Generator().manual_seed(0)).to(engine.device)
        with torch.inference_mode():
            outputs.append(engine.run(batch).clamp(0, 1).mul(255).double().cpu())
    assert outputs[0].std() > 0
    found = psnr(float(((outputs[0] - outputs[1]) ** 2).mean()))
    print(f"{name}: {'equal' if found is None else f'{found:.0f} dB'}")  # pytest -rP shows it
    assert found is None or found > 60


def test_a_network_that_does_not_work_in_fp16_runs_in_another_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, _ = source(write_network(rrdbnet(4), tmp_path / "w.safetensors"))
    limited = Source(**{**vars(src), "precisions": ("fp32",)})
    gpu = torch.device("cuda")
    monkeypatch.setattr(choice, "has_fast_bf16", lambda device: True)
    assert choice.precision_for(src, inference(backend="auto"), gpu) == "fp16"
    assert choice.precision_for(limited, inference(backend="auto"), gpu) == "fp32"
    without_fp16 = Source(**{**vars(src), "precisions": ("fp32", "bf16")})
    assert choice.precision_for(without_fp16, inference(backend="auto"), gpu) == "bf16"
    with pytest.raises(InputError, match=r"inference\.precision is fp16.*w\.safetensors.*only in fp32"):
        choice.precision_for(limited, inference(backend="auto", precision="fp16"), gpu)


def test_spandrel_is_imported_only_when_a_network_is_loaded() -> None:
    """Only one module imports it, and not at its top."""
    pattern = re.compile(r"^\s*(from|import) spandrel", re.MULTILINE)
    importing = {path for path in SCRIPTS.rglob("*.py") if pattern.search(path.read_text("utf-8"))}
    assert importing == {Path(networks.__file__)}
    top = ast.parse(Path(networks.__file__).read_text("utf-8")).body
    assert not any("spandrel" in ast.unparse(node) for node in top if isinstance(node, ast.Import | ast.ImportFrom))
