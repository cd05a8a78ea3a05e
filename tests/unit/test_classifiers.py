"""Classifiers: ResNet-50 equals torchvision's, accepts any file of its weights, and model files describe themselves."""

from __future__ import annotations

import logging
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.models import ResNet50_Weights, resnet18, resnet50

from wbcsr.classify import classifiers
from wbcsr.classify.networks import NETWORKS
from wbcsr.errors import InputError


@pytest.fixture(scope="module")
def pretrained() -> dict[str, Tensor]:
    """A substitute for the ImageNet weights: same names, shapes and file format, other numbers."""
    torch.manual_seed(7)
    return resnet50(num_classes=1000).state_dict()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (2, 40, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_logits_equal_those_of_torchvision(pretrained: dict[str, Tensor], images: Tensor) -> None:
    """With torchvision's weights and head, the logits equal those of torchvision's network and normalisation."""
    ours, theirs = classifiers.empty("resnet50", 1000).eval(), resnet50().eval()
    ours.load_state_dict(pretrained, strict=False)
    theirs.load_state_dict(pretrained)
    preset = ResNet50_Weights.IMAGENET1K_V2.transforms()
    pixels = images.permute(0, 3, 1, 2) / 255
    normalised = (pixels - torch.tensor(preset.mean).view(3, 1, 1)) / torch.tensor(preset.std).view(3, 1, 1)
    with torch.inference_mode():
        wanted = theirs(normalised)
        for given in (images, images.permute(0, 3, 1, 2), images.float()):
            torch.testing.assert_close(ours(given), wanted, rtol=1e-3, atol=1e-4)


def test_random_weights_depend_only_on_the_seed() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    states = [classifiers.build(4, seed, None).state_dict() for seed in (3, 3, 4)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["conv1.weight"], states[2]["conv1.weight"])


def write(tensors: dict[str, Any], path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("w.pth", lambda state: state),
        ("w.safetensors", lambda state: state),
        ("w.pth", lambda state: {"model": state, "epoch": 90}),
        ("w.pth", lambda state: {"module." + k: v for k, v in state.items()}),
        ("w.pth", lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}),
        ("w.pth", lambda state: {k: v for k, v in state.items() if not k.startswith("fc.")}),
    ],
    ids=["pth", "safetensors", "training checkpoint", "DataParallel", "older torch", "no head"],
)
def test_initial_weights_come_from_a_file(
    pretrained: dict[str, Tensor],
    tmp_path: Path,
    name: str,
    wrap: Callable[[Any], Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    given = wrap(pretrained)
    state = classifiers.build(4, 0, write(given, tmp_path / name)).state_dict()
    has_head = "model" in given or any(name.endswith("fc.weight") for name in given)
    assert any("its head of 1000 classes" in message for message in caplog.messages) == has_head
    assert state["fc.weight"].shape == (4, 2048)
    assert all(torch.equal(state[key], tensor) for key, tensor in pretrained.items() if not key.startswith("fc."))


def test_training_can_start_from_a_trained_model(tmp_path: Path) -> None:
    first = classifiers.build(3, 1, None)
    classifiers.save(first.state_dict(), classifiers.Description(("a", "b", "c"), 32), tmp_path / "model.safetensors")
    second = classifiers.build(4, 2, tmp_path / "model.safetensors")
    assert torch.equal(second.layer4[0].conv1.weight, first.layer4[0].conv1.weight)
    assert second.fc.out_features == 4


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite2"])
def test_group_norms_start_from_a_file_with_batch_norms(tmp_path: Path, images: Tensor, name: str) -> None:
    given = NETWORKS[name].make(3).state_dict()
    grouped = classifiers.build(4, 0, write(given, tmp_path / "w.safetensors"), f"{name}_groupnorm")
    kept = [key for key in grouped.state_dict() if key in given and not key.startswith(NETWORKS[name].head)]
    assert len(kept) == len([key for key in given if key.endswith((".weight", ".bias"))]) - 2
    assert all(torch.equal(grouped.state_dict()[key], given[key]) for key in kept)
    description = classifiers.Description(tuple("abcd"), 32, f"{name}_groupnorm")
    classifiers.save(grouped.state_dict(), description, tmp_path / "model.safetensors")
    loaded, _ = classifiers.load(tmp_path / "model.safetensors")
    # The other images of the batch have no influence, unlike with batch norms, and training is computed as evaluation.
    with torch.inference_mode():
        assert torch.allclose(grouped.train()(images)[:1], loaded(images[:1]), atol=1e-4)


def without(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name not in names}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.pth", lambda s: without(s, "layer2.0.conv1.weight", "layer3.0.conv1.weight"), r"lacks .*layer2\.0\.conv1"),
        (
            "w.safetensors",
            lambda s: s | {"layer1.0.conv2.weight": torch.zeros(128, 128, 3, 3)},
            r"layer1\.0\.conv2\.weight has shape \(128, 128, 3, 3\), needed is \(64, 64, 3, 3\)",
        ),
        ("w.pth", lambda s: s | {"layer3.6.conv1.weight": torch.zeros(1)}, r"has tensor layer3\.6\.conv1\.weight"),
        ("w.pth", lambda s: resnet18().state_dict(), r"layer1\.0\.conv1\.weight has shape .*torchvision's resnet50"),
        (
            "w.pth",
            lambda s: s | {"layer2.0.bn1.bias": torch.full((128,), torch.nan)},
            r"layer2\.0\.bn1\.bias: 128 of 128",
        ),
    ],
    ids=["missing", "other shape", "deeper network", "ResNet-18", "NaN"],
)
def test_the_error_for_another_network_names_its_first_tensor(
    pretrained: dict[str, Tensor], tmp_path: Path, name: str, content: Callable[[Any], Any], message: str
) -> None:
    path = write(content(pretrained), tmp_path / name)
    with pytest.raises(InputError, match=message):
        classifiers.build(4, 0, path)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_without_weights_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<html>not found</html>")
    with pytest.raises(InputError, match=name):
        classifiers.build(4, 0, tmp_path / name)


def test_a_saved_model_can_be_loaded(tmp_path: Path, images: Tensor) -> None:
    model = classifiers.build(2, 0, None).to(memory_format=torch.channels_last).eval()
    description = classifiers.Description(("a class, with a comma", "β"), 40)
    classifiers.save(model.state_dict(), description, tmp_path / "model.safetensors")
    loaded, found = classifiers.load(tmp_path / "model.safetensors")
    assert found == description
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), model(images))


def test_a_file_of_another_program_is_an_error(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other\.safetensors: has no list of classes"):
        classifiers.load(tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(InputError, match=r"broken\.safetensors: not a readable"):
        classifiers.load(tmp_path / "broken.safetensors")


def test_imagenet_weights_are_read_from_torchvisions_cache(
    pretrained: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision's own function finds a file in its cache; the written file can initialise a classifier."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = tmp_path / "hub" / "checkpoints" / Path(ResNet50_Weights.IMAGENET1K_V2.url).name
    kept.parent.mkdir(parents=True)
    torch.save(pretrained, kept)
    classifiers.fetch_imagenet("resnet50", tmp_path / "imagenet.safetensors")
    assert load_file(tmp_path / "imagenet.safetensors").keys() == pretrained.keys()
    model = classifiers.build(4, 0, tmp_path / "imagenet.safetensors")
    assert torch.equal(model.conv1.weight, pretrained["conv1.weight"])


@pytest.mark.parametrize("failure", [urllib.error.URLError("no route"), RuntimeError("invalid hash value")])
def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(InputError, match=r"set train\.init to random or to a") as caught:
        classifiers.fetch_imagenet("resnet50", tmp_path / "imagenet.safetensors")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "imagenet.safetensors").exists()
