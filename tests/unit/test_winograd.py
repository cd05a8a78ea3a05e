"""Winograd convolutions give the network's values at any size, and unsupported networks are rejected with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from small_networks import inference, rrdbnet, workload, write_compact, write_weights
from wbcsr.classify import classifiers
from wbcsr.engines import engine as engines
from wbcsr.engines.profile import Profile
from wbcsr.engines.trace import UnsuitedError, trace
from wbcsr.engines.winograd import backend
from wbcsr.engines.winograd.backend import Winograd
from wbcsr.errors import InputError
from wbcsr.upscale import upscaler

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="winograd, which needs a CPU, was not tested: this machine has a GPU"
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled code, which is the same for every network."""
    path = tmp_path_factory.mktemp("winograd") / "program.pt2"
    compile_code(path, "fp32")
    return path


def compile_code(path: Path, precision: str) -> None:
    settings = Winograd().settings(inference(), CPU, precision)
    Winograd().compile(nn.Identity(), Profile.fixed(1, 8, 8), path, settings)


BF16 = pytest.mark.skipif(
    not torch.cpu._is_avx512_bf16_supported(), reason="bf16 was not tested: this processor has no AVX512-BF16"
)


@pytest.fixture
def ready(program: Path) -> Callable[[nn.Module], Callable[[torch.Tensor], torch.Tensor]]:
    return lambda network: Winograd().load(network.eval(), program, Profile.fixed(1, 8, 8))


@torch.inference_mode()
def assert_alike(run: Any, network: nn.Module, shape: tuple[int, ...]) -> None:
    """Require equal values except for fp32 rounding; one wrong weight or pixel would cause a difference of 0.001."""
    batch = torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))
    expected, found = network(batch), run(batch)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 2e-5 * expected.abs().max()


@pytest.mark.parametrize("scale", [4, 2, 1])
def test_rrdbnet_gives_the_same_values_at_every_size(ready: Any, scale: int) -> None:
    """One network runs at several sizes in turn, as with tiles and images of several sizes."""
    network = rrdbnet(scale, blocks=2)
    run = ready(network)
    for height, width in [(24, 32), (4, 4), (20, 52), (12, 8), (24, 32)]:
        assert_alike(run, network, (2, 3, height, width))


@pytest.mark.parametrize("lanes", [4, 16])
def test_vector_widths_of_other_processors(lanes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layouts for AVX-512 and for processors without AVX, run with this processor's own instructions."""
    flags = [*backend.FLAGS, f"-DLANES={lanes}", "-Wno-psabi"]
    monkeypatch.setattr(backend, "FLAGS", flags)
    compile_code(tmp_path / "program.pt2", "fp32")
    network = rrdbnet(2).eval()
    run = Winograd().load(network, tmp_path / "program.pt2", Profile.fixed(1, 8, 8))
    assert_alike(run, network, (1, 3, 26, 42))


@BF16
@torch.inference_mode()
def test_bf16_rounds_only_the_factors_of_products(tmp_path: Path) -> None:
    """Inputs and outputs are fp32; very large values become non-finite."""
    compile_code(tmp_path / "program.pt2", "bf16")
    network = rrdbnet(4, blocks=2).eval()
    run = Winograd().load(network, tmp_path / "program.pt2", Profile.fixed(1, 8, 8))
    for height, width in [(24, 32), (4, 4), (13, 3)]:
        batch = torch.rand((2, 3, height, width), generator=torch.Generator().manual_seed(0))
        expected, found = network(batch), run(batch)
        assert found.dtype == torch.float32
        assert 0 < (found - expected).square().mean().sqrt() < 0.01 * expected.std()
    assert not run(torch.full((1, 3, 8, 8), float("nan"))).isfinite().any()


def test_sides_that_are_not_multiples_of_a_tile(ready: Any) -> None:
    network = rrdbnet(4)
    run = ready(network)
    for height, width in [(1, 1), (2, 7), (13, 3), (5, 41)]:
        assert_alike(run, network, (1, 3, height, width))


def test_channels_that_do_not_fill_a_vector(ready: Any) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(5, 7, 3, padding=1, bias=False), nn.Conv2d(12, 3, 3, padding=1)
            self.third, self.relu = nn.Conv2d(3, 19, 3, padding=1), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            small = self.second(torch.cat((x, self.relu(self.first(x))), 1)) * -0.5
            return self.third(F.interpolate(small, scale_factor=2, mode="nearest"))

    torch.manual_seed(0)
    network = Network()
    assert_alike(ready(network), network, (1, 5, 9, 14))


def test_the_number_of_threads_does_not_change_the_result(ready: Any) -> None:
    run, batch, before = ready(rrdbnet(4)), torch.rand(1, 3, 30, 50), torch.get_num_threads()
    outputs = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            outputs.append(run(batch))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


def test_non_finite_values_remain_non_finite(ready: Any) -> None:
    """The quality check looks for them, so they must not become finite."""
    batch = torch.rand(1, 3, 16, 16)
    batch[0, 0, 5, 5] = float("nan")
    assert torch.isnan(ready(rrdbnet(4))(batch)).any()


class Sum(nn.Module):
    """The sum of an image and itself, without any convolution."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x


class Twice(nn.Module):
    """A convolution, and the result of applying `after` to it."""

    def __init__(self, after: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.after = nn.Conv2d(3, 1, 3, padding=1), after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(x, self.first(x))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Conv2d(3, 3, 3, padding=1, stride=2), r"a convolution with stride \(2, 2\)"),
        (nn.Conv2d(3, 3, 1), r"a convolution with kernel_size \(1, 1\)"),
        (nn.Conv2d(4, 4, 3, padding=1, groups=2), "a convolution with groups 2"),
        (nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), "padding with reflect"),
        (nn.PReLU(), "not support PReLU"),
        (nn.LeakyReLU(), "an activation only directly after a convolution"),
        (Sum(), "a sum only of a convolution"),
        (Twice(lambda x, y: y + y), "a sum only of a convolution"),
        (Twice(lambda x, y: y + x), "images of its size"),
        (Twice(lambda x, y: torch.add(y, y, alpha=0.2)), "not support add"),
        (Twice(lambda x, y: F.pixel_unshuffle(y, 2)), "not support pixel_unshuffle"),
        (Twice(lambda x, y: (y, y)), "cannot trace the network"),
    ],
)
def test_an_unsupported_operation_is_named(network: nn.Module, message: str) -> None:
    with pytest.raises(UnsuitedError, match=message):
        trace(nn.Sequential(network))


# Tests as an engine


def test_auto_chooses_the_faster_backend_on_a_cpu(tmp_path: Path) -> None:
    """Both are really measured."""
    source = upscaler.source(write_weights(tmp_path / "small.safetensors"))[0]
    description = engines.build(source, tmp_path / "engine.json", workload(), inference(precision="fp32"))
    measured = description["measured"]
    seconds = {name: measured[f"{name}_seconds_per_batch"] for name in ("eager", "winograd")}
    assert description["backend"] == min(seconds, key=lambda name: seconds[name])
    assert description["reasons"][0]["code"] == "measured"
    assert (tmp_path / "program.pt2").exists() == (description["backend"] == "winograd")


def test_an_engine_with_backend_winograd(tmp_path: Path) -> None:
    source = upscaler.source(write_weights(tmp_path / "small.safetensors"))[0]
    path = tmp_path / "engine.json"
    description = engines.build(source, path, workload(), inference(backend="winograd", precision="fp32"))
    assert (description["backend"], description["precision"]) == ("winograd", "fp32")
    assert "instructions " in description["fingerprint"]["settings"]
    engine = engines.load(source, path)
    assert_alike(engine.run, source.network, (1, 3, 24, 32))


def test_an_unsupported_precision_gives_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    source = upscaler.source(write_weights(tmp_path / "small.safetensors"))[0]
    with pytest.raises(InputError, match=r"winograd supports only fp32 here, .* choose precision auto or fp32$"):
        engines.build(source, tmp_path / "engine.json", workload(), inference(backend="winograd", precision="bf16"))


def test_with_backend_winograd_the_classifier_uses_eager(tmp_path: Path) -> None:
    classifiers.save(
        classifiers.build(2, 0, None).state_dict(), classifiers.Description(("A", "B"), 32), tmp_path / "r.safetensors"
    )
    source = classifiers.source(tmp_path / "r.safetensors")[0]
    description = engines.build(
        source, tmp_path / "engine.json", workload(size=(32, 32)), inference(backend="winograd")
    )
    assert (description["backend"], description["precision"]) == ("eager", "fp32")
    assert description["reasons"] == [
        {"code": "unusable", "detail": "winograd does not support a convolution with kernel_size (7, 7)"}
    ]


@BF16
def test_auto_chooses_the_faster_backend_in_bf16(tmp_path: Path) -> None:
    """Both are really measured; a loaded engine has fp32 inputs and outputs."""
    source = upscaler.source(write_weights(tmp_path / "small.safetensors"))[0]
    path = tmp_path / "engine.json"
    description = engines.build(source, path, workload(), inference(precision="bf16"))
    assert description["precision"] == "bf16"
    faster = "winograd" if description["reasons"][0]["code"] == "measured" else "eager"
    assert description["backend"] == faster
    if faster == "winograd":
        assert "-DBF16" in description["fingerprint"]["settings"]
        engine = engines.load(source, path)
        assert (engine.precision, engine.dtype) == ("bf16", torch.float32)
        batch = torch.rand(1, 3, 24, 32)
        assert 0 < (engine.run(batch) - source.network(batch)).abs().max() < 0.02
    else:
        assert [reason["code"] for reason in description["reasons"]] == ["few_images", "measured"]


def test_auto_continues_if_programs_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid program file simulates a file system that is mounted noexec."""
    monkeypatch.setattr(Winograd, "compile", lambda self, network, profile, program, settings: program.touch())
    source = upscaler.source(write_weights(tmp_path / "small.safetensors"))[0]
    description = engines.build(source, tmp_path / "engine.json", workload(), inference(precision="fp32"))
    assert description["backend"] == "eager"
    assert description["reasons"][0]["code"] == "failed"
    assert not (tmp_path / "program.pt2").exists()


def test_a_processor_with_other_instructions_rejects_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = upscaler.source(write_weights(tmp_path / "small.safetensors"))[0]
    engines.build(source, tmp_path / "engine.json", workload(), inference(backend="winograd"))
    monkeypatch.setattr(backend, "_instructions", lambda: "others")
    with pytest.raises(InputError, match=r"built for another settings"):
        engines.load(source, tmp_path / "engine.json")


def test_an_unsupported_upscaler_gives_one_line(tmp_path: Path) -> None:
    """With Real-ESRGAN's compact network, a requested backend that cannot run is an error; eager is not used."""
    source = upscaler.source(write_compact(tmp_path / "compact.safetensors"))[0]
    with pytest.raises(InputError, match=r"backend winograd cannot run this network: winograd does not support PReLU$"):
        engines.build(source, tmp_path / "engine.json", workload(), inference(backend="winograd"))
    assert not (tmp_path / "engine.json").exists()


def test_code_that_cannot_be_loaded_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "program.pt2").write_bytes(b"not a library")
    with pytest.raises(InputError, match=r"program\.pt2: cannot be loaded .* set inference\.backend to eager"):
        Winograd().load(rrdbnet(4), tmp_path / "program.pt2", Profile.fixed(1, 8, 8))
