"""Model repositories on a GPU: programs are compiled, loaded from their files and compared with the fp32 network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from small_networks import inference, write_weights
from wbcsr.classify import classifiers
from wbcsr.engines import engine
from wbcsr.engines.backends import BACKENDS
from wbcsr.engines.source import Workload
from wbcsr.serve.repository import export_repository
from wbcsr.upscale import upscaler


@pytest.mark.gpu(verifies="that a TensorRT plan or AOTInductor package for a model server equals the network")
@pytest.mark.parametrize(
    ("backend", "platform", "file"),
    [("tensorrt", "tensorrt_plan", "model.plan"), ("inductor", "torch_aoti", "model.pt2")],
)
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_a_model_repository_for_this_gpu(
    tmp_path: Path, backend: str, platform: str, file: str, precision: str
) -> None:
    reason = BACKENDS[backend].unavailable(torch.device("cuda"))
    if reason:
        pytest.skip(f"{reason}: a model repository with it was not exported")
    settings = inference(backend=backend, precision=precision)
    weights, model, table = (
        write_weights(tmp_path / "w.safetensors"),
        tmp_path / "model.safetensors",
        tmp_path / "i.csv",
    )
    classifiers.save(classifiers.build(3, 0, None).state_dict(), classifiers.Description(("c", "a", "b"), 64), model)
    table.write_text("image,height,width\na,48,64\n")
    engines = [tmp_path / name / "engine.json" for name in ("upscaler", "classifier")]
    engine.build(upscaler.source(weights)[0], engines[0], Workload({(48, 64): 4}, {"cuda": 4}), settings)
    engine.build(classifiers.source(model)[0], engines[1], Workload({(64, 64): 4}, {"cuda": 4}), settings)
    out = tmp_path / "out"
    # The export loads each file and compares one image and a whole batch; it raises an error if they differ too much.
    export_repository(weights, engines[0], model, engines[1], table, 4, settings, out / "models", out / "manifest.json")
    manifest = json.loads((out / "manifest.json").read_text())
    for name in ("upscaler", "classifier"):
        assert manifest["models"][name]["platform"] == platform
        assert (out / "models" / name / "1" / file).stat().st_size > 100_000
        assert "kind: KIND_GPU" in (out / "models" / name / "config.pbtxt").read_text()
