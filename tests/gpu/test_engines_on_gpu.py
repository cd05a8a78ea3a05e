"""Engines on a GPU: built, loaded in another process, compared with the fp32 network, and used as jobs use them."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from small_networks import inference, write_weights
from wbcsr import imaging
from wbcsr.checks.compare import compare_classifier, compare_upscaler
from wbcsr.checks.gate import pass_gate
from wbcsr.classify import classifiers
from wbcsr.classify.predict import predict
from wbcsr.engines import engine as engines
from wbcsr.engines.backends import BACKENDS
from wbcsr.engines.source import Source, Workload
from wbcsr.errors import InputError
from wbcsr.files import sha256, write_csv
from wbcsr.isolated import run_step
from wbcsr.upscale import upscaler
from wbcsr.upscale.compiling import load_engine
from wbcsr.upscale.shard import upscale_shard
from wbcsr.upscale.store import MANIFEST_COLUMNS
from wbcsr.upscale.upscaler import SuperResolution

GPU, CPU = torch.device("cuda"), torch.device("cpu")
COMPILED = [name for name, backend in BACKENDS.items() if backend.compiles]
CLASSES = ["c", "a", "b"]
BATCH = 2
SIZE = (48, 64)
# Number of images of each size; for scale 2, the sides are made even.
SIZES = {(31, 40): 1, SIZE: 5, (64, 63): 1}


@dataclass(frozen=True)
class Study:
    """A folder with the weights of a small RRDBNet, synthetic cells with their manifest, and an engine."""

    folder: Path
    inference: dict[str, Any]

    def source(self) -> Source:
        return upscaler.source(self.folder / "sr.safetensors")[0]

    def build(self, images: dict[tuple[int, int], int], batch: int = BATCH) -> dict[str, Any]:
        workload = Workload(images, {"cpu": 1, "cuda": batch})
        return engines.build(self.source(), self.folder / "engine.json", workload, self.inference)

    def load(self) -> engines.Engine:
        return engines.load(self.source(), self.folder / "engine.json")

    def exact(self) -> torch.nn.Module:
        """The fp32 network on the GPU, with convolutions that do not use TF32."""
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        return self.source().network.to(GPU)

    def super_resolution(self, engine: engines.Engine) -> SuperResolution:
        architecture = upscaler.source(self.folder / "sr.safetensors")[1]
        return SuperResolution(engine, architecture, architecture.scale, 512, 16)


def study(folder: Path, backend: str, scale: int = 4, **changes: Any) -> Study:
    write_weights(folder / "sr.safetensors", scale)
    return Study(folder, inference(backend=backend, optimization_level=1, **changes))


def draw_cell(number: int, size: tuple[int, int]) -> np.ndarray:
    """A disc with a nucleus on a bright background, (h, w, 3) uint8."""
    height, width = size
    picture = np.full((height, width, 3), 220, np.uint8)
    middle = (width // 3 + 3 * number, height // 2)
    cv2.circle(picture, middle, min(size) // 3, (190, 120 + 5 * number, 140), -1, cv2.LINE_AA)
    cv2.circle(picture, middle, min(size) // 6, (90, 40, 130), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(picture, (0, 0), 1)


def write_cells(folder: Path, sizes: dict[tuple[int, int], int]) -> Path:
    """Synthetic cells as PNG files, and the manifest that lists them."""
    rows = []
    for number, (height, width) in enumerate(size for size, count in sizes.items() for _ in range(count)):
        path = folder / f"{number}.png"
        path.write_bytes(imaging.encode_png(draw_cell(number, (height, width))))
        rows.append([f"TRAIN/a/{path.name}", path.name, width, height, sha256(path), sha256(path)])
    write_csv(folder / "manifest.csv", pd.DataFrame(rows, columns=MANIFEST_COLUMNS))
    return folder / "manifest.csv"


def batch_of(size: tuple[int, int], first: int, engine: engines.Engine) -> torch.Tensor:
    """A batch of synthetic cells in the engine's input format."""
    cells = np.stack([draw_cell(first + number, size) for number in range(engine.batch)])
    values = torch.from_numpy(cells).permute(0, 3, 1, 2) / 255
    return values.to(engine.device, engine.dtype).contiguous(memory_format=engine.memory_format)


def require_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Require that two outputs (n, 3, H, W) are the same image except for fp16 rounding errors."""
    assert ours.shape == theirs.shape
    difference = ours.float().clamp(0, 1) - theirs.float().clamp(0, 1)
    assert difference.abs().max() < 8 / 255
    assert difference.square().mean() < 10**-5.0  # 50 dB


def skip_unless_it_runs(backend: str) -> None:
    reason = BACKENDS[backend].unavailable(GPU)
    if reason:
        pytest.skip(f"engines of {backend} were not verified: {reason}")


@pytest.fixture(params=COMPILED)
def backend(request: pytest.FixtureRequest) -> str:
    skip_unless_it_runs(request.param)
    return request.param


@pytest.fixture(scope="module", params=COMPILED)
def fixed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """An engine for batches of one image size, in fp16."""
    skip_unless_it_runs(request.param)
    made = study(tmp_path_factory.mktemp(request.param), request.param, precision="fp16")
    made.build({SIZE: 5})
    return made


@pytest.mark.gpu(verifies="that a compiled engine loads and runs in a process that did not build it")
def test_an_engine_runs_in_another_process(fixed: Study) -> None:
    run_step(load_engine, str(fixed.folder / "sr.safetensors"), str(fixed.folder / "engine.json"))


@pytest.mark.gpu(verifies="that a compiled fp16 engine passes the quality check and describes itself")
def test_an_engine_passes_the_quality_check(fixed: Study, tmp_path: Path) -> None:
    manifests = [write_cells(tmp_path, SIZES)]
    engine = fixed.folder / "engine.json"
    compare = partial(compare_upscaler, engine, fixed.folder / "sr.safetensors", manifests, 4)
    quality = pass_gate(engine, compare, fixed.inference["tolerances"], tmp_path / "quality.json")
    assert quality == json.loads((tmp_path / "quality.json").read_text())
    assert (quality["passed"], quality["reference"], quality["images"]) == (True, False, 4)
    assert quality["psnr_db"] >= 45
    description = json.loads((fixed.folder / "engine.json").read_text())
    assert description["backend"] == fixed.inference["backend"]
    assert (description["precision"], description["device"], description["batch_size"]) == ("fp16", "cuda", BATCH)
    assert description["fingerprint"]["GPU"] == torch.cuda.get_device_name()
    assert description["fingerprint"]["driver"] != "unknown"
    assert description["program_sha256"] == sha256(fixed.folder / "program.pt2")


@pytest.mark.gpu(verifies="that an engine launched as a CUDA graph computes every batch")
def test_a_cuda_graph_computes_every_batch(fixed: Study) -> None:
    engine, exact = fixed.load(), fixed.exact()
    if engine.backend == "tensorrt":
        import torch_tensorrt

        assert torch_tensorrt.runtime.get_cudagraphs_mode()
    batches = [batch_of(SIZE, first, engine) for first in (0, 3)]
    with torch.inference_mode():
        if engine.backend != "tensorrt":
            kept = [engine.run(batch) for batch in batches]
            assert kept[0].data_ptr() == kept[1].data_ptr()  # a graph writes to one place, launches of kernels do not
        outputs = [engine.run(batch).clone() for batch in (*batches, batches[0])]
        expected = [exact(batch.float().contiguous()) for batch in batches]
    assert not torch.equal(outputs[0], outputs[1])
    torch.testing.assert_close(outputs[2], outputs[0], rtol=0, atol=0)
    for ours, theirs in zip(outputs, [*expected, expected[0]], strict=True):
        require_close(ours, theirs)


@pytest.mark.gpu(verifies="that an engine of another GPU, driver or version is rejected")
@pytest.mark.parametrize("part", ["GPU", "compute capability", "driver", "torch", "settings"])
def test_an_engine_built_on_another_machine_is_rejected(fixed: Study, tmp_path: Path, part: str) -> None:
    for name in ("engine.json", "program.pt2"):
        shutil.copy(fixed.folder / name, tmp_path / name)
    description = json.loads((tmp_path / "engine.json").read_text())
    here = description["fingerprint"][part]
    description["fingerprint"][part] = "another"
    (tmp_path / "engine.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=f"built for another {part} ") as caught:
        engines.load(fixed.source(), tmp_path / "engine.json")
    assert f"{part} another, here {here}" in str(caught.value)
    assert "snakemake --forcerun compile_upscaler" in str(caught.value)


@pytest.mark.gpu(verifies="that an engine for a range of sizes runs at its smallest, optimal and largest size")
@pytest.mark.parametrize("scale", [2, 4])
def test_an_engine_for_a_range_of_sizes(backend: str, scale: int, tmp_path: Path) -> None:
    made = study(tmp_path, backend, scale, precision="fp16")
    made.build(SIZES)
    engine, exact = made.load(), made.exact()
    assert engine.profile is not None
    assert engine.profile.opt == SIZE
    assert not engine.profile.is_fixed
    for size in (engine.profile.min, engine.profile.opt, engine.profile.max, engine.profile.min):
        batch = batch_of(size, 0, engine)
        with torch.inference_mode():
            require_close(engine.run(batch), exact(batch.float().contiguous()))
    enlarge = made.super_resolution(engine)
    for size in [*SIZES, (20, 30), (100, 70)]:  # the last two sizes are padded and tiled
        assert enlarge([draw_cell(0, size)])[0].shape == (size[0] * scale, size[1] * scale, 3)


@pytest.mark.gpu(verifies="that `auto` compares the installed backends on a GPU and records its choice and the reason")
def test_backend_auto_compares_run_times(tmp_path: Path) -> None:
    made = study(tmp_path, "auto", compile_above_minutes=0)
    description = made.build({SIZE: 5})
    compiled = next(name for name in ("tensorrt", "inductor") if BACKENDS[name].unavailable(GPU) is None)
    measured = description["measured"]
    assert measured["eager_seconds_per_batch"] > 0
    assert measured[f"{compiled}_seconds_per_batch"] > 0
    assert measured["compile_seconds"] > 0
    assert measured["triton_seconds_per_batch"] > 0
    assert description["backend"] in ("eager", "triton", compiled)
    assert description["precision"] == "fp16"
    used = ["measured", "measured"]
    assert [reason["code"] for reason in description["reasons"]] == (
        used if compiled == "tensorrt" else [*used, "unusable"]
    )
    assert made.load().backend == description["backend"]


@contextmanager
def memory_for(images: float, network: torch.nn.Module, image: torch.Tensor) -> Iterator[None]:
    """Leave PyTorch about as much free memory as this number of images needs in the network."""
    with torch.inference_mode():
        network(image)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        network(image)
        each = torch.cuda.max_memory_allocated() - before
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + images * each) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def continuing(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "continuing with" in record.getMessage()]


@pytest.mark.gpu(verifies="that a batch which is too large for the GPU's memory is halved when the engine is built")
def test_a_batch_too_large_for_building_is_halved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    made, size = study(tmp_path, "auto", precision="fp16", compile_above_minutes=1e6), (256, 256)
    image = torch.rand(1, 3, *size, dtype=torch.float16, device=GPU).contiguous(memory_format=torch.channels_last)
    network = made.source().network.to(GPU, torch.float16, memory_format=torch.channels_last)
    with memory_for(5, network, image):
        description = made.build({size: 40}, batch=32)
    assert description["batch_size_wanted"] == 32
    assert description["batch_size"] in (1, 2, 4)
    assert description["backend"] == "eager"
    assert continuing(caplog)[-1].endswith(f"continuing with {description['batch_size']}")


@pytest.mark.gpu(verifies="that the batch is halved if memory runs out during upscaling, and all images are correct")
def test_a_batch_too_large_for_running_is_halved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    made, size = study(tmp_path, "eager", precision="fp16"), (256, 256)
    made.build({size: 16}, batch=16)
    images = [draw_cell(number, size) for number in range(16)]
    expected = made.super_resolution(made.load())(images)
    enlarge = made.super_resolution(made.load())
    image = torch.rand(1, 3, *size, dtype=torch.float16, device=GPU).contiguous(memory_format=torch.channels_last)
    with memory_for(5, enlarge.engine.run, image):  # type: ignore[arg-type]
        results = enlarge(images)
    assert enlarge.batch_size in (1, 2, 4)
    assert continuing(caplog)[-1].endswith(f"continuing with {enlarge.batch_size} images at once")
    for ours, theirs in zip(results, expected, strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 2


@pytest.mark.gpu(verifies="that image files upscaled on a GPU equal those of the CPU")
@pytest.mark.parametrize("name", BACKENDS)
def test_files_upscaled_on_the_gpu_equal_those_of_the_cpu(name: str, tmp_path: Path) -> None:
    skip_unless_it_runs(name)
    made = study(tmp_path, name, precision="fp16")
    description = made.build(SIZES)
    originals = write_cells(tmp_path, SIZES)
    on_gpu = made.load()
    assert on_gpu.device.type == "cuda"
    on_cpu = engines.Engine(
        run=made.source().network,
        backend="eager",
        precision="fp32",
        batch=1,
        profile=None,
        device=CPU,
        dtype=torch.float32,
        memory_format=torch.contiguous_format,
        identity="fp32 on the CPU",
    )
    for engine in (on_gpu, on_cpu):
        folder = tmp_path / engine.device.type
        found = upscale_shard(originals, folder / "manifest.csv", 1, 1, made.super_resolution(engine), 2)["upscaling"]
        assert (found["images"], found["images_kept"]) == (sum(SIZES.values()), 0)
    thresholds = made.inference["tolerances"]
    for number in range(sum(SIZES.values())):
        ours, theirs = (
            imaging.decode((tmp_path / side / f"{number}.png").read_bytes(), side).astype(int)
            for side in ("cuda", "cpu")
        )
        difference = np.abs(ours - theirs)
        assert difference.max() <= thresholds["max_difference"]
        assert 10 * np.log10(255**2 / max((difference**2).mean(), 1e-9)) >= thresholds["psnr_db"]
    assert description["batch_size"] == BATCH


@dataclass(frozen=True)
class Run:
    """A folder with a randomly initialised ResNet-50, and thirty packed images of three kinds that it distinguishes."""

    folder: Path

    @property
    def files(self) -> dict[str, str]:
        names = {"model": "model.safetensors", "array": "a.npy", "index": "a.csv", "split": "split.csv"}
        return {key: str(self.folder / name) for key, name in names.items()}

    def build(self, name: str, **changes: Any) -> tuple[Path, dict[str, Any]]:
        """An engine of backend `name`, and the settings that it was built with."""
        path, settings = self.folder / name / "engine.json", inference(backend=name, optimization_level=1, **changes)
        workload = Workload({(64, 64): 30}, {"cpu": 8, "cuda": 8})
        engines.build(classifiers.source(self.folder / "model.safetensors")[0], path, workload, settings)
        return path, settings

    def predict(self, engine: Path) -> pd.DataFrame:
        files = [Path(path) for path in self.files.values()]
        output = engine.with_name("predictions.csv")
        predict(files[0], engine, *files[1:], CLASSES, output, 2)
        return pd.read_csv(output)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    names = [f"TRAIN/{CLASSES[number % 3]}/{number}.png" for number in range(30)]
    index = {"image": names, "partition": "TRAIN", "class": [CLASSES[number % 3] for number in range(30)], "sha256": ""}
    pd.DataFrame(index).to_csv(folder / "a.csv", index=False)
    pd.DataFrame({"image": names, "subset": ["validation", "test"] * 15}).to_csv(folder / "split.csv", index=False)
    colours = np.array([[220, 40, 40], [40, 220, 40], [40, 40, 220]])[np.arange(30) % 3]
    noise = np.random.default_rng(0).integers(-40, 36, (30, 64, 64, 3))
    np.save(folder / "a.npy", np.clip(colours[:, None, None] + noise, 0, 255).astype(np.uint8))
    model = classifiers.build(len(CLASSES), 0, None)
    centre_head(model, torch.from_numpy(np.load(folder / "a.npy")))
    classifiers.save(model.state_dict(), classifiers.Description(tuple(CLASSES), 64), folder / "model.safetensors")
    return Run(folder)


def centre_head(model: torch.nn.Module, images: torch.Tensor) -> None:
    """Set the head so that each colour gets its own class with some margin: the weights are the mean features."""
    features: list[torch.Tensor] = []
    hook = model.avgpool.register_forward_hook(lambda module, given, output: features.append(output.flatten(1)))
    with torch.inference_mode():
        model.eval()(images)
    hook.remove()
    means = torch.stack([features[0][colour::3].mean(0) for colour in range(3)])
    apart = means - means.mean(0)
    with torch.no_grad():
        model.fc.weight.copy_(apart / apart.square().sum(1, keepdim=True) * 4)
        model.fc.bias.copy_(-(model.fc.weight @ means.mean(0)))


@pytest.mark.gpu(verifies="that an engine of ResNet-50 predicts the network's classes and passes the quality check")
def test_an_engine_predicts_the_same_classes_as_the_network(run: Run, backend: str) -> None:
    exact = run.predict(run.build("eager", precision="fp32")[0])
    path, settings = run.build(backend, precision="fp16")
    predicted = run.predict(path)
    assert sorted(predicted["predicted"].unique()) == sorted(CLASSES)
    pd.testing.assert_frame_equal(predicted[["image", "class", "predicted"]], exact[["image", "class", "predicted"]])
    np.testing.assert_allclose(predicted[CLASSES], exact[CLASSES], atol=0.02)
    compare = partial(compare_classifier, path, *map(Path, run.files.values()), CLASSES, 512)
    quality = pass_gate(path, compare, settings["tolerances"], path.with_name("quality.json"))
    assert (quality["passed"], quality["reference"], quality["changed_labels"]) == (True, False, 0)
