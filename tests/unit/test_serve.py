"""The server's own schema accepts a model repository, and its programs agree with their descriptions.

No server runs here. AOTInductor packages are compiled and run on the CPU. TensorRT-RTX builds plans for the GPU that
`pretend_gpu` describes; tests/gpu builds and runs them on a real GPU.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from tritonclient.grpc import model_config_pb2 as schema

from pretend_gpu import pretend_gpu
from small_networks import inference, rrdbnet
from wbcsr import pixels
from wbcsr.classify import classifiers
from wbcsr.classify.networks import NETWORKS
from wbcsr.engines import engine
from wbcsr.engines.source import Workload
from wbcsr.engines.tensorrt import TensorRT
from wbcsr.errors import InputError
from wbcsr.files import sha256, write_json
from wbcsr.serve import programs, repository
from wbcsr.serve.networks import Classifier, Resize, Upscaler
from wbcsr.serve.programs import INPUT, OUTPUT
from wbcsr.serve.repository import CLASSIFIER, ENSEMBLE, UPSCALER
from wbcsr.upscale import upscaler
from wbcsr.vision import models

# Not in alphabetical order, and with characters that need escaping in a text format.
CLASSES = ("mono cyte", 'b"lym\\ph', "äosin")
SIDE = 32
NORMALISATION = NETWORKS["resnet50"].normalisation
SIZE, ENLARGED = (48, 64), (192, 256)
TYPES = {"TYPE_UINT8": torch.uint8, "TYPE_FP32": torch.float32}


@dataclass
class Made:
    """Weights, a model, and an engine for each, as earlier rules write them."""

    folder: Path

    def arguments(self, **changes: Any) -> dict[str, Any]:
        paths = {
            "weights": self.folder / "weights.safetensors",
            "upscaler_engine": self.folder / "upscaler" / "engine.json",
            "model": self.folder / "model.safetensors",
            "classifier_engine": self.folder / "classifier" / "engine.json",
            "images_csv": self.folder / "images.csv",
            "repository": self.folder / "served" / "model_repository",
            "manifest": self.folder / "served" / "manifest.json",
        }
        return {**paths, "scale": 4, "inference": inference(), **changes}


@pytest.fixture(scope="module", autouse=True)
def shallow() -> Iterator[None]:
    """A ResNet-50 with one block in each stage instead of 3 to 6, which compiles in a third of the time."""

    def make(classes: int) -> nn.Module:
        return models.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=classes)

    with mock.patch.dict(NETWORKS, {"resnet50": replace(NETWORKS["resnet50"], make=make)}):
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    kept = Made(tmp_path_factory.mktemp("made"))
    # fp32, so that two implementations differ at most by the rounding of a pixel.
    paths, settings = kept.arguments(), inference(backend="eager", precision="fp32")
    # A last layer that gives grey and coloured images instead of black or white ones.
    last = {"conv_last.weight": 20.0, "conv_last.bias": 0.0}
    tensors = {name: tensor * last.get(name, 1.0) for name, tensor in rrdbnet().state_dict().items()}
    save_file({**tensors, "conv_last.bias": tensors["conv_last.bias"] + 0.5}, paths["weights"])
    write_json(paths["weights"].with_suffix(".json"), {"sha256": sha256(paths["weights"])})
    state = classifiers.build(len(CLASSES), 0, None).state_dict()
    classifiers.save(state, classifiers.Description(CLASSES, SIDE), paths["model"])
    workload = Workload({SIZE: 20, (32, 40): 1}, {"cpu": 3})
    engine.build(upscaler.source(paths["weights"])[0], paths["upscaler_engine"], workload, settings)
    side = Workload({(SIDE, SIDE): 3}, classifiers.ENGINE_BATCH)
    engine.build(classifiers.source(paths["model"])[0], paths["classifier_engine"], side, settings)
    paths["images_csv"].write_text("image,height,width\na,48,64\nb,32,40\nc,48,64\n")
    return kept


@pytest.fixture(scope="module")
def served(made: Made) -> Path:
    """The repository, exported over an older one; both compilations of this file happen here."""
    arguments = made.arguments()
    (arguments["repository"] / "old").mkdir(parents=True)
    with torch._inductor.config.patch({"aot_inductor.compile_wrapper_opt_level": "O0"}):
        repository.export_repository(**arguments)
    return Path(arguments["repository"])


def config_of(served: Path, model: str) -> schema.ModelConfig:
    """A configuration read with the server's own schema, which rejects unknown fields."""
    return text_format.Parse((served / model / "config.pbtxt").read_text("utf-8"), schema.ModelConfig())


def package(served: Path, model: str) -> Any:
    return torch._inductor.aoti_load_package(str(served / model / "1" / "model.pt2"))


def images(count: int, size: tuple[int, int]) -> Tensor:
    return torch.from_numpy(np.random.default_rng(count).integers(0, 256, (count, *size, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", ["upscaler", "classifier"])
def test_a_network_is_served_in_the_precision_of_its_engine(made: Made, tmp_path: Path, name: str) -> None:
    """It is compared with the fp32 network, whose weights were not rounded."""
    paths, path = made.arguments(), tmp_path / "engine.json"
    source = upscaler.source(paths["weights"])[0] if name == "upscaler" else classifiers.source(paths["model"])[0]
    size = SIZE if name == "upscaler" else (SIDE, SIDE)
    engine.build(source, path, Workload({size: 2}, {"cpu": 2}), inference(backend="eager", precision="bf16"))
    wrap = {
        "upscaler": lambda network, dtype: Upscaler(network, dtype, SIZE, 4, 1),
        "classifier": lambda network, dtype: Classifier(network, dtype, (SIDE, SIDE), SIDE, *NORMALISATION),
    }
    unused = repository.Tensor("", "", ())
    model = repository._prepare(name, source, path, wrap[name], unused, unused)
    with torch.inference_mode():
        ours, exact = (network(images(1, size)).double() for network in (model.network, model.exact))
    assert 0 < (ours - exact).abs().max() < {"upscaler": 16, "classifier": 0.1}[name]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("model", [UPSCALER, CLASSIFIER])
def test_a_configuration_agrees_with_its_program(served: Path, model: str, count: int) -> None:
    config, program = config_of(served, model), package(served, model)
    (taken,), (given,) = config.input, config.output
    assert (config.name, config.backend, config.platform) == (model, "pytorch", "torch_aoti")
    assert count <= config.max_batch_size == 3
    # The server requires these names for the only input and output of a package without a structure of tensors.
    assert (taken.name, given.name) == ("INPUT__0", "OUTPUT__0")
    arguments, result = (json.loads(spec)[1] for spec in program.loader.get_call_spec())
    positional, keywords = arguments["children_spec"]
    assert (len(positional["children_spec"]), len(keywords["children_spec"])) == (1, 0)
    assert result["type"] is None
    batch = torch.zeros((count, *taken.dims), dtype=TYPES[schema.DataType.Name(taken.data_type)])
    output = program(batch)
    assert list(output.shape) == [count, *given.dims]
    assert output.dtype == TYPES[schema.DataType.Name(given.data_type)]
    assert config.HasField("dynamic_batching")
    assert [(group.count, group.kind) for group in config.instance_group] == [(1, schema.ModelInstanceGroup.KIND_CPU)]


def test_the_served_upscaler_gives_the_pixels_of_the_workflow(served: Path, made: Made) -> None:
    paths, cells = made.arguments(), images(3, SIZE)
    source, architecture = upscaler.source(paths["weights"])
    enlarge = upscaler.SuperResolution(engine.load(source, paths["upscaler_engine"]), architecture, 4, 512, 48)
    expected = np.stack(enlarge(list(cells.numpy()))).astype(int)
    assert expected.std() > 10
    assert abs(package(served, UPSCALER)(cells).numpy() - expected).max() <= 1


def test_the_served_classifier_gives_the_probabilities_of_the_workflow(served: Path, made: Made) -> None:
    paths, cells = made.arguments(), images(3, ENLARGED)
    ready = engine.load(classifiers.source(paths["model"])[0], paths["classifier_engine"])
    expected = classifiers.engine_logits(ready, NETWORKS["resnet50"], [pixels.to_square(cells, SIDE)]).softmax(1)
    torch.testing.assert_close(package(served, CLASSIFIER)(cells), expected, rtol=1e-4, atol=1e-5)


def test_the_ensemble_connects_upscaler_and_classifier(served: Path) -> None:
    config = config_of(served, ENSEMBLE)
    first, second = config.ensemble_scheduling.step
    models = {name: config_of(served, name) for name in (UPSCALER, CLASSIFIER)}
    assert config.platform == "ensemble"
    assert not config.instance_group
    assert [first.model_name, second.model_name] == [UPSCALER, CLASSIFIER]
    assert dict(first.input_map) == {INPUT: config.input[0].name}
    assert first.output_map[OUTPUT] == second.input_map[INPUT]
    assert dict(second.output_map) == {OUTPUT: config.output[0].name}
    assert config.input[0].dims == models[UPSCALER].input[0].dims == [*SIZE, 3]
    assert models[UPSCALER].output[0].dims == models[CLASSIFIER].input[0].dims == [*ENLARGED, 3]
    assert config.output[0].dims == models[CLASSIFIER].output[0].dims == [len(CLASSES)]
    assert config.max_batch_size == models[UPSCALER].max_batch_size == models[CLASSIFIER].max_batch_size
    assert (served / ENSEMBLE / "1").is_dir()


@pytest.mark.parametrize("model", [CLASSIFIER, ENSEMBLE])
def test_labels_have_the_order_of_the_probabilities(served: Path, model: str) -> None:
    named = served / model / config_of(served, model).output[0].label_filename
    assert named.read_text("utf-8").splitlines() == list(CLASSES)


def test_manifest_and_readme_describe_the_repository(served: Path) -> None:
    manifest = json.loads((served.parent / "manifest.json").read_text())
    found = {str(path.relative_to(served)): sha256(path) for path in served.rglob("*") if path.is_file()}
    assert manifest["files_sha256"] == found
    assert {path.name for path in served.iterdir()} == {UPSCALER, CLASSIFIER, ENSEMBLE}
    assert {path.name for path in served.parent.iterdir()} == {served.name, "manifest.json", "README.md"}
    assert manifest["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert manifest["models"][UPSCALER]["fingerprint"]["weights"] == sha256(served.parents[1] / "weights.safetensors")
    readme = (served.parent / "README.md").read_text("utf-8")
    assert "| `upscaler` | `INPUT__0`: UINT8, [48, 64, 3] | `OUTPUT__0`: UINT8, [192, 256, 3] |" in readme
    assert ", ".join(CLASSES) in readme


SIDES = st.integers(1, 70)


@given(SIDES, SIDES, SIDES, st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_resized_pixels_equal_those_of_the_workflow(height: int, width: int, side: int, seed: int) -> None:
    batch = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), dtype=np.uint8))
    assert torch.equal(Resize((height, width), side)(batch).to(torch.uint8), pixels.to_square(batch, side))


def test_an_image_with_odd_sides_is_extended_by_reflection() -> None:
    network = rrdbnet(2)
    odd = images(2, (15, 21))
    both = (0.0,) * 3, (255.0,) * 3
    with torch.inference_mode():
        whole = network(pixels.to_network(odd, (16, 22), *both, torch.float32, torch.contiguous_format))
        found = Upscaler(network, torch.float32, (15, 21), 2, 2)(odd)
    assert found.shape == (2, 30, 42, 3)
    assert (found.int() - pixels.to_pixels(whole, (30, 42)).int()).abs().max() <= 1


class Nearest(nn.Module):
    """Upscales by repeating pixels."""

    def forward(self, batch: Tensor) -> Tensor:
        return batch.repeat_interleave(4, 2).repeat_interleave(4, 3)


@pytest.mark.parametrize(
    ("changes", "table", "message"),
    [
        ({"scale": 2}, None, "by 4, not by 2"),
        ({"inference": inference(tile=100)}, "image,height,width\na,96,128\n", "set inference.tile to 128 or more"),
        ({}, "image,height,width\n", "lists no image"),
        ({}, "image\na\n", "lacks the column"),
    ],
)
def test_a_model_that_cannot_be_served_is_explained(
    made: Made, tmp_path: Path, changes: dict[str, Any], table: str | None, message: str
) -> None:
    arguments = made.arguments(repository=tmp_path / "out" / "models", manifest=tmp_path / "out" / "m.json", **changes)
    if table:
        arguments["images_csv"] = tmp_path / "images.csv"
        arguments["images_csv"].write_text(table)
    with pytest.raises(InputError, match=message) as error:
        repository.export_repository(**arguments)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_without_a_compiler_the_old_repository_is_kept(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "models"
    (old / "old").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"torch_aoti .* C\+\+ compiler"):
        repository.export_repository(**made.arguments(repository=old, manifest=tmp_path / "manifest.json"))
    assert [path.name for path in tmp_path.rglob("*")] == ["models", "old"]


@pytest.mark.parametrize(
    ("model", "message"),
    [(UPSCALER, "PSNR of .* below psnr_db 45 of inference.tolerances"), (CLASSIFIER, "a probability differs by")],
)
def test_a_program_that_differs_from_the_network_is_rejected(
    served: Path, made: Made, model: str, message: str
) -> None:
    """Each package is compared with another network, as if the compiler had made an error."""
    if model == UPSCALER:
        exact: nn.Module = Upscaler(Nearest(), torch.float32, SIZE, 4, 1)
        size = SIZE
    else:
        network = classifiers.source(made.arguments()["model"])[0].network
        nn.init.constant_(network.fc.bias, 0)
        network.fc.bias.data[0] = 5
        exact, size = Classifier(network, torch.float32, ENLARGED, SIDE, *NORMALISATION), ENLARGED
    tensor = repository.Tensor(INPUT, "UINT8", (*size, 3))
    on_cpu = SimpleNamespace(device=torch.device("cpu"))
    checked: Any = SimpleNamespace(name=model, exact=exact, engine=on_cpu, input=tensor)
    with pytest.raises(InputError, match=message):
        repository._check(checked, served / model / "1" / "model.pt2", programs.PACKAGE, 2, inference()["tolerances"])


@pytest.fixture(scope="module")
def builder() -> Iterator[SimpleNamespace]:
    """Simulates the GPU: TensorRT-RTX builds a plan, and `interpreter` records its input; the plan is not loaded."""
    kept = SimpleNamespace()
    with pretend_gpu():
        from torch_tensorrt.dynamo.conversion import _TRTInterpreter as interpreting

        kept.trt, construct = interpreting.trt, interpreting.TRTInterpreter._construct_trt_network_def

        def keep(interpreter: Any) -> None:
            construct(interpreter)
            kept.interpreter = interpreter

        class Runtime:
            """Keeps the engine's bytes; the real class loads them onto the GPU."""

            def __init__(self, logger: object) -> None: ...

            def deserialize_cuda_engine(self, plan: Any) -> Any:
                return SimpleNamespace(serialize=lambda: bytes(plan), get_aliased_input_tensor=lambda name: "")

        with (
            mock.patch.object(interpreting.TRTInterpreter, "_construct_trt_network_def", keep),
            mock.patch.object(kept.trt, "Runtime", Runtime),
        ):
            yield kept


@pytest.mark.parametrize("model", [UPSCALER, CLASSIFIER])
def test_a_plan_has_the_names_types_and_shapes_of_its_configuration(
    builder: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    trt = builder.trt
    # Replaces the timing cache, whose file is named after the GPU.
    monkeypatch.setattr(programs, "timing_cache", lambda device: nullcontext(tmp_path / "timings.cache"))
    size, batch = (16, 24), 3
    if model == UPSCALER:
        served: nn.Module = Upscaler(rrdbnet().half(), torch.float16, size, 4, 1)
        given = repository.Tensor(OUTPUT, "UINT8", (64, 96, 3))
    else:
        network = NETWORKS["resnet50"].make(2).eval()
        served = Classifier(network.half(), torch.float16, size, SIDE, *NORMALISATION)
        given = repository.Tensor(OUTPUT, "FP32", (2,))
    served = served.eval().requires_grad_(False)
    zeros = torch.zeros((batch, *size, 3), dtype=torch.uint8)
    exported = torch.export.export(served, (zeros,), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=batch)},))
    options = TensorRT().settings(inference(), torch.device("cuda"), "fp16")
    plan = programs.build_plan(exported, zeros, options)
    assert len(plan) > 100_000
    described: Any = SimpleNamespace(
        name=model,
        input=repository.Tensor(INPUT, "UINT8", (*size, 3)),
        output=given,
        engine=SimpleNamespace(device=torch.device("cuda")),
    )
    config = repository._model_config(described, programs.PLAN, batch)
    assert (config.backend, config.platform) == ("tensorrt", "tensorrt_plan")
    assert config.instance_group[0].kind == schema.ModelInstanceGroup.KIND_GPU
    network, types = builder.interpreter.ctx.net, {trt.uint8: "TYPE_UINT8", trt.float32: "TYPE_FP32"}
    for side, tensors in (
        (config.input, [network.get_input(place) for place in range(network.num_inputs)]),
        (config.output, [network.get_output(place) for place in range(network.num_outputs)]),
    ):
        assert [(tensor.name, types[tensor.dtype], tuple(tensor.shape)) for tensor in tensors] == [
            (io.name, schema.DataType.Name(io.data_type), (-1, *io.dims)) for io in side
        ]
    (profile,) = builder.interpreter.optimization_profiles
    assert [shape[0] for shape in profile.get_shape(INPUT)] == [1, batch, config.max_batch_size]
    kinds = {layer.type: layer for layer in (network.get_layer(place) for place in range(network.num_layers))}
    assert kinds[trt.LayerType.CONVOLUTION].get_output(0).dtype == trt.float16
