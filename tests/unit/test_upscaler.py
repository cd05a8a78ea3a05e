"""Super-resolution equals Real-ESRGAN's own tool, for every kind of image, in tiles and in batches."""

from __future__ import annotations

import copy
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from small_networks import rrdbnet
from wbcsr import imaging
from wbcsr.engines.engine import Engine
from wbcsr.engines.profile import Profile
from wbcsr.errors import InputError
from wbcsr.files import read_csv, sha256, write_csv
from wbcsr.upscale.interpolation import Interpolation, Shrinking
from wbcsr.upscale.shard import upscale_shard
from wbcsr.upscale.store import MANIFEST_COLUMNS
from wbcsr.upscale.upscaler import SuperResolution
from wbcsr.weights import store
from wbcsr.weights.networks import build

RNG = np.random.default_rng(0)


def enlarger(
    network: torch.nn.Module, scale: int, tile: int = 512, overlap: int = 48, **changes: object
) -> SuperResolution:
    """Super-resolution with a network, with the engine that `load` makes for the eager backend on a CPU."""
    given = {
        "run": network,
        "backend": "eager",
        "precision": "fp32",
        "batch": 1,
        "profile": None,
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "memory_format": torch.contiguous_format,
        "identity": "test",
    }
    architecture = build(copy.deepcopy(network).float().state_dict())[1]
    return SuperResolution(Engine(**{**given, **changes}), architecture, scale, tile, overlap)


def reference(network: torch.nn.Module, image: np.ndarray, folder: Path, outscale: int | None = None) -> np.ndarray:
    """The result of Real-ESRGAN's own tool for an image (RGB in, RGB out)."""
    from realesrgan import RealESRGANer

    torch.save({"params_ema": network.state_dict()}, folder / "reference.pth")
    tool = RealESRGANer(
        scale=build(network.state_dict())[1].scale,
        model_path=str(folder / "reference.pth"),
        model=copy.deepcopy(network),
        pre_pad=0,
        device="cpu",
    )
    swap = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[2 if image.ndim == 2 else image.shape[2]]
    output, _ = tool.enhance(image if swap is None else cv2.cvtColor(image, swap), outscale=outscale)
    return output if swap is None else cv2.cvtColor(output, swap)  # swapping red and blue is its own inverse


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize(
    "image",
    [
        RNG.integers(0, 256, (21, 31, 3), dtype=np.uint8),
        RNG.integers(0, 256, (21, 31), dtype=np.uint8),
        RNG.integers(0, 256, (21, 31, 4), dtype=np.uint8),
        RNG.integers(0, 65536, (22, 30, 3), dtype=np.uint16),
    ],
    ids=["RGB", "grey", "RGBA", "RGB16"],
)
def test_every_kind_of_image_equals_the_official_tool(tmp_path: Path, image: np.ndarray, scale: int) -> None:
    network = rrdbnet(scale)
    ours = enlarger(network, scale)([image])[0]
    theirs = reference(network, image, tmp_path)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def test_a_scale_without_a_network_equals_the_official_tool(tmp_path: Path) -> None:
    network, image = rrdbnet(4), RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    ours = enlarger(network, 3)([image])[0]
    assert ours.shape == (60, 90, 3)
    np.testing.assert_array_equal(ours, reference(network, image, tmp_path, outscale=3))


@pytest.mark.parametrize("scale", [2, 3])
def test_images_shrunk_from_another_scale_equal_those_made_directly(tmp_path: Path, scale: int) -> None:
    kinds = [((9, 14, 3), np.uint8), ((7, 6), np.uint8), ((8, 12, 4), np.uint8), ((8, 12, 3), np.uint16)]
    (tmp_path / "original").mkdir()
    rows = []
    for number, (shape, dtype) in enumerate(kinds):
        path = tmp_path / "original" / f"{number}.png"
        path.write_bytes(imaging.encode_png(RNG.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)))
        rows.append([f"TRAIN/A/{path.name}", path.name, shape[1], shape[0], sha256(path), sha256(path)])
    original, own, shrunk, direct = (
        tmp_path / name / "manifest_1of1.csv" for name in ("original", "own", "shrunk", "direct")
    )
    write_csv(original, pd.DataFrame(rows, columns=MANIFEST_COLUMNS))
    network = rrdbnet(4)
    upscale_shard(original, own, 1, 1, enlarger(network, 4), 1)
    upscale_shard(original, direct, 1, 1, enlarger(network, scale), 1)
    upscale_shard(own, shrunk, 1, 1, Shrinking(4, scale, sha256(own)), 1)
    # The manifest lists the SHA-256 of each file and of each original.
    assert shrunk.read_text() == direct.read_text()
    for file in read_csv(shrunk, MANIFEST_COLUMNS)["file"]:
        assert sha256(shrunk.with_name(file)) == sha256(direct.with_name(file))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 40), (65, 64)])
@pytest.mark.parametrize("scale", [2, 4])
def test_images_of_tiny_and_odd_sizes(shape: tuple[int, int], scale: int) -> None:
    image = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert enlarger(rrdbnet(scale), scale, 64, 8)([image])[0].shape[:2] == (
        shape[0] * scale,
        shape[1] * scale,
    )


def test_a_batch_equals_its_images_processed_separately() -> None:
    images = [RNG.integers(0, 256, (24, 32, 4), dtype=np.uint8) for _ in range(3)]
    network = rrdbnet(4)
    together = enlarger(network, 4, batch=4)(images)
    for image, result in zip(images, together, strict=True):
        alone = enlarger(network, 4)([image])[0]
        assert np.abs(alone.astype(int) - result).max() <= 1


@pytest.fixture(scope="module")
def smear() -> np.ndarray:
    """A smooth image with discs, because seams are visible in structures but not in noise."""
    picture = np.full((64, 130, 3), 220, np.uint8)
    for x in range(10, 130, 28):
        cv2.circle(picture, (x, 16 + x % 35), 12, (190, 120, 140), -1, cv2.LINE_AA)
        cv2.circle(picture, (x, 16 + x % 35), 5, (90, 40, 130), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(picture, (0, 0), 1)


def test_seams_between_tiles_are_invisible(x4plus: Path, smear: np.ndarray) -> None:
    network, _ = store.load(x4plus)
    whole = enlarger(network, 4)([smear])[0].astype(int)
    tiled = enlarger(network, 4, 112)([smear])[0].astype(int)
    difference = np.abs(whole - tiled)
    assert difference.any()  # the image was tiled
    assert difference.max() <= 3
    assert 10 * np.log10(255**2 / (difference**2).mean()) > 55


def test_a_fixed_shape_pads_small_images_and_short_batches() -> None:
    network = rrdbnet(4)
    shapes = []

    def run(batch: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(batch.shape))
        return network(batch)

    fixed = enlarger(network, 4, 512, 8, run=run, profile=Profile.fixed(3, 40, 48), batch=3)
    free = enlarger(network, 4, 512, 8)
    for size in [(40, 48), (20, 30), (70, 90)]:
        image = cv2.GaussianBlur(RNG.integers(0, 256, (*size, 3), dtype=np.uint8), (0, 0), 2)
        result = fixed([image])[0]
        assert result.shape == (size[0] * 4, size[1] * 4, 3)
        assert np.abs(result.astype(int) - free([image])[0])[:, : size[1] * 2].max() <= 8
    assert set(shapes) == {(3, 3, 40, 48)}


def test_bf16_is_close_to_fp32(x4plus: Path, smear: np.ndarray) -> None:
    exact = enlarger(store.load(x4plus)[0], 4)([smear[:24, 4:36]])[0].astype(int)
    network = store.load(x4plus)[0].bfloat16()
    rough = enlarger(network, 4, dtype=torch.bfloat16)([smear[:24, 4:36]])[0]
    assert 10 * np.log10(255**2 / ((exact - rough) ** 2).mean()) >= 48


@pytest.mark.real
def test_real_cells_equal_the_official_tool(real_archive: Path, x4plus: Path, tmp_path: Path) -> None:
    network, _ = store.load(x4plus)
    with zipfile.ZipFile(real_archive) as archive:
        names = [name for name in sorted(archive.namelist()) if "/TEST/" in name and name.endswith("0.jpeg")]
        cells = [imaging.decode(archive.read(name), name)[90:150, 120:200] for name in names[::100]]
    assert len(cells) >= 3
    values = off = 0
    for cell in cells:
        ours = enlarger(network, 4)([cell])[0].astype(int)
        difference = np.abs(ours - reference(network, cell, tmp_path))
        assert difference.max() <= 1
        values, off = values + difference.size, off + np.count_nonzero(difference)
    assert off < values / 10_000


@pytest.mark.parametrize("method", ["bicubic", "lanczos"])
def test_interpolation_of_16_bits_agrees_with_8_bits(method: str) -> None:
    image = cv2.GaussianBlur(RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8), (0, 0), 1)
    eight = Interpolation(method, 4)([image])[0]
    sixteen = Interpolation(method, 4)([image.astype(np.uint16) * 257])[0]
    assert sixteen.dtype == np.uint16
    assert np.abs(sixteen / 257 - eight).max() <= 1.5


def test_images_outside_a_range_of_sizes_are_padded_or_tiled() -> None:
    network, shapes = rrdbnet(2), []

    def run(batch: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(batch.shape))
        return network(batch)

    profile = Profile(2, (20, 24), (40, 48), (44, 64), multiple=2)
    ranged = enlarger(network, 2, 512, 8, run=run, profile=profile, batch=2)
    for size in [(40, 48), (43, 63), (10, 10), (90, 50)]:
        image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
        assert ranged([image])[0].shape == (size[0] * 2, size[1] * 2, 3)
    assert shapes[:3] == [(2, 3, 40, 48), (2, 3, 44, 64), (2, 3, 20, 24)]
    assert set(shapes[3:]) == {(2, 3, 44, 50)}


@pytest.mark.parametrize("kind", [(70, 140, 3), (70, 140)], ids=["RGB", "grey"])
@pytest.mark.parametrize("side", [64, 96])
def test_an_engine_for_small_images_tiles_large_ones(
    kind: tuple[int, ...], side: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The overlap is as large as tiles of this size allow; one log line says so."""
    network, image = rrdbnet(4), np.full(kind, 128, np.uint8)
    small = enlarger(network, 4, 512, 48, profile=Profile.fixed(1, side, side))
    results = [small([image])[0] for _ in range(2)]
    assert results[0].shape[:2] == (280, 560)
    assert np.abs(results[0].astype(int) - enlarger(network, 4)([image])[0])[100:-100, 100:-100].max() <= 1
    assert [f" {side // 4} instead of 48" in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize("kind", [(20, 24, 3), (20, 24)], ids=["RGB", "grey"])
def test_out_of_memory_halves_the_batch(kind: tuple[int, ...], caplog: pytest.LogCaptureFixture) -> None:
    """The memory error of the device is simulated: at most two images fit."""
    network, sizes = rrdbnet(4), []

    def run(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return network(batch)

    images = [RNG.integers(0, 256, kind, dtype=np.uint8) for _ in range(9)]
    results = enlarger(network, 4, run=run, batch=8)(images)
    assert sizes == [8, 4, 2, 2, 2, 2, 1]
    assert [record.message for record in caplog.records][-1].endswith("continuing with 2 images at once")
    for image, result in zip(images, results, strict=True):
        assert np.abs(enlarger(network, 4)([image])[0].astype(int) - result).max() <= 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [({}, "with one image .* lower inference.tile"), ({"profile": Profile.fixed(1, 20, 24)}, "inference.batch_size")],
)
def test_out_of_memory_with_the_smallest_batch_gives_one_line(changes: dict, words: str) -> None:
    def run(batch: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.\nMore lines.")

    with pytest.raises(InputError, match=words) as caught:
        enlarger(rrdbnet(4), 4, run=run, **changes)([RNG.integers(0, 256, (20, 24, 3), dtype=np.uint8)])
    assert "\n" not in str(caught.value)
