"""Engines: the choice of a backend has a reason, engines are compared with fp32, and unsuitable ones are rejected."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from small_networks import inference, rrdbnet, without_gpu, workload, write_cells, write_compact, write_weights
from wbcsr.checks import compare
from wbcsr.classify import classifiers
from wbcsr.classify.networks import NETWORKS
from wbcsr.engines import choice
from wbcsr.engines import engine as engines
from wbcsr.engines.backends import BACKENDS, get_backend
from wbcsr.engines.profile import Profile
from wbcsr.engines.pytorch import Eager, Inductor
from wbcsr.engines.source import Workload
from wbcsr.engines.winograd.backend import Winograd
from wbcsr.errors import InputError
from wbcsr.isolated import run_step
from wbcsr.upscale import upscaler
from wbcsr.upscale.compiling import load_engine


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "small.safetensors")


@pytest.fixture
def make(weights: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A function that builds an engine of the small network for `images` images of 24×32 pixels."""

    def build(images: int = 4, **changes: Any) -> dict[str, Any]:
        return engines.build(
            upscaler.source(weights)[0], tmp_path / "engine.json", workload(images), inference(**changes)
        )

    return build


@pytest.fixture
def load(weights: Path, tmp_path: Path) -> Callable[..., engines.Engine]:
    def read() -> engines.Engine:
        return engines.load(upscaler.source(weights)[0], tmp_path / "engine.json")

    return read


# Profiles


@pytest.mark.parametrize(
    ("images", "multiple", "tile", "expected"),
    [
        ({(240, 320): 5}, 1, 512, "8 of 240x320"),
        ({(241, 320): 5}, 2, 512, "8 of 242x320"),
        ({(240, 320): 5, (480, 300): 9}, 1, 512, "8 of 240x300, 480x300, 480x320"),
        ({(240, 320): 5, (900, 300): 9}, 1, 512, "8 of 240x300, 512x300, 512x320"),
        ({(900, 700): 1, (800, 600): 2}, 4, 511, "8 of 508x508"),
        ({(31, 33): 1, (30, 34): 1}, 2, 512, "8 of 30x34, 32x34, 32x34"),
    ],
)
def test_a_profile_covers_the_images(images: dict, multiple: int, tile: int, expected: str) -> None:
    profile = Profile.covering(8, images, multiple, tile, fix=False)
    assert str(profile) == expected
    assert all(side % multiple == 0 for size in (profile.min, profile.opt, profile.max) for side in size)
    assert Profile.covering(8, images, multiple, tile, fix=True).opt == profile.opt
    assert Profile.covering(8, images, multiple, tile, fix=True).is_fixed


@pytest.mark.parametrize("scale", [2, 4])
def test_a_range_of_sizes_can_be_exported(scale: int) -> None:
    """The program accepts all sizes of the profile; for scale 2, only even sizes."""
    profile = Profile(1, (16, 24), (16, 32), (20, 24 + 8), multiple={2: 2, 4: 1}[scale])
    network = rrdbnet(scale)
    example = profile.example(torch.float32, torch.device("cpu"), torch.contiguous_format)
    program = torch.export.export(network, (example,), dynamic_shapes=profile.dynamic_shapes()).module()
    for height, width in [(16, 24), (18, 26), (20, 32)]:
        assert program(torch.rand(1, 3, height, width)).shape == (1, 3, height * scale, width * scale)
    with pytest.raises((RuntimeError, AssertionError)):
        program(torch.rand(1, 3, 22, 32))


# Choice of the backend


def codes(description: dict[str, Any]) -> list[str]:
    """The reason for the choice of the backend, then the reasons against other backends."""
    return [reason["code"] for reason in description["reasons"]]


@pytest.fixture
def without_winograd(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without AVX512-BF16, so winograd has no bf16; test_winograd.py tests processors that have it."""
    monkeypatch.setattr(Winograd, "precisions", ("fp32",))


@without_gpu
@pytest.mark.usefixtures("without_winograd")
def test_auto_chooses_eager_if_compiling_gains_nothing(make: Any, load: Any) -> None:
    description = make(precision="bf16")
    assert description["backend"] == "eager"
    assert codes(description) == ["few_images", "unusable"]
    assert load().profile is None


@without_gpu
def test_auto_without_a_compiler_chooses_eager_and_says_so(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    description = make(precision="fp32")
    assert description["backend"] == "eager"
    assert codes(description) == ["unusable", "not_faster"]
    assert "C++20 compiler" in description["reasons"][0]["detail"]


@without_gpu
@pytest.mark.usefixtures("without_winograd")
def test_auto_compares_run_times_if_there_is_much_work(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler is replaced here; the test of inductor uses the real one."""
    monkeypatch.setattr(
        Inductor, "compile", lambda self, network, profile, program, settings: program.write_bytes(b"x")
    )
    monkeypatch.setattr(Inductor, "load", Eager.load)
    # Two runs each (first and repeated): eager, inductor, and eager again.
    for inductor, eager, winner in ((1.0, 2.0, "inductor"), (2.0, 1.0, "eager")):
        seconds = [9.0, 5.0, 9.0, inductor, 9.0, eager]
        readings = iter(seconds)
        monkeypatch.setattr(choice, "_seconds", lambda run, example, readings=readings: next(readings))
        description = make(10_000, precision="bf16")
        assert description["backend"] == winner
        assert (tmp_path / "program.pt2").exists() == (winner == "inductor")
        assert description["measured"]["eager_seconds_per_batch"] == eager
        assert codes(description) == ["measured", "unusable", "unusable"]
        assert description["reasons"][0]["eager_seconds"] == eager


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"backend": "tensorrt"},
            r"inference\.backend tensorrt cannot run here: .* needs an NVIDIA GPU .* choose auto",
        ),
        ({"precision": "fp16"}, r"inference\.precision fp16 needs a GPU; choose"),
    ],
)
@without_gpu
def test_a_backend_that_cannot_run_gives_one_line(make: Any, tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make(**changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "engine.json").exists()


@without_gpu
@pytest.mark.usefixtures("without_winograd")
def test_auto_continues_if_the_compiler_fails(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("CUDA_HOME environment variable is not set")

    monkeypatch.setattr(Inductor, "compile", fail)
    monkeypatch.setattr(choice, "_seconds", lambda run, example: 5.0)
    description = make(10_000, precision="bf16")
    assert (description["backend"], description["program_sha256"]) == ("eager", None)
    failed = {"code": "failed", "backend": "inductor", "detail": "CUDA_HOME environment variable is not set"}
    assert description["reasons"][0] == failed
    assert "auto uses eager" in caplog.text


@without_gpu
def test_a_configured_compiler_that_fails_ends_with_the_reason(
    make: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("cannot convert an operator\nmore lines")

    monkeypatch.setattr(Inductor, "compile", fail)
    with pytest.raises(
        InputError, match=r"inference\.backend inductor .*\(cannot convert an operator\); set it to auto"
    ):
        make(backend="inductor", precision="fp32")
    assert "Traceback" in caplog.text


@without_gpu
@pytest.mark.usefixtures("without_winograd")
def test_auto_keeps_the_program_of_a_later_job(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "program.pt2"

    def displaced(*_: Any) -> None:
        program.write_bytes(b"the later job's")
        raise InputError("a newer job has taken over these files")

    monkeypatch.setattr(Inductor, "compile", displaced)
    monkeypatch.setattr(choice, "_seconds", lambda run, example: 5.0)
    with pytest.raises(InputError, match="a newer job has taken over"):
        make(10_000, precision="bf16")
    assert program.read_bytes() == b"the later job's"


def test_inductor_on_a_gpu_reports_a_missing_cuda_toolkit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wbcsr.engines.pytorch._cuda_home", lambda: None)
    assert "CUDA_HOME" in str(Inductor().unavailable(torch.device("cuda")))
    assert Inductor().unavailable(torch.device("cpu")) is None


def test_inductor_reports_missing_setuptools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "setuptools", None)
    assert "setuptools" in str(Inductor().unavailable(torch.device("cpu")))


@pytest.mark.parametrize(("level", "tuned"), [(0, False), (2, False), (3, True), (5, True)])
def test_optimization_level_decides_whether_inductor_autotunes(level: int, tuned: bool) -> None:
    settings = Inductor().settings(inference(optimization_level=level), torch.device("cuda"), "fp16")
    assert settings == {"max_autotune": tuned}


@pytest.mark.parametrize(
    ("device", "seconds_per_batch", "measured"), [("cuda", 0.4, False), ("cuda", 1.2, True), ("cpu", 1.2, False)]
)
def test_auto_compiles_only_above_the_limit(
    device: str, seconds_per_batch: float, measured: bool, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 batches take 7 or 20 minutes; device and seconds are simulated."""
    source = upscaler.source(weights)[0]
    order = choice.Order(
        source, Profile.fixed(1, 24, 32), Path(), workload(1000), inference(), "bf16", torch.device("cpu")
    )
    limits = {"cpu": choice.COMPILE_ABOVE_MINUTES[device]}
    monkeypatch.setattr(choice, "COMPILE_ABOVE_MINUTES", limits)
    monkeypatch.setattr(choice, "_seconds", lambda run, example: seconds_per_batch)
    monkeypatch.setattr(choice, "_fastest", lambda *_: {"measured": True})
    monkeypatch.setattr(Inductor, "unavailable", lambda *_: None)
    assert (choice._eager_or_compiled(order, []).get("measured") is True) == measured


def test_a_batch_is_not_larger_than_the_number_of_images_of_a_size(tmp_path: Path) -> None:
    source = upscaler.source(write_weights(tmp_path / "w.safetensors"))[0]
    sizes = Workload({(24, 32): 3, (25, 32): 2}, {"cpu": 8, "cuda": 8})
    description = engines.build(source, tmp_path / "engine.json", sizes, inference(backend="eager", precision="fp32"))
    assert (description["batch_size"], description["batch_size_wanted"]) == (3, 3)


@pytest.mark.parametrize(("sizes", "batch"), [({(24, 32): 40}, 27), ({(24, 32): 40, (48, 32): 1}, 13)])
def test_the_batch_keeps_tensors_below_2_to_the_31_elements(
    sizes: dict, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x4plus gives 64 channels at 4 × 4 the size: 2^31 elements are 27.3 images of 240×320 pixels, here a hundredth."""
    source = upscaler.source(write_weights(tmp_path / "w.safetensors"))[0]
    assert source.elements_per_pixel == 64 * 16
    assert engines.LARGEST_TENSOR // (source.elements_per_pixel * 240 * 320) == 27
    monkeypatch.setattr(engines, "LARGEST_TENSOR", engines.LARGEST_TENSOR // 100)
    wanted = Workload(sizes, {"cpu": 32, "cuda": 32})
    description = engines.build(source, tmp_path / "engine.json", wanted, inference(backend="eager", precision="fp32"))
    assert (description["batch_size"], description["batch_size_wanted"]) == (batch, 32)


def test_a_batch_too_large_for_building_is_halved(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The memory error of the device is simulated: at most two images fit."""
    batches = []

    monkeypatch.setattr(Inductor, "load", Eager.load)

    def compile_(self: Inductor, network: Any, profile: Profile, program: Path, settings: dict) -> None:
        batches.append(profile.batch)
        if profile.batch > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        program.write_bytes(b"x")

    monkeypatch.setattr(Inductor, "compile", compile_)
    source = upscaler.source(write_weights(tmp_path / "w.safetensors"))[0]
    path = tmp_path / "engine.json"
    eight = Workload({(24, 32): 40}, {"cpu": 8, "cuda": 8})
    description = engines.build(source, path, eight, inference(backend="inductor", precision="fp32"))
    assert batches == [8, 4, 2]
    assert (description["batch_size"], description["batch_size_wanted"]) == (2, 8)
    assert "continuing with 2" in caplog.text
    monkeypatch.setattr(Inductor, "compile", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none left")))
    with pytest.raises(InputError, match=r"memory for one image .* lower inference.tile"):
        engines.build(source, path, eight, inference(backend="inductor", precision="fp32"))


# Tests with a compiled engine


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an inductor engine for images of 24×32 pixels, its weights, and three images."""
    folder = tmp_path_factory.mktemp("compiled")
    source, _ = upscaler.source(write_compact(folder / "w.safetensors"))
    engines.build(source, folder / "engine.json", workload(), inference(backend="inductor", precision="fp32"))
    write_cells(folder, (24, 32))
    return folder


def load_compiled(folder: Path) -> engines.Engine:
    return engines.load(upscaler.source(folder / "w.safetensors")[0], folder / "engine.json")


def test_a_compiled_engine_gives_the_pixels_of_eager(compiled: Path) -> None:
    found = compare.compare_upscaler(
        compiled / "engine.json", compiled / "w.safetensors", [compiled / "manifest.csv"], 2
    )
    assert found["images"] == 2
    assert found["max_difference"] <= 1


def test_a_compiled_engine_runs_in_a_new_process(compiled: Path) -> None:
    files = str(compiled / "w.safetensors"), str(compiled / "engine.json")
    run_step(load_engine, *files)


@pytest.mark.parametrize(
    ("function", "answer", "part"),
    [
        ("_machine", {"processor": "another processor"}, "processor"),
        ("provenance.version", "0.0.1", "torch"),
    ],
)
def test_a_compiled_engine_of_another_machine_is_rejected(
    compiled: Path, function: str, answer: Any, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"wbcsr.engines.engine.{function}", lambda *_: answer)
    with pytest.raises(InputError, match=rf"another .*{part}.*; delete it .*--forcerun compile_upscaler -- .*engine"):
        load_compiled(compiled)


def test_a_compiled_engine_with_other_settings_is_rejected(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inductor, "settings", lambda *_: {"freezing": False})
    with pytest.raises(InputError, match="another settings"):
        load_compiled(compiled)


@pytest.mark.parametrize("shape", [(1, 3, 24, 24), (2, 3, 24, 32), (1, 3, 24, 40), (1, 1, 24, 32)])
def test_a_compiled_engine_rejects_a_batch_of_another_shape(compiled: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="the engine takes 1 of 24x32"):
        load_compiled(compiled).run(torch.zeros(shape))


def test_a_damaged_program_is_rejected(compiled: Path) -> None:
    program = compiled / "program.pt2"
    whole = program.read_bytes()
    try:
        for content in (b"damaged", None):
            program.unlink() if content is None else program.write_bytes(content)
            with pytest.raises(InputError, match="another program"):
                load_compiled(compiled)
    finally:
        program.write_bytes(whole)


# The fingerprint


@pytest.mark.parametrize("part", ["weights", "architecture", "precision", "device"])
def test_every_part_of_the_fingerprint_is_compared(make: Any, load: Any, tmp_path: Path, part: str) -> None:
    make()
    load()
    content = json.loads((tmp_path / "engine.json").read_text())
    content["fingerprint"][part] = "something else"
    (tmp_path / "engine.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"built for another {part} \({part} something else, here "):
        load()


@pytest.mark.parametrize("part", ["weights", "architecture", "precision", "device"])
def test_a_fingerprint_without_a_part_is_rejected(make: Any, load: Any, tmp_path: Path, part: str) -> None:
    make()
    content = json.loads((tmp_path / "engine.json").read_text())
    del content["fingerprint"][part]
    (tmp_path / "engine.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"another {part} \({part} none, here "):
        load()


@pytest.mark.parametrize(
    "change",
    [
        {"backend": "magic"},
        {"precision": "fp8"},
        {"fingerprint": None},
        {"profile": {"batch": 1}},
        # From a version that used other names.
        {"profile": {"batch": 1, "least": [2, 2], "best": [2, 2], "most": [2, 2], "multiple": 1}},
        {"batch_size": None},
    ],
)
def test_a_damaged_description_is_named(make: Any, load: Any, tmp_path: Path, change: dict) -> None:
    make()
    content = json.loads((tmp_path / "engine.json").read_text())
    (tmp_path / "engine.json").write_text(json.dumps(content | change))
    with pytest.raises(InputError, match=r"engine\.json: is damaged .*; run once with --force"):
        load()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"profile": Profile.fixed(1, 24, 40)}, "shapes"),
        ({"profile": Profile.fixed(2, 24, 32)}, "shapes"),
        ({"precision": "bf16"}, "precision"),
        ({"inference": inference(optimization_level=5)}, "settings"),
        ({"inference": inference(workspace_gib=2)}, "settings"),
    ],
)
def test_the_fingerprint_of_a_tensorrt_engine_changes_with_each_part(
    weights: Path, change: dict, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package versions are replaced: TensorRT cannot be installed together with the edition that the tests use."""
    monkeypatch.setattr(engines.provenance, "version", lambda package: f"{package} 1")
    given: dict[str, Any] = {
        "source": upscaler.source(weights)[0],
        "backend": BACKENDS["tensorrt"],
        "precision": "fp16",
        "profile": Profile.fixed(1, 24, 32),
        "inference": inference(),
        "device": torch.device("cpu"),
    }
    before, after = engines._fingerprint(**given), engines._fingerprint(**{**given, **change})
    assert [name for name in before if before[name] != after[name]] == [part]
    assert {
        "weights",
        "architecture",
        "precision",
        "shapes",
        "settings",
        "torch",
        "torch-tensorrt",
        "tensorrt",
    } <= before.keys()


def test_a_gpu_is_identified_by_model_capability_and_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU is simulated."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(engines.provenance, "gpu", lambda: {"driver": "580.1"}, raising=False)
    machine = engines._machine(torch.device("cuda"))
    assert machine == {"GPU": "NVIDIA H200", "compute capability": "9.0", "driver": "580.1"}


def test_an_engine_rejects_other_weights(make: Any, load: Any, weights: Path) -> None:
    make()
    write_weights(weights, seed=1)
    with pytest.raises(InputError, match="another weights"):
        load()


def test_damaged_weights_are_not_used(make: Any, weights: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"small\.safetensors: SHA-256 is .* run once with --force"):
        make()


def test_an_engine_description_without_its_keys_is_named(load: Any, tmp_path: Path) -> None:
    (tmp_path / "engine.json").write_text("{}")
    with pytest.raises(InputError, match=r"engine\.json: lacks .*; run once with --force"):
        load()


# Classifiers


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    model = classifiers.build(2, 0, None)
    classifiers.save(model.state_dict(), classifiers.Description(("a", "b"), 96), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@without_gpu
def test_an_engine_of_a_classifier_never_uses_tiles(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler is replaced. Tiles are wrong for a classifier, because each tile would have its own class."""
    profiles = []

    def compile_(self: Inductor, network: Any, profile: Profile, program: Path, settings: dict) -> None:
        profiles.append(str(profile))
        program.write_bytes(b"x")

    monkeypatch.setattr(Inductor, "compile", compile_)
    monkeypatch.setattr(Inductor, "load", Eager.load)
    source, _ = classifiers.source(classifier)
    settings = inference(backend="inductor", precision="fp32", tile=64, overlap=8)
    engines.build(source, tmp_path / "engine.json", workload(12, (96, 96)), settings)
    assert profiles == ["1 of 96x96"]


def test_a_classifier_batch_that_does_not_fit_is_halved(caplog: pytest.LogCaptureFixture) -> None:
    """The memory error of the device is simulated: at most two images fit."""
    sizes = []

    def network(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return batch.mean(dim=(2, 3))

    given: dict[str, Any] = {"backend": "eager", "precision": "fp32", "profile": None, "identity": "test"}
    engine = engines.Engine(
        run=network, batch=8, device=torch.device("cpu"), dtype=torch.float32,
        memory_format=torch.contiguous_format, **given,
    )  # fmt: skip
    pixels = torch.randint(0, 256, (9, 4, 4, 3), dtype=torch.uint8)
    logits = classifiers.engine_logits(engine, NETWORKS["resnet50"], pixels.split(8))
    assert sizes == [8, 4, 2, 2, 2, 2, 1]
    assert "continuing with 2 images" in caplog.text
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in NETWORKS["resnet50"].normalisation)
    wanted = ((pixels.permute(0, 3, 1, 2) - mean) / std).mean((2, 3))
    torch.testing.assert_close(logits, wanted)


def test_a_backend_that_cannot_run_says_why() -> None:
    for name, backend in BACKENDS.items():
        reason = backend.unavailable(torch.device("cpu"))
        assert (reason is None) == (name not in ("triton", "tensorrt"))
    with pytest.raises(InputError, match="tensorrt cannot run here"):
        get_backend("tensorrt", torch.device("cpu"))
