"""Programs that upscale images with the same network, each called as its users do: bytes in, bytes out.

Packages are imported inside functions, so that a process loads only those of its own implementation.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from wbcsr import imaging
from wbcsr.benchmark.workers import Run, missing, timed
from wbcsr.provenance import version

if TYPE_CHECKING:
    from wbcsr.upscale.upscaler import SuperResolution

Images = list[np.ndarray]
Enlarge = Callable[[Images], Images]


@dataclass(frozen=True)
class Case:
    """What is upscaled, with which network and how many threads.

    `files` are RGB images of one `size` (height, width). `weights` is a file written by `store.fetch`; its network
    upscales `scale` times. `inference` is the section of the configuration. Implementations write what they build to
    `folder`.
    """

    weights: Path
    scale: int
    files: Sequence[Path]
    size: tuple[int, int]
    threads: int
    inference: Mapping[str, Any]
    folder: Path

    def images(self) -> Images:
        """Return the images, each (height, width, 3) uint8 RGB."""
        return [imaging.to_rgb8(imaging.read_image(path)) for path in self.files]


@dataclass(frozen=True)
class Extra:
    """Further results of a run: images (first run only), seconds of the network alone, GPU memory in MiB."""

    images: Images | None = None
    network_seconds: float | None = None
    gpu_mib: float | None = None


class Implementation(Protocol):
    """One program in one precision; `device` is cpu or cuda."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def device(self) -> str: ...

    def unavailable(self) -> str | None:
        """Return the reason why it cannot run here, or None."""

    def build(self, case: Case) -> None:
        """Write what `load` needs to `case.folder`; runs in a separate process, whose memory is not counted."""

    def load(self, case: Case) -> Enlarge:
        """Return a function that maps images (height, width, 3) uint8 RGB to images `scale` times as high and wide."""


@dataclass(frozen=True)
class Ours:
    """This project's upscaler with one of its backends."""

    backend: str
    precision: str
    device: str

    @property
    def name(self) -> str:
        return f"ours, {self.backend}"

    @property
    def version(self) -> str:
        return f"torch {version('torch')}"

    def unavailable(self) -> str | None:
        import torch

        from wbcsr.engines.backends import BACKENDS

        return BACKENDS[self.backend].unavailable(torch.device(self.device))

    def build(self, case: Case) -> None:
        import torch

        from wbcsr.engines.engine import build
        from wbcsr.engines.source import Workload
        from wbcsr.upscale import upscaler

        torch.set_num_threads(case.threads)
        path = self.engine(case)
        if not path.is_file():
            workload = Workload({case.size: len(case.files)}, upscaler.batches(case.inference))
            build(upscaler.source(case.weights)[0], path, workload, self._inference(case))

    def load(self, case: Case) -> SuperResolution:
        """Load the engine that `build` wrote, as a job of the workflow does."""
        import torch

        from wbcsr.engines.engine import load
        from wbcsr.job import keep_large_blocks
        from wbcsr.upscale import upscaler

        keep_large_blocks()
        torch.set_num_threads(case.threads)
        source, architecture = upscaler.source(case.weights)
        engine = load(source, self.engine(case))
        tile, overlap = (case.inference[key] for key in ("tile", "overlap"))
        return upscaler.SuperResolution(engine, architecture, architecture.scale, tile, overlap)

    def _inference(self, case: Case) -> dict[str, Any]:
        return {**case.inference, "backend": self.backend, "precision": self.precision}

    def engine(self, case: Case) -> Path:
        from wbcsr.upscale import upscaler

        # As in `build`: a batch has no more images than there are.
        batch = min(len(case.files), upscaler.batches(case.inference)[self.device])
        return case.folder / f"{self.backend}_{self.precision}_{batch}" / "engine.json"


@dataclass(frozen=True)
class RealESRGANer:
    """Real-ESRGAN's own program, with the settings of its command line: no tiles, fp16 on a GPU."""

    precision: str
    device: str
    name = "RealESRGANer"

    @property
    def version(self) -> str:
        return f"realesrgan {version('realesrgan')}"

    def unavailable(self) -> str | None:
        return missing("realesrgan")

    def build(self, case: Case) -> None:
        import torch

        from wbcsr.weights import store

        network, _ = store.load(case.weights)
        torch.save({"params_ema": network.state_dict()}, case.folder / "realesrganer.pth")

    def load(self, case: Case) -> Enlarge:
        import cv2
        import torch

        from wbcsr.weights import store

        torch.set_num_threads(case.threads)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        network, _ = store.load(case.weights)
        from realesrgan import RealESRGANer as Tool

        tool = Tool(
            scale=case.scale,
            model_path=str(case.folder / "realesrganer.pth"),
            model=network,
            pre_pad=0,
            half=self.precision == "fp16",
            device=self.device,
        )

        def enlarge(images: Images) -> Images:
            enlarged = [tool.enhance(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[0] for image in images]
            return [cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in enlarged]

        return enlarge


@dataclass(frozen=True)
class Ncnn:
    """ncnn on the CPU, with packed layouts and Winograd's algorithm; `param` and `model` are the files of the model."""

    precision: str
    param: Path | None
    model: Path | None
    name = "ncnn"
    device = "cpu"

    @property
    def version(self) -> str:
        return f"ncnn {version('ncnn')}"

    def unavailable(self) -> str | None:
        no_model = None if self.param else "only x4plus is available in ncnn's format"
        return missing("ncnn") or no_model

    def build(self, case: Case) -> None:
        """Do nothing: the package with the weights contains the model."""

    def load(self, case: Case) -> Enlarge:
        import ncnn

        net = ncnn.Net()
        net.opt.num_threads = case.threads
        net.opt.use_vulkan_compute = False
        net.opt.use_packing_layout = net.opt.use_winograd_convolution = net.opt.use_sgemm_convolution = True
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_bf16_packed = net.opt.use_bf16_storage = self.precision == "bf16"
        if net.load_param(str(self.param)) or net.load_model(str(self.model)):
            raise RuntimeError("ncnn cannot read its model")
        first, last = net.input_names()[0], net.output_names()[0]
        scaling = [1 / 255] * 3

        def enlarge(image: np.ndarray) -> np.ndarray:
            height, width = image.shape[:2]
            pixels = ncnn.Mat.from_pixels(image, ncnn.Mat.PixelType.PIXEL_RGB, width, height)
            pixels.substract_mean_normalize([], scaling)
            extractor = net.create_extractor()
            extractor.input(first, pixels)
            status, output = extractor.extract(last)
            if status:
                raise RuntimeError(f"ncnn ended with status {status}")
            return _to_bytes(np.asarray(output))

        return lambda images: [enlarge(image) for image in images]


@dataclass(frozen=True)
class OnnxRuntime:
    """onnxruntime on the CPU, with all graph optimisations."""

    precision = "fp32"
    name = "onnxruntime"
    device = "cpu"

    @property
    def version(self) -> str:
        return f"onnxruntime {version('onnxruntime')}"

    def unavailable(self) -> str | None:
        return missing("onnxruntime") or missing("onnxscript")

    def build(self, case: Case) -> None:
        _export(case)

    def load(self, case: Case) -> Enlarge:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = case.threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = onnxruntime.InferenceSession(str(_onnx(case)), options, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        return lambda images: [_to_bytes(session.run(None, {given.name: _to_batch(image)})[0][0]) for image in images]


@dataclass(frozen=True)
class OpenVino:
    """OpenVINO on the CPU, optimised for latency (one image) or throughput (several)."""

    precision: str
    name = "OpenVINO"
    device = "cpu"

    @property
    def version(self) -> str:
        return f"openvino {version('openvino')}"

    def unavailable(self) -> str | None:
        return missing("openvino") or missing("onnxscript")

    def build(self, case: Case) -> None:
        _export(case)

    def load(self, case: Case) -> Enlarge:
        import openvino

        settings = {
            "PERFORMANCE_HINT": "LATENCY" if len(case.files) == 1 else "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[self.precision],
            "INFERENCE_NUM_THREADS": case.threads,
        }
        program = openvino.compile_model(_onnx(case), "CPU", settings)
        queue = openvino.AsyncInferQueue(program)

        def enlarge(images: Images) -> Images:
            enlarged: dict[int, np.ndarray] = {}

            def keep(request: Any, number: int) -> None:
                enlarged[number] = _to_bytes(request.get_output_tensor().data[0])

            queue.set_callback(keep)
            for number, image in enumerate(images):
                queue.start_async([_to_batch(image)], number)
            queue.wait_all()
            return [enlarged[number] for number in range(len(images))]

        return enlarge


def make_enlarging(implementation: Implementation, case: Case, kept: int) -> Callable[[], Run]:
    """In a worker: return a function that upscales all images of the case; its first run keeps the first `kept`."""
    enlarge, images = implementation.load(case), case.images()
    # Warm-up: choice of algorithms, allocation, compilation, and clock rate of a GPU.
    enlarge(images if implementation.device == "cuda" else images[:1])
    asked = itertools.count()

    def run() -> Run:
        done = timed(enlarge, images)
        first = next(asked) == 0
        return Run(done.seconds, Extra(done.found[:kept] if first else None, gpu_mib=_gpu_mib(implementation)))

    return run


def make_files(implementation: Ours, case: Case, shard: int = 1, shards: int = 1) -> Callable[[], Run]:
    """In a worker: return a function that upscales a shard from file to file, as a job does, and times the network.

    The manifest of the images is in the folder of the case's files.
    """
    from wbcsr.benchmark.clocks import device_clock
    from wbcsr.upscale.shard import upscale_shard
    from wbcsr.upscale.store import ledger_path

    enlarger = implementation.load(case)
    engine, clock = enlarger.engine, device_clock(enlarger.engine.device)
    marks: list[tuple[Any, Any]] = []

    def watched(batch: Any) -> Any:
        start = clock.mark()
        output = engine.run(batch)
        marks.append((start, clock.mark()))
        return output

    enlarger.engine = replace(engine, run=watched)
    enlarger(case.images()[:1])
    source = case.files[0].with_name("manifest.csv")
    folder = case.folder / f"enlarged_{implementation.backend}_{implementation.precision}"
    target = folder / f"manifest_{shard}of{shards}.csv"

    def run() -> Run:
        marks.clear()
        ledger_path(target).unlink(missing_ok=True)
        done = timed(upscale_shard, source, target, shard, shards, enlarger, case.threads)
        return Run(done.seconds, Extra(None, sum(clock.seconds(*pair) for pair in marks), _gpu_mib(implementation)))

    return run


def _gpu_mib(implementation: Implementation) -> float | None:
    """Return the maximum GPU memory that PyTorch reserved in this process (MiB); None on a CPU."""
    if implementation.device != "cuda":
        return None
    import torch

    return torch.cuda.max_memory_reserved() / 2**20


def _onnx(case: Case) -> Path:
    return case.folder / "onnx_{}x{}".format(*case.size) / "network.onnx"


def _export(case: Case) -> None:
    """Export the network to ONNX for one image of the case's size, once for all implementations that use it."""
    import torch

    from wbcsr.upscale import upscaler

    path = _onnx(case)
    if path.is_file():
        return
    torch.set_num_threads(case.threads)
    source, _ = upscaler.source(case.weights)
    path.parent.mkdir(parents=True)
    beside = path.with_name("exported.onnx")
    torch.onnx.export(source.network, (torch.rand(1, 3, *case.size),), beside, dynamo=True, verbose=False)
    os.replace(beside, path)


def _to_batch(image: np.ndarray) -> np.ndarray:
    """(height, width, 3) uint8 → (1, 3, height, width) float32, 0 to 1."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def _to_bytes(output: np.ndarray) -> np.ndarray:
    """(3, height, width) float, 0 to 1 → (height, width, 3) uint8, rounded."""
    return np.rint(output.clip(0, 1) * np.float32(255)).astype(np.uint8).transpose(1, 2, 0)
