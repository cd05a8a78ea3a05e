"""Fine-tuning: which photographs it may see, how they are degraded, the training, and its resumption."""

from __future__ import annotations

import random
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from defaults import config_of
from small_networks import compact, rrdbnet, write_network, write_weights
from wbcsr.dataset.split import by_source_split
from wbcsr.errors import InputError
from wbcsr.fidelity.metrics import halve, psnr_of, resize
from wbcsr.files import read_json, write_json
from wbcsr.finetune import batches as batching
from wbcsr.finetune import estimate as estimating
from wbcsr.finetune import losses, matched, second_order
from wbcsr.finetune import train as training
from wbcsr.finetune.batches import Batches, largest_side
from wbcsr.finetune.estimate import Pair, estimate
from wbcsr.finetune.matched import SHRINKING, Matched
from wbcsr.finetune.photographs import COLUMNS, choose_photographs, deal, unseen_photographs, usable_photographs
from wbcsr.finetune.train import FinetuneJob, finetune
from wbcsr.training.distributed import run
from wbcsr.training.ranks import Ranks
from wbcsr.weights import store

CPU = torch.device("cpu")
MATCHED = Matched("bilinear", "nearest", 75)


def smear(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    """A smooth picture of a violet cell on a pale ground with grains, (height, width, 3) uint8."""
    noise = np.random.default_rng(seed).normal(0, 1, (height, width, 3)).astype(np.float32)
    pixels = np.full((height, width, 3), (225, 205, 210), np.float32) + 40 * cv2.GaussianBlur(noise, (0, 0), 2)
    centre = (width // 2 + seed % 5, height // 2)
    cell = cv2.GaussianBlur(cv2.circle(np.zeros((height, width), np.float32), centre, 16, 1, -1), (0, 0), 1)
    grains = 60 * cv2.GaussianBlur(noise, (0, 0), 1.2)
    violet = np.array((110, 60, 150), np.float32) + grains
    return np.rint(pixels + cell[..., None] * (violet - pixels)).clip(0, 255).astype(np.uint8)


def tables(folder: Path, sources: int, images_per_source: int = 4) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Images of two classes and their sources; every third source has two photographs that overlap."""
    rows = []
    for number in range(sources):
        for image in range(images_per_source):
            second = number % 3 == 0 and image % 2
            name = f"photo_{number:03}{'b' if second else 'a'}.png"
            rows.append(
                (f"TRAIN/{'AB'[number % 2]}/{number}_{image}.png", "AB"[number % 2], f"photo_{number:03}a.png", name)
            )
    table = pd.DataFrame(rows, columns=["image", "class", "source", "photograph"])
    return table[["image", "class"]], table[["image", "source", "photograph"]]


# Which photographs may be seen


@pytest.mark.parametrize("fold", [1, 2, 3, 4, 5])
def test_no_photograph_is_validated_or_tested(tmp_path: Path, fold: int) -> None:
    """Nor one that overlaps such a photograph, nor one that belongs to the other use."""
    images, sources = tables(tmp_path, 40)
    split = by_source_split(images, sources, 5, fold)
    table = sources.merge(split, on="image")
    held_out = table[table["subset"] != "train"]
    seen = deal(usable_photographs(sources, split), 5, seed=fold)
    assert len(seen) > 20
    assert not {*seen["photograph"]} & {*held_out["photograph"]}
    assert not {*seen["source"]} & {*held_out["source"]}
    uses = [{*seen.loc[seen["use"] == use, "source"]} for use in ("train", "validation")]
    assert uses[1]
    assert not uses[0] & uses[1]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_sets_are_disjoint_for_any_split(data: st.DataObject) -> None:
    """Even for a split that divides the images of a source, and for sources or photographs that are not known."""
    names = st.sampled_from(["", "p", "q", "r", "s"])
    subsets = st.sampled_from(["train", "validation", "test", "", "other_camera"])
    rows = data.draw(st.lists(st.tuples(names, names, subsets), max_size=12))
    table = pd.DataFrame(rows, columns=["source", "photograph", "subset"]).astype(object)
    table["image"] = [str(number) for number in range(len(rows))]
    found = usable_photographs(table[["image", "source", "photograph"]], table[["image", "subset"]])
    held_out = table[table["subset"].isin(["validation", "test", "other_camera"])]
    assert not {*found["photograph"]} & {*held_out["photograph"]}
    assert not {*found["source"]} & {*held_out["source"]}
    assert "" not in {*found["photograph"], *found["source"]}


@pytest.mark.parametrize("subset", ["train", "validation", "test", "other_camera"])
def test_a_held_out_image_needs_a_source(tmp_path: Path, caplog: pytest.LogCaptureFixture, subset: str) -> None:
    """Its photograph could be used otherwise. An extra test may show other cells, so there is only a warning."""
    images, sources = tables(tmp_path, 5)
    sources.loc[7, ["source", "photograph"]] = ""
    split = images.assign(subset="train")
    split.loc[7, "subset"] = subset
    sources.to_csv(tmp_path / "sources.csv", index=False)
    split.to_csv(tmp_path / "mine.csv", index=False)
    files = (tmp_path / "sources.csv", tmp_path / "mine.csv")
    named = rf"mine\.csv: .*{re.escape(images['image'][7])}"
    if subset in ("validation", "test"):
        with pytest.raises(InputError, match=named):
            choose_photographs(*files, 1, 0)
    else:
        choose_photographs(*files, 1, 0)
        assert bool(re.search(named, caplog.text)) == (subset == "other_camera")


def test_fidelity_is_measured_apart_from_what_was_seen(tmp_path: Path) -> None:
    """Nor on a photograph that overlaps one that was seen, nor on one of which nothing is known."""
    rows = [("seen", "a"), ("overlapping", "a"), ("other", "b"), ("", ""), ("of no source", "")]
    pd.DataFrame(rows, columns=["photograph", "source"]).to_csv(tmp_path / "sources.csv", index=False)
    pd.DataFrame([("seen", "a", "train")], columns=COLUMNS).to_csv(tmp_path / "seen.csv", index=False)
    assert unseen_photographs(tmp_path / "sources.csv", tmp_path / "seen.csv") == {"other"}


# Degradations


def stripes() -> np.ndarray:
    """Black and white columns, each one pixel wide."""
    return np.tile(np.array([0, 255], np.uint8), (32, 16))[..., None].repeat(3, axis=2)


@pytest.mark.parametrize(("kernel", "contrast"), [("nearest", 0), ("box", 0), ("bilinear", 0), ("lanczos", 0)])
def test_kernels_average_the_finest_stripes_except_nearest(kernel: str, contrast: float) -> None:
    """The nearest pixel takes one of the two colours, the others take their mean."""
    small = SHRINKING[kernel](stripes(), 16, 16)
    middle = small[4:-4, 4:-4]
    assert middle.std() == pytest.approx(contrast, abs=2)
    assert (abs(float(middle.mean()) - 127.5) < 3) == (kernel != "nearest")


def test_a_lower_jpeg_quality_changes_more_and_none_changes_nothing() -> None:
    photograph = smear(0)
    errors = [psnr_of(matched.jpeg(photograph, quality), photograph) for quality in (95, 75, 40, 10)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] - errors[-1] > 5
    assert matched.jpeg(photograph, None) is photograph


@pytest.mark.parametrize("seed", range(6))
def test_a_drawn_pair_shows_the_same_place(seed: int) -> None:
    """Shrunk to the size of the degraded square, the square of the photograph equals it but for interpolation."""
    photograph = smear(seed)
    degradation = Matched("bilinear", "bilinear", None)
    low, high = degradation.draw(photograph, degradation.shrunk(photograph), 24, np.random.default_rng(seed))
    assert (low.shape, high.shape) == ((24, 24, 3), (48, 48, 3))
    there = psnr_of(SHRINKING["bilinear"](high, 24, 24), low)
    moved = psnr_of(np.roll(SHRINKING["bilinear"](high, 24, 24), 1, axis=1)[:, 1:], low[:, 1:])
    assert there > 36
    assert there > moved + 4


@pytest.mark.parametrize("seed", range(6))
def test_without_a_warp_a_pair_is_that_of_the_fidelity_measurement(seed: int) -> None:
    """Apart from its edge, the square is the halved square of the photograph; Pillow rounds between its two passes."""
    photograph = smear(seed)
    low, high = matched.HALVED.draw(photograph, matched.HALVED.shrunk(photograph), 24, np.random.default_rng(seed))
    apart = halve(np.ascontiguousarray(high)).astype(int) - low
    assert np.abs(apart[2:-2, 2:-2]).max() <= 1


GREY = Pair("grey.jpg", np.full((96, 128, 3), 128, np.uint8), smear(0, 192, 256), np.eye(2, 3) * 2, 75)


def test_images_that_fit_no_photograph_are_an_error(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InputError, match=r"finetune\.degradation"):
        estimate([GREY])
    assert "grey.jpg" in caplog.text


def frame_of(angle: float, shift: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
    """The frame from an image to its photograph of twice the size: turned about the middle, and shifted."""
    turn = cv2.getRotationMatrix2D(((size[1] - 1) / 2, (size[0] - 1) / 2), angle, 1.0)
    turn[:, 2] += shift
    return matched.enlarged(turn) @ np.array([[2.0, 0, 0.5], [0, 2.0, 0.5], [0, 0, 1]])


def pair_of(number: int, made: Matched, size: tuple[int, int], first: str = "shrink") -> Pair:
    """An image of `size` (height, width) that was made from a photograph, with the less exact frame of the features."""
    height, width = size
    # The image of an odd photograph is odd; `read_photographs` cuts off the photograph's last row and column.
    photograph = smear(number, 2 * (height - height % 2), 2 * (width - width % 2)).astype(float)
    photograph = np.clip(photograph + np.random.default_rng(number).normal(0, 12, photograph.shape), 0, 240)
    photograph = photograph.astype(np.uint8)
    frame = frame_of(20 + 30 * number, (1.3, -2.2), size)
    small = cv2.invertAffineTransform(np.array([[2.0, 0, 0.5], [0, 2.0, 0.5]]))
    to_small = (np.vstack([small, [0, 0, 1]]) @ np.vstack([frame, [0, 0, 1]]))[:2]
    if first == "shrink":
        image = made.warped(made.shrunk(photograph), to_small, width, height)
    else:
        image = made.shrunk(made.warped(photograph, matched.enlarged(to_small), 2 * width, 2 * height))
    frame = frame + np.array([[0, 0, 0.5], [0, 0, -0.4]])
    return Pair(f"{number}.jpg", made.compressed(image), photograph, frame, made.quality)


@pytest.mark.parametrize("size", [(96, 128), (97, 129)], ids=["even", "odd"])
@pytest.mark.parametrize(
    "made", [MATCHED, Matched("bicubic", "bilinear", 90), Matched("nearest", "bicubic", None)], ids=str
)
def test_the_estimate_finds_how_images_were_made(made: Matched, size: tuple[int, int]) -> None:
    found = estimate([pair_of(number, made, size) for number in range(3)])
    assert found.degradation == made
    assert found.candidates[0].psnr > found.candidates[1].psnr + 0.1


def test_the_estimate_counts_and_scores_what_it_chose() -> None:
    """Not a pair that was left out, nor a candidate that is not imitated."""
    found = estimate([GREY, pair_of(1, Matched("bicubic", "bilinear", 90), (96, 128), "warp")])
    assert found.candidates[0].first == "warp"
    chosen = (found.degradation.shrink, found.degradation.warp, "shrink")
    (psnr,) = (each.psnr for each in found.candidates if (each.shrink, each.warp, each.first) == chosen)
    assert (found.pairs, found.psnr) == (1, round(psnr, 2))


def test_an_exact_estimate_has_no_psnr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Infinity is no JSON."""
    monkeypatch.setattr(estimating, "_errors", lambda *_: np.zeros(3))
    assert estimate([pair_of(1, MATCHED, (96, 128))]).psnr is None


def test_the_jpeg_quality_is_read_from_the_file(tmp_path: Path) -> None:
    for quality in (30, 75, 96):
        Image.fromarray(smear(0)).save(tmp_path / "image.jpg", quality=quality)
        assert matched.jpeg_quality((tmp_path / "image.jpg").read_bytes()) == quality
    Image.fromarray(smear(0)).save(tmp_path / "image.png")
    assert matched.jpeg_quality((tmp_path / "image.png").read_bytes()) is None


def as_batch(*photographs: np.ndarray) -> torch.Tensor:
    return torch.stack([torch.from_numpy(each).permute(2, 0, 1).float() / 255 for each in photographs])


def sharpness(images: torch.Tensor) -> float:
    return float((images[..., 1:] - images[..., :-1]).abs().mean())


@pytest.mark.parametrize(
    ("step", "effect"),
    [
        (lambda images: second_order.blur(images, second_order.FIRST), lambda a, b: sharpness(b) < 0.8 * sharpness(a)),
        (lambda images: second_order.jpeg(images), lambda a, b: 0.002 < float((a - b).abs().mean()) < 0.1),
        (lambda images: second_order.final_sinc(images), lambda a, b: 1e-4 < float((a - b).abs().mean()) < 0.1),
    ],
    ids=["blur", "jpeg", "sinc"],
)
def test_each_step_has_its_effect(
    step: Callable[[torch.Tensor], torch.Tensor], effect: Callable[[torch.Tensor, torch.Tensor], bool]
) -> None:
    images = as_batch(*(smear(number) for number in range(8)))
    with second_order.seeded([0]):
        changed = step(images)
    assert changed.shape == images.shape
    assert effect(images, changed)


def test_noise_is_as_strong_as_its_settings_say() -> None:
    """Gaussian noise has a standard deviation of 1 to 30 levels; Poisson noise is about as strong."""
    images = as_batch(*(smear(number) for number in range(4)))
    with second_order.seeded([1]):
        added = [second_order.noise(images, second_order.FIRST) - images for _ in range(6)]
    levels = [255 * float(each.std()) for batch in added for each in batch]
    assert 0.2 < min(levels) < 5
    assert 15 < max(levels) < 50


def test_sizes_are_drawn_within_their_range() -> None:
    images = torch.zeros(1, 3, 48, 48)
    with second_order.seeded([2]):
        sides = {second_order.resize(images, second_order.FIRST, (48, 48)).shape[-1] for _ in range(40)}
    assert 0.14 * 48 < min(sides) < 40
    assert 48 < max(sides) <= 1.5 * 48


def test_the_second_order_degradation_repeats_itself_and_leaves_other_randomness_alone() -> None:
    images = as_batch(smear(0), smear(1))
    state, results = random.getstate(), []
    for seed in (5, 5, 6):
        with second_order.seeded([seed]):
            results.append(second_order.degrade(images, 32))
    assert random.getstate() == state
    (low, high), again, other = results
    assert (low.shape[-2:], high.shape[-2:]) == ((16, 16), (32, 32))
    assert torch.allclose(low * 255, (low * 255).round(), atol=1e-4)
    assert torch.equal(high, images[..., 32:64, 48:80])
    assert torch.equal(low, again[0])
    assert not torch.equal(low, other[0])


# Losses


def test_the_output_is_shrunk_as_pillow_does() -> None:
    shrink = losses.Shrink()
    large = smear(3, 96, 96)
    expected = shrink.like(as_batch(resize(large, 48, 48)))
    assert shrink(as_batch(large)).shape == expected.shape
    # Pillow rounds between its two passes.
    assert (shrink(as_batch(large)).clamp(0, 1) - expected).abs().max() < 1.5 / 255


def test_the_perceptual_loss_uses_the_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "VGG_LAYERS", {2: 0.5})
    tensors = {
        f"features.{name}": torch.rand(shape)
        for name, shape in (
            ("0.weight", (64, 3, 3, 3)),
            ("0.bias", (64,)),
            ("2.weight", (64, 64, 3, 3)),
            ("2.bias", (64,)),
        )
    }
    save_file(tensors | {"classifier.0.bias": torch.zeros(4)}, tmp_path / "vgg.safetensors")
    loss = losses.Perceptual(tmp_path / "vgg.safetensors")
    images = as_batch(smear(0), smear(1))
    assert loss(images, images) == 0
    assert loss(images, images.flip(0)) > 0
    save_file({name: tensors[name] for name in sorted(tensors)[1:]}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other.safetensors: .*perceptual_weights"):
        losses.Perceptual(tmp_path / "other.safetensors")


# Training


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of photographs, their tables, and a small network that starts as a poor one."""
    folder = tmp_path_factory.mktemp("finetune")
    images, sources = tables(folder, 15)
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        for number, name in enumerate(sorted(set(sources["photograph"]))):
            content = cv2.imencode(".png", smear(number)[:, :, ::-1])[1].tobytes()
            archive.writestr(f"photographs/{name}", content)
    sources.to_csv(folder / "sources.csv", index=False)
    by_source_split(images, sources, 5, 1).to_csv(folder / "split.csv", index=False)
    write_weights(folder / "small.safetensors")
    write_json(folder / "degradation.json", {"degradation": vars(MATCHED)})
    return folder


def job_of(bench: Path, folder: Path, **changes: Any) -> FinetuneJob:
    small = {"steps": 4, "batch_size": 2, "patch": 8, "validate_every": 2, "precision": "fp32"}
    few = {"validation_photographs": 2, "frozen_blocks": 0}
    config = config_of(finetune={**small, **few, **changes}, dataset={"photographs": "photographs"})
    return FinetuneJob(
        archive=bench / "archive.zip",
        dataset=config["dataset"],
        sources=bench / "sources.csv",
        split=bench / "split.csv",
        weights=bench / "small.safetensors",
        degradation=bench / "degradation.json",
        settings=config["finetune"],
        model=folder / "model.safetensors",
        photographs=folder / "photographs.csv",
        history=folder / "history.csv",
        checkpoint=folder / "checkpoint.pt",
        threads=1,
    )


def test_fidelity_in_the_cell_rises(bench: Path, tmp_path: Path) -> None:
    """The network is loaded like any other one afterwards."""
    summary = finetune(job_of(bench, tmp_path, steps=60, validate_every=30, learning_rate=0.002), Ranks(CPU))
    assert summary.finetuned["psnr"] > summary.initial["psnr"] + 3
    assert summary.finetuned["ciede2000"] < summary.initial["ciede2000"]
    history = pd.read_csv(tmp_path / "history.csv")
    assert list(history["step"]) == [0, 30, 60]
    assert history["psnr"].max() == pytest.approx(summary.finetuned["psnr"])
    _, architecture = store.load(tmp_path / "model.safetensors")
    assert architecture.scale == 4
    assert read_json(tmp_path / "model.json")["source"] == "finetuned"
    seen = pd.read_csv(tmp_path / "photographs.csv")
    assert summary.photographs == (seen["use"] == "train").sum()


@pytest.mark.parametrize("changes", [{}, {"degradation": "real-esrgan", "adversarial": 0.1}], ids=["L1", "adversarial"])
def test_a_killed_training_resumes_to_the_same_bytes(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    whole, cut = (job_of(bench, tmp_path / name, **changes) for name in ("whole", "cut"))
    finetune(whole, Ranks(CPU))
    step = training.Training._run_step

    def killed(self: training.Training) -> torch.Tensor:
        if self.step == 3:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(training.Training, "_run_step", killed)
    with pytest.raises(KeyboardInterrupt):
        finetune(cut, Ranks(CPU))
    monkeypatch.undo()
    assert not cut.model.exists()
    assert finetune(cut, Ranks(CPU)).resumed_steps == 2
    assert cut.model.read_bytes() == whole.model.read_bytes()
    columns = ["step", "loss", "psnr"]
    assert pd.read_csv(cut.history)[columns].equals(pd.read_csv(whole.history)[columns])


def test_frozen_blocks_keep_their_weights(bench: Path, tmp_path: Path) -> None:
    job = job_of(bench, tmp_path, steps=2, frozen_blocks=1)
    finetune(job, Ranks(CPU))
    before, after = load_file(job.weights), load_file(job.model)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"}
    with pytest.raises(InputError, match=r"finetune\.frozen_blocks is 2"):
        finetune(replace(job, settings={**job.settings, "frozen_blocks": 2}), Ranks(CPU))


def test_training_stops_when_the_fidelity_no_longer_rises(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of the best validation are kept."""
    falling = iter([30.0, 31.0, 29.0, 28.0, 27.0])
    monkeypatch.setattr(training, "score", lambda *_: {"psnr": next(falling, 20.0), "ssim": 0.5, "ciede2000": 1.0})
    summary = finetune(job_of(bench, tmp_path, steps=40, validate_every=1, patience=2), Ranks(CPU))
    assert (summary.steps, summary.best_step) == (3, 1)


def test_the_parts_of_two_processes_make_up_the_batch() -> None:
    """Each square is drawn by one process, whichever it is."""
    batches = Batches([smear(0), smear(1)], MATCHED, 8, 4, 7, CPU)
    whole = batches.draw(3, slice(0, 4))
    parts = [batches.draw(3, Ranks(CPU, rank, 2).part(4).where) for rank in range(2)]
    for which in (0, 1):
        assert torch.equal(torch.cat([part[which] for part in parts]), whole[which])
    assert not torch.equal(whole[0], batches.draw(4, slice(0, 4))[0])


def test_two_processes_train_as_one(bench: Path, tmp_path: Path) -> None:
    """torchrun starts them; each works on its part of every batch."""
    jobs = [job_of(bench, tmp_path / str(gpus), batch_size=4, gpus=gpus) for gpus in (1, 2)]
    alone, together = (run(finetune, job, section="finetune", device_type="cpu") for job in jobs)
    assert (alone.devices, together.devices) == (1, 2)
    for job in jobs[1:]:
        assert pd.read_csv(job.photographs).equals(pd.read_csv(jobs[0].photographs))
    expected, found = (pd.read_csv(job.history) for job in jobs)
    for column in ("loss", "psnr"):
        assert found[column].dropna().tolist() == pytest.approx(expected[column].dropna().tolist(), rel=1e-3)


def test_a_split_that_tests_every_photograph_is_an_error(bench: Path, tmp_path: Path) -> None:
    job = job_of(bench, tmp_path)
    split = pd.read_csv(job.split)
    split["subset"] = ["train", "validation", "test", "train"] * (len(split) // 4)
    split.to_csv(tmp_path / "paper.csv", index=False)
    with pytest.raises(InputError, match=r"paper.csv: .*by_source"):
        finetune(replace(job, split=tmp_path / "paper.csv"), Ranks(CPU))


@pytest.mark.parametrize("network", [compact(), rrdbnet(scale=2)], ids=["another kind", "another scale"])
def test_only_an_rrdbnet_for_x4_is_fine_tuned(bench: Path, tmp_path: Path, network: torch.nn.Module) -> None:
    path = write_network(network, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other\.safetensors: .*weights\.path"):
        finetune(replace(job_of(bench, tmp_path), weights=path), Ranks(CPU))


def test_squares_larger_than_a_photograph_are_an_error(bench: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"finetune\.patch is 40, .*archive\.zip .* at most 32 "):
        finetune(job_of(bench, tmp_path, patch=40), Ranks(CPU))


@pytest.mark.parametrize(
    ("degradation", "largest"),
    [(MATCHED, 34), (matched.HALVED, 48), (None, 48)],
    ids=["warped", "halved", "real-esrgan"],
)
def test_the_largest_squares_fit_into_photographs_of_several_sizes(degradation: Matched | None, largest: int) -> None:
    photographs = [smear(0), smear(1, 160, 140)]
    side = largest_side(photographs, degradation)
    assert side == largest
    for step in range(8):
        low, high = Batches(photographs, degradation, side, 4, 7, CPU).draw(step, slice(0, 4))
        assert (low.shape, high.shape) == ((4, 3, side, side), (4, 3, 2 * side, 2 * side))


def test_a_smaller_photograph_sets_the_context_of_all_squares() -> None:
    low, high = Batches([smear(0), smear(1, 64, 80)], None, 24, 8, 7, CPU).draw(0, slice(0, 8))
    assert (low.shape, high.shape) == ((8, 3, 24, 24), (8, 3, 48, 48))


@pytest.mark.parametrize("degradation", [MATCHED, matched.HALVED, None], ids=["warped", "halved", "real-esrgan"])
def test_half_of_the_squares_are_centred_on_a_cell(
    degradation: Matched | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cell covers a tenth of the photographs, with the ring around its nucleus, where a square is half pale."""
    plain = np.full((96, 128, 3), (225, 205, 210), np.uint8)

    def on_cells(photographs: list[np.ndarray]) -> float:
        _, high = Batches(photographs, degradation, 8, 100, 7, CPU).draw(0, slice(0, 100))
        return float((high[:, 1, 6:10, 6:10].mean(dim=(1, 2)) < 0.6).float().mean())

    assert 0.28 < on_cells([smear(0), smear(1)]) < 0.6
    assert on_cells([plain]) == 0  # without a cell, squares are anywhere
    monkeypatch.setattr(batching, "ON_CELLS", 0)
    assert on_cells([smear(0), smear(1)]) < 0.2
