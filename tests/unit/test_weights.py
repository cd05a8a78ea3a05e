"""Weights: read from ncnn's format and from .pth files, checked, and described from their tensors."""

from __future__ import annotations

import http.server
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from small_networks import rrdbnet
from wbcsr.errors import InputError
from wbcsr.files import read_json, sha256
from wbcsr.weights import download, ncnn, networks, releases, store


def test_the_wheel_gives_x4plus(x4plus: Path) -> None:
    network, architecture = store.load(x4plus)
    assert (architecture.scale, architecture.multiple, architecture.tags) == (4, 1, ("64nf", "23nb"))
    assert type(network).__module__ == "basicsr.archs.rrdbnet_arch"
    assert sum(parameter.numel() for parameter in network.parameters()) == 16_697_987  # RRDBNet-23 with 64 features
    description = read_json(x4plus.with_suffix(".json"))
    assert description["sha256"] == sha256(x4plus)
    assert description["origin_sha256"] == store.WHEEL_SHA256


def ncnn_model(folder: Path, weights: np.ndarray, biases: np.ndarray) -> tuple[Path, Path]:
    """A model with one convolution in ncnn's format; the weights are padded to four bytes, as in ncnn."""
    outputs, _, kernel, _ = weights.shape
    param, model = folder / "m.param", folder / "m.bin"
    param.write_text(f"7767517\n1 1\nConvolution c 1 1 in out 0={outputs} 1={kernel} 5=1 6={weights.size}\n")
    halves = weights.astype("<f2").tobytes()
    content = struct.pack("<I", ncnn.FP16_TAG) + halves + bytes(-len(halves) % 4) + biases.astype("<f4").tobytes()
    model.write_bytes(content)
    return param, model


@pytest.mark.parametrize("shape", [(2, 3, 3, 3), (1, 1, 1, 1), (3, 1, 3, 3)])
def test_ncnn_convolutions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    weights = np.random.default_rng(0).normal(size=shape).astype(np.float16)
    biases = np.arange(shape[0], dtype=np.float32)
    [(found, found_biases)] = ncnn.read_layers(*ncnn_model(tmp_path, weights, biases))
    np.testing.assert_array_equal(found, weights.astype(np.float32))
    np.testing.assert_array_equal(found_biases, biases)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "truncated"),
        (lambda content: content[:7], "truncated"),
        (lambda content: content + b"\0", "1 bytes longer"),
        (lambda content: b"\1" + content[1:], "tag"),
    ],
)
def test_damaged_ncnn_models_are_named(tmp_path: Path, damage, message: str) -> None:
    param, model = ncnn_model(tmp_path, np.ones((2, 3, 3, 3)), np.zeros(2))
    model.write_bytes(damage(model.read_bytes()))
    with pytest.raises(InputError, match=message):
        ncnn.read_layers(param, model)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Convolution conv 1 1 in out 0=2 1=3", "is no Convolution; install its package again"),
        ("Convolution", "is no Convolution"),
        ("Convolution conv 0=two 1=3 6=54", "is no Convolution"),
        ("PReLU slopes 1 1 in out", "is no PReLU"),
        ("PReLU slopes 0=1000", "truncated"),
        ("Convolution conv 0=0 1=3 6=54", "has 54 weights, which do not fill 0 3×3 kernels"),
        ("Convolution conv 0=-2 1=3 6=-54", "has -54 weights"),
        ("Convolution café 0=2 1=3 6=55", "has 55 weights"),
    ],
)
def test_invalid_ncnn_descriptions_are_named(tmp_path: Path, line: str, message: str) -> None:
    param, model = ncnn_model(tmp_path, np.ones((2, 3, 3, 3)), np.zeros(2))
    param.write_text(line, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        ncnn.read_layers(param, model)


@pytest.mark.parametrize("scale", [2, 4])
def test_rrdbnet_is_recognised_from_its_tensors(scale: int) -> None:
    network = rrdbnet(scale=scale, blocks=2)
    built, architecture = networks.build(network.state_dict())
    assert type(built) is type(network)
    assert (architecture.scale, architecture.multiple) == (scale, 4 // scale)
    assert architecture.elements_per_pixel == 64 * scale**2
    batch = torch.rand(1, 3, 8, 12)
    with torch.inference_mode():
        assert torch.equal(built(batch), network(batch))


def without(tensors: networks.Tensors, name: str) -> networks.Tensors:
    return {key: value for key, value in tensors.items() if key != name}


TENSORS = rrdbnet(scale=4, blocks=1).state_dict()


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"layer1.0.conv1.weight": torch.zeros(1)}, r"spandrel knows no network .*layer1\.0\.conv1\.weight"),
        (without(TENSORS, "conv_hr.bias"), "ESRGAN, but its tensors do not fit .*Missing"),
        (without(TENSORS, "conv_first.bias"), "ESRGAN, but its tensors do not fit .*Missing"),
        ({**TENSORS, "extra": torch.zeros(1)}, "extra is unknown"),
        ({**TENSORS, "conv_hr.bias": torch.zeros(3)}, "ESRGAN, but its tensors do not fit .*size mismatch"),
        (rrdbnet(scale=1).state_dict(), "for the purpose Restoration"),
    ],
)
def test_wrong_tensors_are_named(tensors: networks.Tensors, message: str) -> None:
    with pytest.raises(InputError, match=rf"^own\.pth: .*{message}"):
        networks.build(tensors, "own.pth")


@pytest.mark.parametrize(
    "written", [str, str.upper, " {}\n".format, "sha256:{}".format], ids=["bare", "capitals", "blanks", "prefix"]
)
def test_weights_can_come_from_a_users_own_file(tmp_path: Path, written: Callable[[str], str]) -> None:
    path = tmp_path / "own.pth"
    torch.save({"params_ema": TENSORS}, path)
    settings = {"source": "path", "path": str(path), "sha256": written(sha256(path))}
    store.fetch("custom", settings, tmp_path / "w.safetensors", tmp_path / "w.json")
    network, _ = store.load(tmp_path / "w.safetensors")
    assert torch.equal(network.state_dict()["conv_hr.weight"], TENSORS["conv_hr.weight"])
    with pytest.raises(InputError, match=r"own\.pth: SHA-256 is"):
        store.fetch("custom", {**settings, "sha256": "0" * 64}, tmp_path / "v.safetensors", tmp_path / "v.json")
    assert not (tmp_path / "v.safetensors").exists()


def test_a_web_page_saved_as_weights_is_distinguished_from_a_changed_file(tmp_path: Path) -> None:
    (tmp_path / "own.pth").write_text("<html>404</html>")
    settings = {"source": "path", "path": str(tmp_path / "own.pth"), "sha256": "0" * 64}
    with pytest.raises(InputError, match=r"own\.pth: is a web page"):
        store.fetch("custom", settings, tmp_path / "w.safetensors", tmp_path / "w.json")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A local server that replaces the download site of the release.

    /broken closes the connection, /hanging never answers, and other names are files or give status 404.
    """
    ended = threading.Event()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **keywords: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "served"), **keywords)

        def do_GET(self) -> None:
            if self.path == "/broken":
                self.connection.close()
            elif self.path == "/hanging":
                ended.wait()
            else:
                super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "served").mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        ended.set()
        httpd.shutdown()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x4.pth", None),
        ("html.pth", "SHA-256"),
        ("cut.pth", "SHA-256"),
        ("absent", "HTTPError"),
        ("broken", "ConnectionError"),
        ("hanging", "ReadTimeout"),
    ],
)
def test_downloaded_weights_are_checked(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, name: str, message: str | None
) -> None:
    torch.save({"params_ema": TENSORS}, tmp_path / "served" / "x4.pth")
    (tmp_path / "served" / "html.pth").write_text("<html>sign in</html>")
    (tmp_path / "served" / "cut.pth").write_bytes((tmp_path / "served" / "x4.pth").read_bytes()[:-1000])
    release = replace(
        releases.RELEASES["RealESRGAN_x4plus"],
        url=f"{server}/{name}",
        sha256=sha256(tmp_path / "served" / "x4.pth"),
    )
    monkeypatch.setitem(store.RELEASES, "RealESRGAN_x4plus", release)
    monkeypatch.setattr(download._stream.retry, "sleep", lambda _: None)
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.5)
    outputs = tmp_path / "w.safetensors", tmp_path / "w.json"
    if message is None:
        assert store.fetch("RealESRGAN_x4plus", {"source": "download"}, *outputs)["origin"] == f"{server}/{name}"
        return
    with pytest.raises(InputError, match=message):
        store.fetch("RealESRGAN_x4plus", {"source": "download"}, *outputs)
    assert not list(tmp_path.glob("*.pth")) + list(tmp_path.glob("*.safetensors"))


def test_the_model_for_each_scale() -> None:
    assert releases.model_for_scale(2, "download") == "RealESRGAN_x2plus"
    assert releases.model_for_scale(2, "wheel") == "RealESRGAN_x4plus"
    assert releases.model_for_scale(3, "download") == "RealESRGAN_x4plus"
    assert releases.model_for_scale(4, "path") == "custom"


@pytest.mark.parametrize(
    ("source", "scales", "shrunk"),
    [
        ("wheel", [4, 2, 3, 8], {"realesrgan_x2": "realesrgan_x4", "realesrgan_x3": "realesrgan_x4"}),
        ("wheel", [2, 3], {}),
        ("download", [2, 3, 4], {"realesrgan_x3": "realesrgan_x4"}),  # there is a separate network for x2
        ("path", [2, 4], {}),  # the configuration does not contain the scale of that network
    ],
)
def test_a_variant_without_its_own_network_is_shrunk_from_another_scale(
    source: str, scales: list[int], shrunk: dict[str, str]
) -> None:
    models = {f"realesrgan_x{scale}": releases.model_for_scale(scale, source) for scale in scales}
    assert releases.shrunk_from(models) == shrunk
