"""Tests of TensorRT engines that need no GPU: the calls of Torch-TensorRT and the structure of the engines.

TensorRT-RTX builds the engines for the GPU that `pretend_gpu` describes. Steps that would load or run an engine on a
GPU are replaced, as noted below; tests/gpu runs them. The full networks take two minutes on two cores:

    WBCSR_FULL_NETWORKS=1 python -m pytest tests/unit/test_tensorrt.py -k full
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from torch import fx, nn

from architectures import NETWORKS
from pretend_gpu import answering, pretend_gpu
from small_networks import inference, rrdbnet
from wbcsr import files
from wbcsr.classify import classifiers
from wbcsr.engines import tensorrt
from wbcsr.engines.capability import DTYPES
from wbcsr.engines.profile import Profile
from wbcsr.engines.tensorrt import TensorRT, call_checked, require_one_engine
from wbcsr.errors import InputError
from wbcsr.weights import store

GPU = torch.device("cuda:0")
CLASSES = ("c", "a", "b")


@dataclass
class Call:
    """A call of Torch-TensorRT: the installed function and the keywords that it received."""

    function: Callable[..., Any]
    keywords: dict[str, Any]
    result: Any = None


@dataclass
class StandIn:
    """Torch-TensorRT without the steps that need a GPU, and a record of its calls.

    `interpreter` is Torch-TensorRT's own object, which holds the network as TensorRT's builder received it; `engine` is
    the result of the builder.
    """

    calls: list[Call] = field(default_factory=list)
    interpreter: Any = None
    engine: bytes = b""

    def wrap(self, function: Callable[..., Any], **changes: Any) -> Callable[..., Any]:
        """`function` with its own signature, which records its calls and changes some keywords."""

        @functools.wraps(function)
        def noted(*arguments: Any, **keywords: Any) -> Any:
            call = Call(function, keywords)
            self.calls.append(call)
            call.result = function(*arguments, **{**keywords, **changes})
            return call.result

        return noted

    def compile(self, network: nn.Module, profile: Profile, program: Path, **settings: Any) -> Call:
        """Compile a network to its program file as the project does; returns the call of Torch-TensorRT's compiler."""
        self.calls, self.interpreter, self.engine = [], None, b""
        precision = {dtype: name for name, dtype in DTYPES.items()}[next(network.parameters()).dtype]
        chosen = TensorRT().settings(inference(optimization_level=4, workspace_gib=1.5), GPU, precision)
        TensorRT().compile(network, profile, program, {**chosen, **settings})
        return self.calls[0]


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    """Simulates the GPU: weights and example are on the CPU; the engine is built for "cuda:0" and never loaded."""
    kept = StandIn()
    with ExitStack() as replaced:
        replaced.enter_context(pretend_gpu())
        import torch_tensorrt  # this import gives TensorRT-RTX the name tensorrt
        from torch_tensorrt.dynamo.conversion._TRTInterpreter import TRTInterpreter, trt
        from torch_tensorrt.dynamo.runtime import TorchTensorRTModule

        construct, save = TRTInterpreter._construct_trt_network_def, torch_tensorrt.save

        def keep_network(interpreter: Any) -> None:
            construct(interpreter)
            kept.interpreter = interpreter

        class Runtime:
            """Keeps the engine's bytes; the real class loads them onto the GPU."""

            def __init__(self, logger: object) -> None: ...

            def deserialize_cuda_engine(self, engine: Any) -> Any:
                kept.engine = bytes(engine)
                return SimpleNamespace(serialize=lambda: kept.engine, get_aliased_input_tensor=lambda name: "")

        def leave_engine(module: Any) -> None:
            module.engine = mock.Mock()

        @functools.wraps(save)
        def save_what_can_be(module: Any, path: str, **keywords: Any) -> None:
            """A program that contains an engine can only be saved where the engine was loaded."""
            if kept.engine:
                Path(path).write_bytes(kept.engine)
            else:
                save(module, path, **keywords)

        for owner, name, substitute in [
            (torch.cuda, "get_device_name", answering("Pretended GPU 4/24")),
            (torch_tensorrt.dynamo, "compile", kept.wrap(torch_tensorrt.dynamo.compile, device=GPU)),
            (torch_tensorrt, "save", kept.wrap(save_what_can_be)),
            (TRTInterpreter, "_construct_trt_network_def", keep_network),
            (trt, "Runtime", Runtime),
            (TorchTensorRTModule, "setup_engine", leave_engine),
        ]:
            replaced.enter_context(mock.patch.object(owner, name, substitute))
        yield kept


@pytest.fixture(scope="module", autouse=True)
def own_scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("scratch")
    with mock.patch.object(tensorrt, "scratch_folder", answering(folder)):
        yield folder


def classifier(folder: Path) -> nn.Module:
    """A ResNet-50 as engines are made from it."""
    path = folder / "model.safetensors"
    classifiers.save(classifiers.build(len(CLASSES), 0, None).state_dict(), classifiers.Description(CLASSES, 64), path)
    return classifiers.source(path)[0].network


def prepared(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network.to(dtype)


FIXED, RANGE = Profile.fixed(2, 32, 48), Profile(2, (16, 24), (32, 40), (64, 56))
EVEN = Profile(3, (16, 22), (32, 40), (62, 56), multiple=2)


@pytest.mark.parametrize(
    ("name", "profile", "dtype"),
    [
        ("x4", FIXED, torch.bfloat16),
        ("x4", FIXED, torch.float32),
        ("x4", RANGE, torch.float16),
        ("x2", EVEN, torch.float16),
        ("resnet50", Profile.fixed(4, 64, 64), torch.float16),
    ],
    ids=lambda value: str(value).replace("torch.", ""),
)
def test_the_built_engine_has_the_requested_properties(
    stand_in: StandIn, tmp_path: Path, name: str, profile: Profile, dtype: torch.dtype
) -> None:
    network = prepared(classifier(tmp_path) if name == "resnet50" else rrdbnet(int(name[1])), dtype)
    call = stand_in.compile(network, profile, tmp_path / "program.pt2")
    check_network(stand_in, network, profile, dtype)
    check_calls(stand_in, call, dtype)
    assert (tmp_path / "program.pt2").read_bytes() == stand_in.engine


# Architectures that TensorRT builds in fp16; the others failed when all were tried. The first takes a second.
CONVERTED = ["Compact", "PLKSR", "RCAN", "DAT", "OmniSR", "HAT"][
    : None if os.environ.get("WBCSR_ALL_ARCHITECTURES") else 1
]


@pytest.mark.parametrize("name", CONVERTED)
def test_other_architectures_become_one_engine(stand_in: StandIn, name: str, tmp_path: Path) -> None:
    stand_in.compile(prepared(NETWORKS[name](), torch.float16), Profile.fixed(1, 48, 48), tmp_path / "program.ep")
    assert stand_in.engine


def check_network(stand_in: StandIn, network: nn.Module, profile: Profile, dtype: torch.dtype) -> None:
    """Number formats and sizes as TensorRT's builder received them, read back from it."""
    import tensorrt as trt

    wanted = {torch.float16: trt.float16, torch.bfloat16: trt.bfloat16, torch.float32: trt.float32}[dtype]
    definition = stand_in.interpreter.ctx.net
    layers = [definition.get_layer(number) for number in range(definition.num_layers)]
    formats = Counter(layer.get_output(0).dtype for layer in layers if layer.type == trt.LayerType.CONVOLUTION)
    assert formats == {wanted: sum(isinstance(module, nn.Conv2d) for module in network.modules())}
    assert {layer.get_output(0).dtype for layer in layers} <= {wanted, trt.int32, trt.int64, trt.bool}
    assert (definition.num_inputs, definition.num_outputs) == (1, 1)
    entry, result = definition.get_input(0), definition.get_output(0)
    assert (entry.dtype, result.dtype) == (wanted, wanted)
    varying = [low != high for low, high in zip(profile.min, profile.max, strict=True)]
    sides = [-1 if varies else side for varies, side in zip(varying, profile.opt, strict=True)]
    assert tuple(entry.shape) == (profile.batch, 3, *sides)
    asked = [[profile.batch, 3, *size] for size in (profile.min, profile.opt, profile.max)]
    given = [
        [list(shape) for shape in optimization.get_shape(entry.name)]
        for optimization in stand_in.interpreter.optimization_profiles or []
    ]
    assert given == ([] if profile.is_fixed else [asked])
    weights = sum(parameter.nbytes for parameter in network.parameters())
    assert len(stand_in.engine) > weights * 0.9


def check_calls(stand_in: StandIn, call: Call, dtype: torch.dtype) -> None:
    """The installed function has every keyword, and the settings reached TensorRT's builder."""
    assert [made.function.__name__ for made in stand_in.calls] == ["compile", "save"]
    for made in stand_in.calls:
        assert made.keywords
        assert made.keywords.keys() <= named(made.function)
    effective = stand_in.interpreter.compilation_settings
    for key, value in call.keywords.items():
        if key != "device":
            assert getattr(effective, key) == value
    assert (effective.optimization_level, effective.workspace_size) == (4, 3 * 2**29)
    assert effective.disable_tf32 == (dtype == torch.float32)
    assert effective.require_full_compilation
    assert not effective.enable_autocast


def named(function: Callable[..., Any]) -> set[str]:
    return {name for name, it in inspect.signature(function).parameters.items() if it.kind is not it.VAR_KEYWORD}


@pytest.mark.parametrize(
    ("name", "profile"),
    [("x4", FIXED), ("x2", FIXED), ("resnet50", Profile.fixed(2, 64, 64))],
    ids=["x4", "x2", "resnet50"],
)
def test_the_whole_network_becomes_one_engine_with_the_same_results(
    stand_in: StandIn, tmp_path: Path, name: str, profile: Profile
) -> None:
    """A dry run converts nothing, so PyTorch really saves, loads and runs its program on the CPU."""
    import torch_tensorrt

    network = prepared(classifier(tmp_path) if name == "resnet50" else rrdbnet(int(name[1])), torch.float32)
    call = stand_in.compile(network, profile, tmp_path / "program.pt2", dryrun=True)
    operators = [(node.op, str(node.target)) for node in call.result.graph.nodes]
    assert [kind for kind, _ in operators] == ["placeholder", "call_module", "output"]
    assert operators[1][1] == "_run_on_acc_0"
    assert not stand_in.engine
    try:
        run = TensorRT().load(network, tmp_path / "program.pt2", profile)
        assert torch_tensorrt.runtime.get_cudagraphs_mode()
    finally:
        torch_tensorrt.runtime.set_cudagraphs_mode(False)
    batch = torch.rand(profile.batch, 3, *profile.opt)
    with torch.inference_mode():
        torch.testing.assert_close(run(batch), network(batch))


def test_an_operator_left_to_pytorch_is_rejected(stand_in: StandIn, tmp_path: Path) -> None:
    left = {"torch.ops.aten.leaky_relu.default"}
    with pytest.raises(InputError, match=r"left \d+ operators to PyTorch .* use inference\.backend inductor"):
        stand_in.compile(
            prepared(rrdbnet(), torch.float32),
            FIXED,
            tmp_path / "program.pt2",
            dryrun=True,
            torch_executed_ops=left,
            require_full_compilation=False,
        )
    assert not (tmp_path / "program.pt2").exists()


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (["_run_on_acc_0"], None),
        (["_run_on_acc_0", "_run_on_acc_1"], "became 2 engines and left 0 operators to PyTorch"),
        (["_run_on_acc_0", "_run_on_gpu_1"], r"became 1 engines and left 1 operators to PyTorch \(_run_on_gpu_1\)"),
        (["_run_on_acc_0", torch.relu], r"became 1 engines and left 1 operators .*relu"),
        ([torch.relu], "became 0 engines and left 1 operators"),
        ([], "became 0 engines"),
    ],
    # No addresses of functions, because all processes that run the tests must use the same names.
    ids=["one", "two", "one and a submodule", "one and a function", "a function", "none"],
)
def test_a_program_must_consist_of_one_engine(targets: list[Any], words: str | None) -> None:
    graph = fx.Graph()
    value = graph.placeholder("batch")
    root = nn.Module()
    for target in targets:
        if isinstance(target, str):
            root.add_module(target, nn.Identity())
            value = graph.call_module(target, (value,))
        else:
            value = graph.call_function(target, (value,))
    graph.output(value)
    compiled = fx.GraphModule(root, graph)
    if words is None:
        require_one_engine(compiled)
    else:
        with pytest.raises(InputError, match=words):
            require_one_engine(compiled)


@pytest.mark.parametrize(
    "misspelt", ["enabled_precisions", "use_explicit_typing", "timing_cache", "optimisation_level"]
)
def test_a_keyword_that_torch_tensorrt_would_ignore_is_rejected(stand_in: StandIn, misspelt: str) -> None:
    import torch_tensorrt

    compiler = inspect.unwrap(torch_tensorrt.dynamo.compile)
    assert misspelt not in named(compiler)
    inspect.signature(compiler).bind(None, [], **{misspelt: None})  # accepted without an error
    with pytest.raises(TypeError, match=f"compile has no argument {misspelt}"):
        call_checked(compiler, None, [], **{misspelt: None})


@pytest.mark.parametrize(
    "images",
    [{(1, 1): 9, (20, 1): 2, (24, 30): 1}, {(24, 16): 1, (24, 40): 1}],
    ids=["from the smallest", "one side varies"],
)
@pytest.mark.parametrize("scale", [2, 4])
def test_a_program_accepts_all_sizes_of_its_profile(scale: int, images: dict[tuple[int, int], int]) -> None:
    profile = Profile.covering(1, images, {2: 2, 4: 1}[scale], 64, fix=False)
    network = prepared(rrdbnet(scale), torch.float32)
    example = profile.example(torch.float32, torch.device("cpu"), torch.contiguous_format)
    exported = torch.export.export(network, (example,), dynamic_shapes=profile.dynamic_shapes()).module()
    for size in (profile.min, profile.opt, profile.max):
        assert exported(torch.rand(1, 3, *size)).shape == (1, 3, size[0] * scale, size[1] * scale)


@pytest.mark.parametrize(("mebibytes", "words"), [(1, "within workspace limit"), (12, "OutOfMemory")])
def test_too_little_memory_for_building_is_reported_as_out_of_memory(
    stand_in: StandIn, tmp_path: Path, mebibytes: int, words: str
) -> None:
    """The batch is then halved. The memory error of TensorRT-RTX's builder is real."""
    with pytest.raises(torch.OutOfMemoryError, match=rf"^TensorRT: .*{words}"):
        stand_in.compile(
            prepared(rrdbnet(), torch.float16), FIXED, tmp_path / "program.pt2", workspace_size=mebibytes * 2**20
        )
    assert not list(tmp_path.iterdir())


def test_a_build_that_fails_for_another_reason_keeps_its_error() -> None:
    def fail() -> None:
        with tensorrt._detect_out_of_memory():
            logging.getLogger("torch_tensorrt [TensorRT Conversion Context]").error("Error Code 10: Internal Error")
            raise RuntimeError("no engine")

    with pytest.raises(RuntimeError, match="no engine") as caught:
        fail()
    assert caught.type is RuntimeError


def test_too_little_memory_for_running_is_reported_as_out_of_memory(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program is replaced: TensorRT allocates memory without PyTorch, and its runtime error names no cause."""
    import torch_tensorrt

    runtime = Path(torch_tensorrt.__file__).parent / "lib" / "libtorchtrt_runtime.so"
    assert tensorrt.NO_CONTEXT.encode() in runtime.read_bytes()
    network, profile = prepared(rrdbnet(), torch.float32), Profile(1, (8, 8), (8, 8), (16, 16))
    for message, expected in [(f"[Error] {tensorrt.NO_CONTEXT}", torch.OutOfMemoryError), ("misaligned", RuntimeError)]:
        failing = mock.Mock(side_effect=RuntimeError(message))
        monkeypatch.setattr(torch_tensorrt, "load", answering(SimpleNamespace(module=answering(failing))))
        with pytest.raises(RuntimeError) as caught:
            TensorRT().load(network, Path("program.pt2"), profile)(torch.rand(1, 3, 8, 8))
        assert caught.type is expected


class TestTimings:
    """The timing cache, which a successful build writes."""

    @pytest.fixture(autouse=True)
    def _gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_name", answering("Pretended GPU 4/24"))

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(tensorrt, "scratch_folder", lambda: tmp_path)
        return tmp_path

    def contents(self, folder: Path) -> dict[str, str]:
        return {path.name: path.read_text() for path in folder.iterdir()}

    def test_timings_are_stored_by_gpu_and_version(self, folder: Path) -> None:
        for expected, content in [(None, "one"), ("one", "two"), ("two", "three")]:
            with tensorrt.timing_cache(GPU) as path:
                assert (path.read_text() if path.exists() else None) == expected
                path.write_text(content)
        (name,) = self.contents(folder)
        assert name.startswith("timings_Pretended_GPU_4_24_")
        with (
            mock.patch.object(torch.cuda, "get_device_name", answering("Another")),
            tensorrt.timing_cache(GPU) as path,
        ):
            assert not path.exists()

    def test_a_failed_build_does_not_change_the_timings(self, folder: Path) -> None:
        with tensorrt.timing_cache(GPU) as path:
            path.write_text("old")

        def fail() -> None:
            with tensorrt.timing_cache(GPU) as path:
                path.write_text("ha")
                raise RuntimeError("no engine")

        with pytest.raises(RuntimeError, match="no engine"):
            fail()
        assert list(self.contents(folder).values()) == ["old"]

    def test_simultaneous_builds_never_read_half_a_file(self, folder: Path) -> None:
        """Four builds write their files in two parts, as TensorRT does; each of them reads only complete files."""
        seen: list[str] = []

        def build(letter: str) -> None:
            for _ in range(25):
                with tensorrt.timing_cache(GPU) as path:
                    seen.append(path.read_text() if path.exists() else "")
                    with open(path, "w") as file:
                        file.write(letter * 5000)
                        file.flush()
                        file.write(letter * 5000)

        builds = [threading.Thread(target=build, args=(letter,)) for letter in "abcd"]
        for thread in builds:
            thread.start()
        for thread in builds:
            thread.join()
        assert len(seen) == 100
        assert {(len(content), len(set(content))) for content in seen} <= {(0, 0), (10_000, 1)}
        assert len(self.contents(folder)) == 1

    def test_the_folder_of_timings_belongs_to_this_user_only(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        monkeypatch.setattr(tensorrt, "scratch_folder", files.scratch_folder)
        with tensorrt.timing_cache(GPU) as path:
            path.write_text("timings")
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        somebody = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: somebody)
        (tmp_path / f"wbcsr-{somebody}").mkdir()
        with pytest.raises(InputError, match="belongs to another user; set TMPDIR"), tensorrt.timing_cache(GPU):
            pass


@pytest.mark.parametrize(
    ("device", "installed", "words"),
    [
        ("cpu", {}, "needs an NVIDIA GPU and a driver, and PyTorch finds none; choose auto, eager or inductor"),
        ("cuda", {}, r"the package torch-tensorrt is not installed.*envs/gpu\.txt"),
        ("cuda", {"torch": "1"}, r"the package torch-tensorrt is not installed.*envs/gpu\.txt"),
        ("cuda", {"torch": "1", "torch-tensorrt": "1"}, r"the package tensorrt is not installed"),
        ("cuda", {"torch": "1", "torch-tensorrt": "1", "tensorrt": "1"}, None),
    ],
)
def test_the_reason_why_tensorrt_cannot_run(
    monkeypatch: pytest.MonkeyPatch, device: str, installed: dict[str, str], words: str | None
) -> None:
    monkeypatch.setattr(tensorrt, "version", installed.get)
    monkeypatch.setattr(tensorrt.importlib.util, "find_spec", lambda name: True if installed else None)
    reason = TensorRT().unavailable(torch.device(device))
    if words is None:
        assert reason is None
    else:
        assert reason is not None
        assert re.search(words, reason)
        assert "\n" not in reason


def test_torch_tensorrt_is_not_imported_before_it_is_used() -> None:
    """The import takes ten seconds, and fails without a driver."""
    scripts = Path(tensorrt.__file__).parents[2]
    code = "import sys, wbcsr.engines.engine, wbcsr.engines.backends; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], cwd=scripts, capture_output=True, text=True, check=True)
    modules = set(output.stdout.split())
    assert "wbcsr.engines.tensorrt" in modules
    assert not modules & {"torch_tensorrt", "tensorrt", "tensorrt_rtx"}


@pytest.mark.skipif(
    "WBCSR_FULL_NETWORKS" not in os.environ, reason="only small networks were built: set WBCSR_FULL_NETWORKS=1"
)
@pytest.mark.parametrize("name", ["x4plus", "resnet50"])
def test_the_full_networks_are_built(
    stand_in: StandIn, tmp_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    """RRDBNet with all 23 blocks and ResNet-50 in fp16, at the study's sizes."""
    if name == "x4plus":
        network, profile = store.load(request.getfixturevalue("x4plus"))[0], Profile.fixed(8, 240, 320)
    else:
        network, profile = classifier(tmp_path), Profile.fixed(256, 224, 224)
    network = prepared(network, torch.float16)
    stand_in.compile(network, profile, tmp_path / "program.pt2", workspace_size=0)
    check_network(stand_in, network, profile, torch.float16)
    print(f"{name}: {len(stand_in.engine) / 1e6:.1f} MB, {stand_in.interpreter.ctx.net.num_layers} layers")
