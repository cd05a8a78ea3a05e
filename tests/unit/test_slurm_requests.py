"""The GPUs that a job requests, as a rule or a profile writes them."""

from __future__ import annotations

from typing import Any

import pytest

from wbcsr.errors import InputError
from wbcsr.slurm import gpus_requested, model_requested


@pytest.mark.parametrize(
    ("resources", "gpus", "model"),
    [
        ({}, 0, None),
        ({"gpu": 0}, 0, None),
        ({"gpu": 2, "gpu_model": "h100"}, 2, "h100"),
        ({"gpu": 0, "gres": "gpu"}, 1, None),
        ({"gpu": 0, "gres": "gpu:2"}, 2, None),
        ({"gpu": 0, "gres": "gpu:h100"}, 1, "h100"),
        ({"gpu": 0, "gres": "gpu:h100:4"}, 4, "h100"),
        ({"gpu": "0", "gres": "'gpu:a100_80:1'"}, 1, "a100_80"),
        ({"gpu": 1, "gres": "nvme:100"}, 1, None),
        ({"gpu": 0, "gres": "nvme:100"}, 0, None),
    ],
)
def test_gpus_are_counted_in_gpu_and_in_gres(resources: dict[str, Any], gpus: int, model: str | None) -> None:
    assert gpus_requested(resources) == gpus
    assert model_requested(resources) == model


@pytest.mark.parametrize("given", [{"gres": "gpu:h100:1"}, {"gres": "gpu:h100:1", "gpu": 1}])
def test_a_profile_that_requests_gpus_twice_is_rejected(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"gpu:h100:1.* gpu: 0"):
        model_requested(given)
