"""TensorRT engines, built with Torch-TensorRT: the whole network becomes one engine, or there is an error."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from wbcsr.engines.backend import Program, example_for
from wbcsr.engines.profile import Profile
from wbcsr.errors import InputError
from wbcsr.files import replacing, scratch_folder
from wbcsr.provenance import version

INSTALL = "install envs/gpu.txt (`make setup-gpu`) or use envs/gpu.yaml"
_CALL, _ENGINE = "call_module", "_run_on_acc"
# TensorRT does not allocate through PyTorch. These are its logger and messages if memory is too small to build an
# engine,
# and the message of its runtime if memory is too small to run one.
_TENSORRT_LOG = "torch_tensorrt [TensorRT Conversion Context]"
_NO_MEMORY = ("OutOfMemory", "within workspace limit")
NO_CONTEXT = "Unable to (re)create TensorRT execution context"


class TensorRT:
    """Torch-TensorRT with strong typing: an engine keeps the precision of the network's tensors."""

    name = "tensorrt"
    compiles = True
    packages: tuple[str, ...] = ("torch", "torch-tensorrt", "tensorrt")
    precisions: tuple[str, ...] | None = None
    tensors: torch.dtype | None = None

    def unavailable(self, device: torch.device) -> str | None:
        if device.type != "cuda":
            return "tensorrt needs an NVIDIA GPU and a driver, and PyTorch finds none; choose auto, eager or inductor"
        if importlib.util.find_spec("torch_tensorrt") is None:
            return f"the package torch-tensorrt is not installed; {INSTALL}"
        missing = [package for package in self.packages if not version(package)]
        if missing:
            return f"the package {missing[0]} is not installed (torch-tensorrt-rtx only checks engines); {INSTALL}"
        return None

    def unsuited(self, network: nn.Module) -> str | None:
        return None

    def memory_format(self, device: torch.device, dtype: torch.dtype) -> torch.memory_format:
        # TensorRT chooses the layout of inner tensors itself; inputs and outputs are NCHW.
        return torch.contiguous_format

    def settings(self, inference: Mapping[str, Any], device: torch.device, precision: str) -> dict[str, Any]:
        gib = inference["workspace_gib"]
        return {
            "require_full_compilation": True,
            "pass_through_build_failures": True,
            "min_block_size": 1,
            "optimization_level": inference["optimization_level"],
            "workspace_size": 0 if gib is None else int(gib * 2**30),
            # With TF32, fp32 would have only ten bits of mantissa.
            "disable_tf32": precision == "fp32",
        }

    def compile(self, network: nn.Module, profile: Profile, program: Path, settings: Mapping[str, Any]) -> None:
        import torch_tensorrt

        example = example_for(network, profile, self)
        exported = torch.export.export(network, (example,), dynamic_shapes=profile.dynamic_shapes())
        with timing_cache(example.device) as timings, _detect_out_of_memory():
            compiled = call_checked(
                torch_tensorrt.dynamo.compile,
                exported,
                [_input(example, profile)],
                device=example.device,
                timing_cache_path=str(timings),
                **settings,
            )
        require_one_engine(compiled)
        with replacing(program) as beside:
            call_checked(
                torch_tensorrt.save,
                compiled,
                str(beside),
                output_format="exported_program",
                arg_inputs=[example],
                dynamic_shapes=profile.dynamic_shapes(),
            )

    def load(self, network: nn.Module, program: Path, profile: Profile) -> Program:
        import torch_tensorrt

        module = torch_tensorrt.load(str(program)).module()
        if profile.is_fixed:
            # Applies to all engines of this process; each records a CUDA graph of its own.
            torch_tensorrt.runtime.set_cudagraphs_mode(True)

        def run(batch: torch.Tensor) -> torch.Tensor:
            try:
                return module(batch)
            except RuntimeError as error:
                if NO_CONTEXT not in str(error):
                    raise
                raise torch.OutOfMemoryError(f"TensorRT needs more memory to run {profile}") from error

        return run


def call_checked(function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """Call `function` after checking that it has all keyword arguments: Torch-TensorRT ignores unknown ones silently.

    Raises TypeError, which names the first unknown argument.
    """
    known = {
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise TypeError(f"{function.__module__}.{function.__qualname__} has no argument {unknown[0]}")
    return function(*arguments, **settings)


def require_one_engine(compiled: fx.GraphModule) -> None:
    """Raise InputError unless the whole network became one engine, with no operator left to PyTorch."""
    nodes = [node for node in compiled.graph.nodes if node.op not in ("placeholder", "output")]
    engines = [node for node in nodes if node.op == _CALL and _ENGINE in str(node.target)]
    left = [node for node in nodes if node not in engines]
    if len(engines) != 1 or left:
        names = ", ".join(str(node.target) for node in left[:3]) or "none"
        raise InputError(
            f"tensorrt: the network became {len(engines)} engines and left {len(left)} operators to PyTorch ({names}) "
            "instead of one engine; use inference.backend inductor"
        )


def _input(example: torch.Tensor, profile: Profile) -> Any:
    """Return the example itself, or the range of sizes of the profile."""
    if profile.is_fixed:
        return example
    import torch_tensorrt

    shapes = [(profile.batch, 3, *size) for size in (profile.min, profile.opt, profile.max)]
    return torch_tensorrt.Input(min_shape=shapes[0], opt_shape=shapes[1], max_shape=shapes[2], dtype=example.dtype)


@contextmanager
def timing_cache(device: torch.device) -> Iterator[Path]:
    """Yield a copy of this user's kernel timings for this GPU model; it replaces the original after the build.

    TensorRT rewrites the file in place; with a copy, simultaneous builds on a node never read a partly written file.
    """
    name = f"{torch.cuda.get_device_name(device)} {version('tensorrt')}".replace(" ", "_").replace("/", "_")
    kept = scratch_folder() / f"timings_{name}.cache"
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as folder:
        copy = Path(folder) / kept.name
        if kept.is_file():
            shutil.copyfile(kept, copy)
        yield copy
        if copy.is_file():
            copy.replace(kept)


@contextmanager
def _detect_out_of_memory() -> Iterator[None]:
    """Raise torch.OutOfMemoryError if a build ran out of memory, which Torch-TensorRT's exception does not say."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    listener = Listener(logging.ERROR)
    logging.getLogger(_TENSORRT_LOG).addHandler(listener)
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        reason = next((message for message in said if any(words in message for words in _NO_MEMORY)), None)
        if reason is None:
            raise
        raise torch.OutOfMemoryError(f"TensorRT: {reason}") from error
    finally:
        logging.getLogger(_TENSORRT_LOG).removeHandler(listener)
