"""The backend `triton`: its kernel under the interpreter and compiled for each GPU, its memory, and its choices."""

from __future__ import annotations

import re
import subprocess
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import convolution_checks
import interpreted
from compile_only import compile_only
from small_networks import inference, rrdbnet, workload, write_compact, write_weights
from wbcsr.benchmark import layer_times
from wbcsr.benchmark.implementations import Case, Ours
from wbcsr.classify import classifiers
from wbcsr.engines import choice
from wbcsr.engines.backends import BACKENDS
from wbcsr.engines.profile import Profile
from wbcsr.engines.pytorch import Eager
from wbcsr.engines.trace import trace
from wbcsr.engines.triton.layers import Layer, Place, plan
from wbcsr.engines.triton.tiles import LEAST_SHARED_KIB, SHARED_KIB, tiles_for
from wbcsr.errors import InputError
from wbcsr.files import write_json
from wbcsr.upscale import upscaler

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
BACKEND = BACKENDS["triton"]
# The instruction of the tensor cores, by compute capability.
INSTRUCTIONS = {
    80: "mma.sync",
    86: "mma.sync",
    89: "mma.sync",
    90: "wgmma.mma_async",
    100: "tcgen05.mma",
    120: "mma.sync",
}


@pytest.mark.skipif(
    tuple(map(int, metadata.version("triton").split(".")[:2])) < (3, 8),
    reason="not interpreted: the interpreter of Triton 3.6 cannot count up to an argument of the kernel",
)
def test_the_kernel_under_the_interpreter(tmp_path: Path) -> None:
    interpreted.run(convolution_checks, tmp_path)


# Compilation


def launch(layer: Layer, capability: int, dtype: torch.dtype, size: tuple[int, int]) -> None:
    """Launch a layer with its default tile."""
    from wbcsr.engines.triton.kernels import convolve

    images = torch.zeros(1, *size, 192, dtype=dtype)
    target = images if layer.target else torch.zeros(1, *size, 3, dtype=dtype)
    tile = tiles_for(layer, capability)[0]
    matrices = torch.zeros(9, layer.inputs, layer.columns, dtype=dtype), torch.zeros(layer.columns)
    convolve(layer, tile, images, matrices, target, [images] * len(layer.addends))


def resources(binary: bytes, folder: Path) -> dict[str, int]:
    """Registers, stack, shared and local memory of a compiled program."""
    import triton.backends.nvidia

    (folder / "program.cubin").write_bytes(binary)
    tool = Path(str(triton.backends.nvidia.__file__)).with_name("bin") / "cuobjdump"
    command = [tool, "--dump-resource-usage", folder / "program.cubin"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in re.findall(r"\b(REG|STACK|SHARED|LOCAL):(\d+)", printed)}


@pytest.mark.parametrize("capability", INSTRUCTIONS)
def test_every_layer_compiles_to_tensor_core_instructions_without_spills(
    capability: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All layers of x4plus in fp16, and in bf16 where the wide ones need most registers."""
    programs = compile_only(monkeypatch, tmp_path)(capability)
    layers = {layer.shape: layer for layer in plan(trace(rrdbnet(4))).layers}
    # The layers of a dense block with 32 outputs share one program: the number of inputs is an argument.
    wanted = [shape for shape in layers if not re.match("(96|128|160) to 32", shape)]
    launches = [(shape, torch.float16) for shape in wanted]
    launches += [(shape, torch.bfloat16) for shape in wanted if shape.endswith("addends: 2")]
    assert len(launches) == 10
    shared = 1024 * SHARED_KIB.get(capability, LEAST_SHARED_KIB)
    for shape, dtype in launches:
        launch(layers[shape], capability, dtype, (20, 48))
        program = programs[-1]
        used = resources(program.asm["cubin"], tmp_path)
        assert used["STACK"] == used["LOCAL"] == 0, f"{shape} {dtype} spills registers: {used}"
        assert 0 < used["REG"] <= 255
        assert program.metadata.shared <= shared
        assert re.search(rf"\b{re.escape(INSTRUCTIONS[capability])}", program.asm["ptx"]), shape
        # A half of the next step's loads is in flight during the products.
        assert "cp.async" in program.asm["ptx"], shape
    assert len(programs) == len(launches)


def test_one_program_serves_every_image_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    programs = compile_only(monkeypatch, tmp_path)(90)
    layer = plan(trace(rrdbnet(4))).layers[1]
    for size in ((1, 1), (16, 16), (17, 23), (2, 320)):
        launch(layer, 90, torch.float16, size)
    assert len({program.hash for program in programs}) == 1


# Memory


def test_a_dense_block_works_in_one_buffer_and_nothing_is_copied() -> None:
    """A short network and the full one need the same buffers, as those of earlier blocks are used again."""
    for blocks in (2, 23):
        planned = plan(trace(rrdbnet(4, blocks=blocks)))
        block = planned.layers[6:11]
        assert [layer.inputs for layer in block] == [64, 96, 128, 160, 192]
        assert {layer.source for layer in block} == {Place(block[0].source.buffer, 0)}
        assert [layer.target for layer in block[:4]] == [
            Place(block[0].source.buffer, offset) for offset in (64, 96, 128, 160)
        ]
        assert block[4].target is not None
        assert block[4].target.buffer != block[0].source.buffer
        assert [buffer.channels for buffer in planned.buffers if buffer.scale == 1] == [16, *[192] * 4, 64, 64]


class Nested(nn.Module):
    """Two concatenations of which neither begins with the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = (
            nn.Conv2d(3, 3, 3, padding=1),
            nn.Conv2d(6, 3, 3, padding=1),
            nn.Conv2d(6, 3, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        return self.last(torch.cat((self.second(torch.cat((x, y), 1)), y), 1))


class Early(nn.Module):
    """Further convolutions read the output."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        self.second(self.second(self.second(y)))
        return y


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (nn.Conv2d(3, 3, 1), "triton does not support a convolution with kernel_size"),
        (Nested(), "triton supports concatenation only if"),
        (Early(), "triton supports only networks whose last convolution gives the output"),
        (nn.Identity(), "triton does not support Identity"),
    ],
)
def test_a_network_that_it_cannot_run_is_named(network: nn.Module, reason: str) -> None:
    assert str(BACKEND.unsuited(nn.Sequential(network))).startswith(reason)
    assert BACKEND.unsuited(rrdbnet(4)) is None


def test_an_image_too_large_for_the_kernel_gives_one_line() -> None:
    from wbcsr.engines.triton.network import Choice, Network

    network = Network(rrdbnet(4).to("meta"), Choice(1, {}))
    network.bind(torch.Size((8, 3, 1024, 1024)))
    with pytest.raises(InputError, match=r"6000×5000 pixels; lower inference\.tile"):
        network.bind(torch.Size((1, 3, 6000, 5000)))


# As a backend


def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Path) -> choice.Order:
    """An order as on a GPU, where the compilers and the measurements are replaced."""
    for name in ("triton", "inductor"):
        kind = type(BACKENDS[name])
        monkeypatch.setattr(kind, "unavailable", lambda *_: None)
        monkeypatch.setattr(kind, "settings", lambda *_: {})
        monkeypatch.setattr(
            kind, "compile", lambda self, network, profile, program, settings: program.write_text(self.name)
        )
        monkeypatch.setattr(kind, "load", Eager.load)
    monkeypatch.setattr(choice, "free_memory", lambda device: None)
    monkeypatch.setattr(choice, "prepare", lambda network, *_: network)
    monkeypatch.setitem(choice.COMPILE_ABOVE_MINUTES, "cuda", 0.0)
    monkeypatch.setattr(Profile, "example", lambda self, *_: torch.rand(1, 3, 8, 8))
    return choice.Order(
        upscaler.source(weights)[0],
        Profile.fixed(1, 8, 8),
        tmp_path / "program.pt2",
        workload(),
        inference(),
        "fp16",
        CUDA,
    )


@pytest.mark.parametrize(
    ("triton", "inductor", "eager", "fastest"),
    [(1.0, 2.0, 3.0, "triton"), (2.0, 1.0, 3.0, "inductor"), (3.0, 2.0, 1.0, "eager")],
)
def test_auto_measures_it_beside_the_others_and_takes_the_fastest(
    triton: float, inductor: float, eager: float, fastest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = order(tmp_path, monkeypatch, write_weights(tmp_path / "small.safetensors"))
    seconds = iter([9.0, 9.0, 9.0, triton, 9.0, inductor, 9.0, eager])
    monkeypatch.setattr(choice, "_seconds", lambda *_: next(seconds))
    chosen = choice.choose(asked)
    assert chosen["backend"] == fastest
    assert [(reason["code"], reason.get("backend")) for reason in chosen["reasons"]] == [
        ("measured", "triton"),
        ("measured", "inductor"),
        ("unusable", None),  # TensorRT
    ]
    written = asked.program.read_text() if asked.program.exists() else "eager"
    assert written == fastest
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []


def test_auto_continues_with_the_others_if_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = order(tmp_path, monkeypatch, write_weights(tmp_path / "small.safetensors"))

    def fail(*_: Any) -> None:
        raise RuntimeError("no ptxas")

    monkeypatch.setattr(type(BACKEND), "compile", fail)
    seconds = iter([9.0, 9.0, 9.0, 1.0, 9.0, 2.0])
    monkeypatch.setattr(choice, "_seconds", lambda *_: next(seconds))
    chosen = choice.choose(asked)
    assert chosen["backend"] == asked.program.read_text() == "inductor"
    assert {"code": "failed", "backend": "triton", "detail": "no ptxas"} in chosen["reasons"]


def test_auto_does_not_measure_it_in_fp32_or_for_resnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = order(tmp_path, monkeypatch, write_weights(tmp_path / "small.safetensors"))
    assert "triton does not compute in fp32 here" in str(
        choice._why_unusable(BACKEND, choice.replace(asked, precision="fp32"))
    )
    assert "kernel_size (7, 7)" in str(BACKEND.unsuited(classifiers.build(2, 0, None)))
    compact = upscaler.source(write_compact(tmp_path / "compact.safetensors"))[0]
    assert "PReLU" in str(BACKEND.unsuited(compact.network))


@pytest.mark.parametrize(("capability", "runs"), [((7, 5), False), ((8, 0), True), ((12, 0), True)])
def test_it_needs_a_gpu_with_fast_copies(capability: tuple, runs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert (BACKEND.unavailable(CUDA) is None) == runs
    assert "needs an NVIDIA GPU" in str(BACKEND.unavailable(CPU))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "not installed" in str(BACKEND.unavailable(CUDA))


def test_changed_code_rejects_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = BACKEND.settings(inference(), CUDA, "fp16")
    assert before == BACKEND.settings(inference(), CUDA, "bf16")
    monkeypatch.setattr(Path, "read_bytes", lambda self: b"changed")
    assert BACKEND.settings(inference(), CUDA, "fp16") != before


def test_autotuning_writes_what_a_job_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are simulated: two images at once are fastest, and so is the last tile that fits."""
    from wbcsr.engines.triton import network as networks
    from wbcsr.engines.triton import tuning

    network = rrdbnet(4).half()
    order = list(dict.fromkeys(tile for layer in plan(trace(network)).layers for tile in tiles_for(layer, 90)))

    def seconds(bound: Any, number: int, tile: Any, count: int) -> float:
        return {1: 3.0, 2: 4.0, 4: 10.0}[count] - order.index(tile) / 10

    monkeypatch.setattr(tuning, "measure", seconds)
    monkeypatch.setattr(networks.Bound, "run", lambda self, batch: batch)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr("torch.cuda.memory_stats", lambda device=None: {})
    program = tmp_path / "program.pt2"
    BACKEND.compile(network, Profile.fixed(4, 8, 8), program, {})
    loaded: list[Any] = []
    monkeypatch.setattr(
        networks, "Network", lambda network, choice, recorded: loaded.append(choice) or (lambda batch: batch)
    )
    BACKEND.load(network, program, Profile.fixed(4, 8, 8))
    assert loaded[0].together == 2
    for layer in plan(trace(network)).layers:
        assert loaded[0].tiles[layer.shape] == tiles_for(layer, 90)[-1]


# The model of the time


@pytest.mark.parametrize("name", layer_times.GPUS)
def test_the_model_never_predicts_less_than_the_floor(name: str) -> None:
    planned, gpu = plan(trace(rrdbnet(4))), layer_times.GPUS[name]
    for batch in (1, 8):
        images, found = layer_times.predict(planned, gpu, (240, 320), batch)
        assert batch % images == 0
        for shape, (tile, expected) in found.items():
            assert expected.seconds > expected.floor > 0, shape
            assert tile in tiles_for(next(layer for layer in planned.layers if layer.shape == shape), gpu.capability)
    lines = layer_times.table(planned, gpu, (240, 320), (1, 8))
    assert len(lines) == 3 + len(found)
    floor, *predicted = (float(cell) for cell in lines[-1].split("|")[2:5])
    assert all(total > floor for total in predicted)


def test_the_model_counts_the_operations_of_the_network() -> None:
    from wbcsr.benchmark.peak_rate import flops_of

    planned, gpu = plan(trace(rrdbnet(2))), layer_times.GPUS["H100"]
    tile = tiles_for(planned.layers[0], 90)[0]
    counted = sum(layer_times.estimate(layer, tile, gpu, (24, 32), 1).floor for layer in planned.layers) * gpu.flops
    assert counted == pytest.approx(flops_of(rrdbnet(2), (48, 64)))


def test_the_benchmark_lists_each_kind_of_layer_beside_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU and its times are simulated."""
    from wbcsr.engines.triton import network as networks
    from wbcsr.engines.triton import tuning

    properties = SimpleNamespace(major=9, minor=0, multi_processor_count=132, L2_cache_size=50_000_000)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(networks.Bound, "run", lambda self, batch: batch)
    monkeypatch.setattr(tuning, "measure", lambda bound, number, tile, count: 0.002)
    weights = write_weights(tmp_path / "small.safetensors", scale=2)
    case = Case(weights, 2, [tmp_path] * 4, (47, 64), 1, inference(batch_size=4), tmp_path)
    implementation = Ours("triton", "fp16", "cpu")
    layers = plan(trace(rrdbnet(2))).layers
    program = implementation.engine(case).with_name("program.pt2")
    write_json(program, networks.Choice(2, {layer.shape: tiles_for(layer, 90)[0] for layer in layers}).to_json())
    rows = layer_times.measure_layers(implementation, case, 4, flops=800e12, memory=3e12)
    assert [row["layer"] for row in rows] == list(dict.fromkeys(layer.shape for layer in layers))
    assert sum(row["layers"] for row in rows) == len(layers)
    for row in rows:
        assert (row["batch_size"], row["images_at_once"], row["measured_ms"]) == (4, 2, 1.0)
        assert row["floor_ms"] < row["predicted_ms"]
