"""Super-resolution gives Real-ESRGAN's own pixels, for every kind of image, in tiles and in batches."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from small_networks import rrdbnet
from wbcsr import imaging
from wbcsr.engines import engine as engines
from wbcsr.engines.backends import Eager, Inductor
from wbcsr.errors import InputError
from wbcsr.files import sha256, write_json
from wbcsr.upscale.interpolation import Interpolation
from wbcsr.upscale.upscaler import SuperResolution
from wbcsr.weights import store
from wbcsr.weights.networks import describe

RNG = np.random.default_rng(0)


def engine_of(network: torch.nn.Module, **changes: object) -> engines.Engine:
    """An engine around a network, as `load` makes it for the eager backend on a CPU."""
    architecture = describe(network.state_dict())
    given = {
        "run": network,
        "scale": architecture.scale,
        "multiple": architecture.multiple,
        "shape": None,
        "batch_size": 1,
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "memory_format": torch.contiguous_format,
        "identity": "test",
    }
    return engines.Engine(**{**given, **changes})


def reference(network: torch.nn.Module, image: np.ndarray, folder: Path, outscale: int | None = None) -> np.ndarray:
    """What Real-ESRGAN's own tool makes of an image (RGB in, RGB out)."""
    from realesrgan import RealESRGANer

    torch.save({"params_ema": network.state_dict()}, folder / "reference.pth")
    architecture = describe(network.state_dict())
    tool = RealESRGANer(
        scale=architecture.scale,
        model_path=str(folder / "reference.pth"),
        model=rrdbnet(architecture.scale, architecture.blocks),
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
    ours = SuperResolution(engine_of(network), scale, 512, 48)([image])[0]
    theirs = reference(network, image, tmp_path)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def test_a_scale_without_a_network_is_reached_as_the_official_tool_does(tmp_path: Path) -> None:
    network, image = rrdbnet(4), RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    ours = SuperResolution(engine_of(network), 3, 512, 48)([image])[0]
    assert ours.shape == (60, 90, 3)
    np.testing.assert_array_equal(ours, reference(network, image, tmp_path, outscale=3))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 40), (65, 64)])
@pytest.mark.parametrize("scale", [2, 4])
def test_tiny_and_odd_images(shape: tuple[int, int], scale: int) -> None:
    image = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert SuperResolution(engine_of(rrdbnet(scale)), scale, 64, 8)([image])[0].shape[:2] == (
        shape[0] * scale,
        shape[1] * scale,
    )


def test_a_batch_equals_its_images_one_by_one() -> None:
    images = [RNG.integers(0, 256, (24, 32, 4), dtype=np.uint8) for _ in range(3)]
    network = rrdbnet(4)
    together = SuperResolution(engine_of(network, batch_size=4), 4, 512, 48)(images)
    for image, result in zip(images, together, strict=True):
        alone = SuperResolution(engine_of(network), 4, 512, 48)([image])[0]
        assert np.abs(alone.astype(int) - result).max() <= 1


@pytest.fixture(scope="module")
def smear() -> np.ndarray:
    """A smooth picture with discs, since seams show on structure and not on noise."""
    picture = np.full((64, 130, 3), 220, np.uint8)
    for x in range(10, 130, 28):
        cv2.circle(picture, (x, 16 + x % 35), 12, (190, 120, 140), -1, cv2.LINE_AA)
        cv2.circle(picture, (x, 16 + x % 35), 5, (90, 40, 130), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(picture, (0, 0), 1)


def test_seams_cannot_be_seen(x4plus: Path, smear: np.ndarray) -> None:
    network, _ = store.load(x4plus)
    whole = SuperResolution(engine_of(network), 4, 512, 48)([smear])[0].astype(int)
    tiled = SuperResolution(engine_of(network), 4, 112, 48)([smear])[0].astype(int)
    difference = np.abs(whole - tiled)
    assert difference.any()  # it was tiled
    assert difference.max() <= 3
    assert 10 * np.log10(255**2 / (difference**2).mean()) > 55


def test_a_fixed_shape_pads_small_images_and_short_batches() -> None:
    network = rrdbnet(4)
    shapes = []

    def run(batch: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(batch.shape))
        return network(batch)

    fixed = SuperResolution(engine_of(network, run=run, shape=(40, 48), batch_size=3), 4, 512, 8)
    free = SuperResolution(engine_of(network), 4, 512, 8)
    for size in [(40, 48), (20, 30), (70, 90)]:
        image = cv2.GaussianBlur(RNG.integers(0, 256, (*size, 3), dtype=np.uint8), (0, 0), 2)
        result = fixed([image])[0]
        assert result.shape == (size[0] * 4, size[1] * 4, 3)
        assert np.abs(result.astype(int) - free([image])[0])[:, : size[1] * 2].max() <= 8
    assert set(shapes) == {(3, 3, 40, 48)}


def test_bf16_is_close_to_fp32(x4plus: Path, smear: np.ndarray) -> None:
    exact = SuperResolution(engine_of(store.load(x4plus)[0]), 4, 512, 48)([smear[:24, 4:36]])[0].astype(int)
    network = store.load(x4plus)[0].bfloat16()
    rough = SuperResolution(engine_of(network, dtype=torch.bfloat16), 4, 512, 48)([smear[:24, 4:36]])[0]
    assert 10 * np.log10(255**2 / ((exact - rough) ** 2).mean()) >= 48


@pytest.mark.real
def test_real_cells_equal_the_official_tool(real_archive: Path, x4plus: Path, tmp_path: Path) -> None:
    network, _ = store.load(x4plus)
    with zipfile.ZipFile(real_archive) as archive:
        names = [name for name in sorted(archive.namelist()) if "/TEST/" in name and name.endswith("0.jpeg")]
        cells = [imaging.decode(archive.read(name), name)[90:150, 120:200] for name in names[::60]]
    assert len(cells) >= 3
    values = off = 0
    for cell in cells:
        ours = SuperResolution(engine_of(network), 4, 512, 48)([cell])[0].astype(int)
        difference = np.abs(ours - reference(network, cell, tmp_path))
        assert difference.max() <= 1
        values, off = values + difference.size, off + np.count_nonzero(difference)
    assert off < values / 10_000


@pytest.mark.parametrize("method", ["bicubic", "lanczos"])
def test_interpolation_of_16_bits_agrees_with_8(method: str) -> None:
    image = cv2.GaussianBlur(RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8), (0, 0), 1)
    eight = Interpolation(method, 4)([image])[0]
    sixteen = Interpolation(method, 4)([image.astype(np.uint16) * 257])[0]
    assert sixteen.dtype == np.uint16
    assert np.abs(sixteen / 257 - eight).max() <= 1.5


def settings(**changes: object) -> dict[str, object]:
    return {
        "backend": "auto",
        "precision": "auto",
        "batch_size": "auto",
        "tile": 512,
        "compile_above_minutes": 30,
        **changes,
    }


def write_weights(path: Path, seed: int) -> Path:
    """Weights of a small network with their description beside, as the workflow keeps them."""
    save_file(rrdbnet(4, seed=seed).state_dict(), path)
    write_json(path.with_suffix(".json"), {"sha256": sha256(path)})
    return path


@pytest.fixture
def small_weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "small.safetensors", seed=0)


@pytest.mark.parametrize(("precision", "says"), [("bf16", "compiling would not pay"), ("fp32", "convolutions")])
def test_auto_takes_eager_where_compiling_gains_nothing(
    small_weights: Path, tmp_path: Path, precision: str, says: str
) -> None:
    description = engines.build(
        small_weights, tmp_path / "engine.json", engines.Workload((24, 32), 4), settings(precision=precision)
    )
    assert description["backend"] == "eager"
    assert says in description["reason"]
    loaded = engines.load(small_weights, tmp_path / "engine.json")
    assert loaded.shape is None


def test_inductor_gives_eagers_pixels_and_refuses_another_machine(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = engines.Workload((24, 32), 10_000_000)
    description = engines.build(
        small_weights, tmp_path / "engine.json", workload, settings(backend="inductor", precision="fp32")
    )
    assert description["backend"] == "inductor"
    image = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    loaded = engines.load(small_weights, tmp_path / "engine.json")
    ours = SuperResolution(loaded, 4, 512, 8)([image])[0].astype(int)
    eager = SuperResolution(engine_of(rrdbnet(4)), 4, 512, 8)([image])[0]
    assert np.abs(ours - eager).max() <= 1
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(engines, "_machine", lambda device: "another processor")
        with pytest.raises(InputError, match=r"another machine.*compile_upscaler"):
            engines.load(small_weights, tmp_path / "engine.json")
    (tmp_path / "program.pt2").write_bytes(b"damaged")
    with pytest.raises(InputError, match="another program"):
        engines.load(small_weights, tmp_path / "engine.json")


def test_auto_measures_when_the_work_is_large(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler is a stand-in here; the real one is in the test above."""
    monkeypatch.setattr(Inductor, "compile", lambda self, network, example, program: program.write_bytes(b"x"))
    monkeypatch.setattr(Inductor, "load", Eager.load)
    # Cold eager, cold inductor, then both warm.
    for seconds, winner in (([5.0, 5.0, 2.0, 1.0], "inductor"), ([5.0, 5.0, 1.0, 2.0], "eager")):
        readings = iter(seconds)
        monkeypatch.setattr(engines, "_seconds", lambda run, example, readings=readings: next(readings))
        description = engines.build(
            small_weights, tmp_path / "engine.json", engines.Workload((24, 32), 10_000), settings(precision="bf16")
        )
        assert description["backend"] == winner
        assert (tmp_path / "program.pt2").exists() == (winner == "inductor")
        assert description["measured"]["eager_seconds_per_batch"] == seconds[2]


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"backend": "tensorrt"}, "tensorrt cannot run here"), ({"precision": "fp16"}, "fp16 needs a GPU")],
)
def test_what_cannot_run_is_an_error(small_weights: Path, tmp_path: Path, changes: dict, says: str) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU: its refusals were not looked at")
    with pytest.raises(InputError, match=says):
        engines.build(small_weights, tmp_path / "engine.json", engines.Workload((24, 32), 4), settings(**changes))


def test_an_engine_refuses_other_weights(small_weights: Path, tmp_path: Path) -> None:
    engines.build(small_weights, tmp_path / "engine.json", engines.Workload((24, 32), 4), settings())
    write_weights(small_weights, seed=1)
    with pytest.raises(InputError, match="another weights"):
        engines.load(small_weights, tmp_path / "engine.json")


def test_damaged_weights_are_not_used(small_weights: Path, tmp_path: Path) -> None:
    content = bytearray(small_weights.read_bytes())
    content[-5] ^= 1
    small_weights.write_bytes(content)
    with pytest.raises(InputError, match=r"small\.safetensors: SHA-256 is .* delete it and run again"):
        engines.build(small_weights, tmp_path / "engine.json", engines.Workload((24, 32), 4), settings())


def test_an_engine_without_its_keys_is_named(small_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "engine.json").write_text("{}")
    with pytest.raises(InputError, match=r"engine\.json: lacks .*; delete it and run again"):
        engines.load(small_weights, tmp_path / "engine.json")
