"""The report of `doctor` on a node with a GPU."""

from __future__ import annotations

import pytest
import torch

from wbcsr.engines import doctor

INFERENCE = {"workspace_gib": None, "optimization_level": 3}


@pytest.mark.gpu(verifies="that `doctor` reports the GPU, its driver and free memory")
def test_doctor_describes_the_gpu() -> None:
    gpu = doctor.check("survey", INFERENCE, timeout_s=300)["gpus"][0]
    assert gpu["name"] == torch.cuda.get_device_name(0)
    assert 0 < gpu["free_gib"] <= gpu["memory_gib"]
    assert doctor.provenance.driver()


@pytest.mark.gpu(verifies="that doctor's checks of eager, inductor, tensorrt and the Triton kernels run on the GPU")
@pytest.mark.parametrize("name", [*doctor.BACKENDS, "kernels"])
def test_every_feature_runs_on_the_gpu(name: str) -> None:
    answer = doctor.check(name, INFERENCE, timeout_s=doctor.TIMEOUT_S)
    assert answer["runs"], answer["reason"]
    assert answer["device"] == "cuda"
