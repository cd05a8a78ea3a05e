"""Compile a network to the file that a server loads, and load that file to check it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wbcsr.engines.backends import BACKENDS
from wbcsr.engines.tensorrt import call_checked, timing_cache
from wbcsr.errors import InputError
from wbcsr.files import replacing, write_bytes

# Names that the server's PyTorch backend gives to the first input and output of a package without names
# (pytorch_backend's README, "Ordinal Base I/O Names"); a TensorRT plan gets the same.
INPUT, OUTPUT = "INPUT__0", "OUTPUT__0"


@dataclass(frozen=True)
class Format:
    """A kind of served program: the server's backend and platform, the file name, and the backend that compiles it."""

    backend: str
    platform: str
    file: str
    compiler: str


PLAN = Format("tensorrt", "tensorrt_plan", "model.plan", "tensorrt")
PACKAGE = Format("pytorch", "torch_aoti", "model.pt2", "inductor")


def format_for(backend: str) -> Format:
    """Return the format for a network whose engine uses `backend`: a TensorRT plan or an AOTInductor package."""
    return PLAN if backend == "tensorrt" else PACKAGE


def compile_program(
    network: nn.Module,
    size: tuple[int, int],
    batch: int,
    precision: str,
    kind: Format,
    inference: Mapping[str, Any],
    device: torch.device,
    path: Path,
) -> None:
    """Compile `network` (on `device`) to a program for 1 to `batch` (at least 2) images of `size`.

    The network takes (n, *size, 3) uint8 and computes in `precision`; `inference` is the section of the configuration.
    Raises InputError if the compiler cannot run here.
    """
    compiler = BACKENDS[kind.compiler]
    reason = compiler.unavailable(device)
    if reason:
        raise InputError(f"{path}: a {kind.platform} program cannot be compiled here: {reason}")
    settings = compiler.settings(inference, device, precision)
    images = torch.zeros((batch, *size, 3), dtype=torch.uint8, device=device)
    exported = torch.export.export(
        network, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=batch)},)
    )
    if kind is PACKAGE:
        with replacing(path) as beside:
            torch._inductor.aoti_compile_and_package(exported, package_path=str(beside), inductor_configs=settings)
    else:
        write_bytes(path, build_plan(exported, images, settings))


def build_plan(exported: torch.export.ExportedProgram, images: Tensor, settings: Mapping[str, Any]) -> bytes:
    """Return a serialized TensorRT engine for a batch of 1 to len(`images`), tuned for the largest batch."""
    import torch_tensorrt

    _register_cast_to_uint8()
    shape = tuple(images.shape)
    inputs = torch_tensorrt.Input(min_shape=(1, *shape[1:]), opt_shape=shape, max_shape=shape, dtype=images.dtype)
    device = torch.device("cuda", torch.cuda.current_device())
    with timing_cache(device) as timings:
        plan = call_checked(
            torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine,
            exported,
            arg_inputs=[inputs],
            arg_input_binding_names=(INPUT,),
            output_binding_names=OUTPUT,
            device=device,
            timing_cache_path=str(timings),
            **settings,
        )
    return bytes(plan)


def load_program(path: Path, kind: Format) -> Callable[[Tensor], Tensor]:
    """Load a program from its file, as a server does: (n, height, width, 3) uint8 on its device → its output."""
    return torch._inductor.aoti_load_package(str(path)) if kind is PACKAGE else Plan(path)


class Plan:
    """A TensorRT plan run by TensorRT itself. Raises InputError if TensorRT on this machine cannot load it."""

    def __init__(self, path: Path) -> None:
        import tensorrt

        engine = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR)).deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise InputError(f"{path}: TensorRT {tensorrt.__version__} cannot load it; export it again on this machine")
        self._context = engine.create_execution_context()
        self._output = torch.uint8 if engine.get_tensor_dtype(OUTPUT) == tensorrt.uint8 else torch.float32

    def __call__(self, images: Tensor) -> Tensor:
        images = images.contiguous()
        self._context.set_input_shape(INPUT, tuple(images.shape))
        output = torch.empty(tuple(self._context.get_tensor_shape(OUTPUT)), dtype=self._output, device=images.device)
        self._context.set_tensor_address(INPUT, images.data_ptr())
        self._context.set_tensor_address(OUTPUT, output.data_ptr())
        stream = torch.cuda.current_stream(images.device)
        if not self._context.execute_async_v3(stream.cuda_stream):
            raise RuntimeError(f"TensorRT did not run a batch of {tuple(images.shape)}")
        stream.synchronize()
        return output


@cache
def _register_cast_to_uint8() -> None:
    """Register the cast to uint8, which TensorRT supports for outputs but Torch-TensorRT 2.14 rejects."""
    import tensorrt
    from torch_tensorrt.dynamo.conversion import dynamo_tensorrt_converter

    @dynamo_tensorrt_converter(
        torch.ops.aten._to_copy.default,
        capability_validator=lambda node, settings: node.kwargs.get("dtype") == torch.uint8,
        supports_dynamic_shapes=True,
    )
    def to_bytes(context: Any, target: Any, arguments: Any, keywords: Any, name: str) -> Any:
        layer = context.net.add_cast(arguments[0], tensorrt.uint8)
        layer.name = name
        return layer.get_output(0)
