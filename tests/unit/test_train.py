"""Training: the network learns, results are reproducible, and training resumes after it was killed."""

from __future__ import annotations

import logging
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch._dynamo.utils import counters

from two_colours import CLASSES, CPU, SETTINGS, SIDE, Bench, Small, build_small, make_bench, pack_two_colours
from wbcsr.classify import classifiers
from wbcsr.classify import train as training
from wbcsr.classify.augment import augment, draw
from wbcsr.classify.batches import RESIDENT_SHARE, Batches, Resident, Streamed, place
from wbcsr.classify.history import best_epoch
from wbcsr.classify.pack import select
from wbcsr.classify.train import TrainSummary, choose_compile, logits_of
from wbcsr.errors import InputError, user_message
from wbcsr.training.ranks import Ranks
from wbcsr.training.schedule import learning_rate


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Thirteen training images, so that the last batch of an epoch would have one image."""
    yield from make_bench(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def trained(colours: Bench) -> TrainSummary:
    return colours.train("whole")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Four training images, and one epoch of training the small network on them under the name `once`."""
    for bench in make_bench(tmp_path_factory.mktemp("tiny"), train_images=4):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(classifiers, "build", build_small)
            bench.train("once", epochs=1)
        yield bench


def test_training_learns_and_writes_its_history(colours: Bench, trained: TrainSummary) -> None:
    history = colours.history("whole")
    assert list(history.columns) == [
        "epoch", "learning_rate", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "seconds",
    ]  # fmt: skip
    assert list(history["epoch"]) == [1, 2]
    assert history["validation_accuracy"].max() > 0.9
    assert (trained.training_images, trained.validation_images) == (13, 8)
    assert trained.images_per_second is not None
    assert trained.images_per_second > 0


def test_frozen_stages_keep_their_initial_tensors(tiny: Bench) -> None:
    settings = {"classifier": "efficientnet_lite0", "epochs": 1}
    tiny.train("start", **settings, learning_rate=1e-30, frozen_stages=5)
    tiny.train("frozen", **settings, init=tiny.model("start"), frozen_stages=2)
    start, frozen = load_file(tiny.model("start")), load_file(tiny.model("frozen"))
    kept = {name for name in start if name.startswith(("conv_stem.", "bn1.", "blocks.0."))}
    same = {name for name in start if torch.equal(start[name], frozen[name])}
    assert kept <= same
    assert not [name for name in same - kept if name.endswith("weight") or "running" in name]


def test_a_later_and_worse_epoch_is_not_kept(tiny: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifiers, "build", build_small)
    heads = []

    def right_then_wrong(model: torch.nn.Module, images: Batches, *_: Any) -> torch.Tensor:
        heads.append(model.fc.weight.detach().clone())
        right = torch.nn.functional.one_hot(torch.from_numpy(images.labels), len(CLASSES)).float()
        return right if len(heads) == 1 else -right

    monkeypatch.setattr("wbcsr.classify.train.logits_of", right_then_wrong)
    assert tiny.train("worse", epochs=2).best_epoch == 1
    assert torch.equal(load_file(tiny.model("worse"))["fc.weight"], heads[0])
    assert not torch.equal(heads[0], heads[1])


def test_the_saved_model_has_the_scores_of_its_best_epoch(colours: Bench, trained: TrainSummary) -> None:
    model, description = classifiers.load(colours.model("whole"))
    assert (description.classes, description.input_size) == (tuple(CLASSES), SIDE)
    images = select(colours.arrays, colours.indexes, colours.folder / "split.csv", CLASSES, {"validation"})
    logits = logits_of(model, Streamed(images, CPU), CPU, "fp32")
    labels = torch.from_numpy(images.labels)
    best = colours.history("whole").iloc[trained.best_epoch - 1]
    assert (logits.argmax(1) == labels).double().mean() == best["validation_accuracy"]
    loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=SETTINGS["label_smoothing"])
    assert loss.item() == pytest.approx(best["validation_loss"], rel=1e-4)


@pytest.mark.parametrize(("device", "sizes"), [("cpu", [32] * 8 + [14]), ("cuda", [256, 14])])
def test_a_gpu_validates_in_large_batches(device: str, sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU is simulated: the images remain in the CPU's memory."""
    seen: list[int] = []

    class Images:
        def __len__(self) -> int:
            return 270

        def read(self, parts: list[np.ndarray]) -> Iterator[tuple[Tensor, None]]:
            seen.extend(len(part) for part in parts)
            return ((torch.from_numpy(part)[:, None].float(), None) for part in parts)

    logits = logits_of(torch.nn.Identity(), Images(), torch.device(device), "fp32")  # type: ignore[arg-type]
    assert seen == sizes
    assert logits[:, 0].tolist() == list(range(270))


@pytest.mark.parametrize(
    ("accuracies", "losses", "best"),
    [
        ([0.5, 0.7, 0.6], [1.0, 0.9, 0.1], 2),
        ([0.5, 0.7, 0.7], [1.0, 0.9, 0.8], 3),
        ([0.7, 0.7, 0.5], [0.9, 0.9, 0.1], 1),
    ],
    ids=["highest accuracy", "then lowest loss", "then first"],
)
def test_the_best_epoch_has_the_highest_accuracy_then_the_lowest_loss(
    accuracies: list[float], losses: list[float], best: int
) -> None:
    rows = [
        {"epoch": epoch, "validation_accuracy": accuracy, "validation_loss": loss}
        for epoch, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), 1)
    ]
    assert best_epoch(rows) == best


def test_a_killed_and_resumed_training_gives_the_same_model_file(colours: Bench, trained: TrainSummary) -> None:
    """Another process is killed after its first epochs; the resumed training equals the undisturbed one."""
    code = (
        "from pathlib import Path; from two_colours import Bench\n"
        f"Bench(Path({str(colours.folder)!r}), [Path({str(colours.arrays[0])!r})], "
        f"[Path({str(colours.indexes[0])!r})]).train('killed')"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent) as process:
        while not colours.checkpoint("killed").exists():
            assert process.poll() is None, "ended before it wrote a checkpoint"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert not colours.model("killed").exists()
    summary = colours.train("killed")
    assert 1 <= summary.resumed_epochs < SETTINGS["epochs"]
    assert colours.model("killed").read_bytes() == colours.model("whole").read_bytes()
    pd.testing.assert_frame_equal(
        colours.history("killed").drop(columns="seconds"), colours.history("whole").drop(columns="seconds"), rtol=0
    )
    assert summary.best_epoch == trained.best_epoch


def test_a_checkpoint_of_a_finished_training_is_not_trained_further(
    tiny: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifiers, "build", build_small)
    summary = tiny.train("once", epochs=1)
    assert (summary.resumed_epochs, summary.images_per_second) == (1, None)


@pytest.mark.parametrize(("pace", "written"), [(0, [1, 2, 3]), (1e9, [1, 3])])
def test_the_interval_of_checkpoints_depends_on_their_cost(
    tiny: Bench, monkeypatch: pytest.MonkeyPatch, pace: float, written: list[int]
) -> None:
    monkeypatch.setattr(classifiers, "build", build_small)
    monkeypatch.setattr(training, "CHECKPOINT_PACE", pace)
    epochs = []

    def save(self: training.Training, path: Path, fingerprint: dict[str, str]) -> float:
        epochs.append(len(self.history))
        return 1.0

    monkeypatch.setattr(training.Training, "save", save)
    tiny.train(f"pace{pace}", epochs=3)
    assert epochs == written


def test_another_seed_gives_other_initial_weights(tiny: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The learning rate is too small to change anything, so the models differ only by their initial weights."""
    monkeypatch.setattr(classifiers, "build", build_small)
    states = []
    for seed in (0, 1):
        tiny.train(f"start{seed}", epochs=1, seed=seed, learning_rate=1e-30, augment=False)
        states.append(load_file(tiny.model(f"start{seed}")))
    assert not torch.equal(*(state["fc.weight"] for state in states))


def test_another_seed_or_epoch_gives_another_order(tiny: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The initial weights are the same, and each batch holds all four images."""
    orders = []

    class Looking(Small):
        def forward(self, images: Tensor) -> Tensor:
            if self.training:
                orders.append(tuple(images.flatten(1).sum(1).tolist()))
            return super().forward(images)

    monkeypatch.setattr(classifiers, "build", lambda classes, seed, *given: build_small(classes, 7, *given, Looking))
    for seed in (0, 1):
        tiny.train(f"order{seed}", seed=seed, augment=False)
    assert len({frozenset(order) for order in orders}) == 1
    assert len(set(orders)) == len(orders) == 4


def test_another_seed_gives_another_augmentation() -> None:
    assert not torch.equal(*(draw(4, torch.Generator().manual_seed(seed)) for seed in (0, 1)))


def test_a_compiled_step_gives_the_same_reproducible_result(colours: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 13 images, the last batch of an epoch has three images, for which no second shape is compiled."""
    monkeypatch.setattr(classifiers, "build", build_small)
    for name in ("compiled", "again"):
        torch.compiler.reset()
        counters.clear()
        assert colours.train(name, compile=True, batch_size=5).compiled
        assert counters["stats"]["unique_graphs"] == 1
    assert colours.model("compiled").read_bytes() == colours.model("again").read_bytes()
    assert not colours.train("eager", batch_size=5).compiled
    expected, found = (load_file(colours.model(name)) for name in ("eager", "compiled"))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("requested", "ranks", "passes", "compiler", "chosen"),
    [
        ("auto", Ranks(CPU), 2_000_000, "g++", False),
        ("auto", Ranks(torch.device("cuda")), 2_000_000, "g++", True),
        ("auto", Ranks(torch.device("cuda")), 100_000, "g++", False),
        ("auto", Ranks(torch.device("cuda")), 2_000_000, "", False),
        ("auto", Ranks(torch.device("cuda", 1), 1, 2), 2_000_000, "g++", False),
        (True, Ranks(CPU), 10, "clang++", True),
        (False, Ranks(torch.device("cuda")), 2_000_000, "g++", False),
        (True, Ranks(CPU), 10, "", "needs a C\\+\\+ compiler .*set it to auto or false"),
        (True, Ranks(torch.device("cuda", 1), 1, 2), 10, "g++", "torch cannot compile batch norms"),
    ],
)
def test_conditions_for_compiling_the_step(
    monkeypatch: pytest.MonkeyPatch, requested: bool | str, ranks: Ranks, passes: int, compiler: str, chosen: bool | str
) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: program if program == compiler else None)
    if isinstance(chosen, bool):
        assert choose_compile(requested, ranks, passes) is chosen
    else:
        with pytest.raises(InputError, match=f"train.compile cannot be true here: .*{chosen}"):
            choose_compile(requested, ranks, passes)


@pytest.mark.parametrize(("share", "kind"), [(1.0, Resident), (0.99, Streamed)])
def test_images_are_kept_in_gpu_memory_if_they_fit(
    colours: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, share: float, kind: type
) -> None:
    """This tests only the decision: the GPU and its memory are simulated, and nothing is copied."""
    images = select(colours.arrays, colours.indexes, colours.folder / "split.csv", CLASSES, {"train"})
    free = int(2 * 13 * SIDE * SIDE * 3 / RESIDENT_SHARE * share)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2 * free))
    monkeypatch.setattr(Resident, "__init__", lambda *_: None)
    with caplog.at_level(logging.INFO, "wbcsr"):
        placed = place([images, images], torch.device("cuda"))
    assert [type(images) for images in placed] == [kind, kind]
    assert kind.place in caplog.text
    assert type(place([images], CPU)[0]) is Streamed


def test_images_kept_in_memory_equal_streamed_ones(colours: Bench) -> None:
    images = select(colours.arrays, colours.indexes, colours.folder / "split.csv", CLASSES, {"train"})
    order = np.random.default_rng(0).permutation(len(images))
    parts = [order[:5], order[5:7], order[7:]]
    for streamed, resident in zip(Streamed(images, CPU).read(parts), Resident(images, CPU).read(parts), strict=True):
        assert all(torch.equal(one, other) for one, other in zip(streamed, resident, strict=True))


def flip_a_byte(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 255]))


def truncate(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("damage", "changes", "logged"),
    [
        (flip_a_byte, {}, "damaged"),
        (truncate, {}, "damaged"),
        (lambda path: None, {"learning_rate": 0.002, "augment": False}, "other train.augment, train.learning_rate;"),
        (lambda path: None, {"precision": "bf16"}, "other train.precision;"),
    ],
    ids=["flipped byte", "truncated", "other settings", "other precision"],
)
def test_an_unusable_checkpoint_is_ignored(
    tiny: Bench,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    damage: Any,
    changes: dict[str, Any],
    logged: str,
) -> None:
    monkeypatch.setattr(classifiers, "build", build_small)
    checkpoint = tiny.checkpoint("spoilt")
    checkpoint.parent.mkdir(exist_ok=True)
    shutil.copyfile(tiny.checkpoint("once"), checkpoint)
    damage(checkpoint)
    with caplog.at_level(logging.WARNING, "wbcsr"):
        assert tiny.train("spoilt", epochs=1, **changes).resumed_epochs == 0
    assert logged in caplog.text
    same_result = tiny.model("spoilt").read_bytes() == tiny.model("once").read_bytes()
    assert same_result == (not changes)


def test_dual_uses_both_variants_for_training_and_validation(tmp_path: Path) -> None:
    packed = [pack_two_colours(tmp_path, variant, brightness=shift) for variant, shift in (("a", 0), ("b", 40))]
    arrays, indexes = [array for array, _ in packed], [index for _, index in packed]
    for subset, number in (("train", 13), ("validation", 8)):
        images = select(arrays, indexes, tmp_path / "split.csv", CLASSES, {subset})
        assert len(images) == 2 * number
        assert list(images.names[:number]) == list(images.names[number:])
        order = np.random.default_rng(0).permutation(len(images))
        batches = list(images.batches(order, 5))
        pixels, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        chosen = np.arange(13) if subset == "train" else 13 + np.arange(8)
        expected = np.concatenate([np.load(array)[chosen] for array in arrays])
        np.testing.assert_array_equal(pixels, expected[order])
        np.testing.assert_array_equal(labels, np.tile(chosen % 2, 2)[order])


def test_a_loss_that_is_not_finite_is_an_error(tiny: Bench) -> None:
    with pytest.raises(InputError, match=r"epoch 1; lower train.learning_rate .*train.precision to fp32"):
        tiny.train("diverged", epochs=1, batch_size=2, learning_rate=1e30)
    assert not tiny.model("diverged").exists()


def test_too_little_gpu_memory_is_one_line(tiny: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of cuDNN is simulated."""

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("FIND was unable to find an engine to execute this computation")

    monkeypatch.setattr(training.Training, "_step", refuse)
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda device: {"num_ooms": 3})
    with pytest.raises(torch.OutOfMemoryError) as raised:
        tiny.train("refused", epochs=1)
    assert "lower train.batch_size" in str(user_message(raised.value))
    assert not tiny.model("refused").exists()


def break_split(folder: Path) -> None:
    split = folder / "split.csv"
    split.write_text("\n".join(split.read_text().splitlines()[:-1]))


def empty_validation(folder: Path) -> None:
    split = folder / "split.csv"
    split.write_text(split.read_text().replace("validation", "test"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: pack_two_colours(folder, "original", train_images=1), "dataset.limit_per_class"),
        (lambda folder: np.save(folder / "original.npy", np.zeros((3, SIDE, SIDE, 3), np.uint8)), "names 21; run"),
        (lambda folder: np.save(folder / "original.npy", np.zeros((21, SIDE, SIDE))), "square RGB images"),
        (lambda folder: truncate(folder / "original.npy"), "original.npy: is not a complete"),
        (
            lambda folder: (folder / "original.csv").write_text(
                (folder / "original.csv").read_text().replace("red,of", "green,of")
            ),
            "is of class green",
        ),
        (break_split, "must list each image .* once"),
        (empty_validation, "has no validation images"),
    ],
    ids=[
        "one image",
        "short array",
        "no images",
        "truncated array",
        "unknown class",
        "split lacks one",
        "no validation",
    ],
)
def test_inconsistent_inputs_are_named(tmp_path: Path, damage: Any, message: str) -> None:
    array, index = pack_two_colours(tmp_path, "original")
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        Bench(tmp_path, [array], [index]).train("run", epochs=1)


def test_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(step, 100, 0.01, 0.1) for step in range(100)]
    assert 0 < rates[0] < rates[9] <= rates[10] <= 0.01
    assert max(rates) == pytest.approx(0.01, rel=0.01)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert 0 < rates[-1] < 1e-5
    assert learning_rate(0, 1, 0.01, 0.0) == pytest.approx(0.01 * 0.5 * (1 + math.cos(math.pi / 2)))


def test_augmentation_gives_the_eight_symmetries_with_small_colour_changes() -> None:
    """Every augmented image is one of the symmetries of the square, with similar brightness and contrast."""
    original = torch.randint(60, 200, (1, 8, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    draws = draw(200, torch.Generator().manual_seed(1))
    batch = augment(original.expand(200, -1, -1, -1), draws)
    assert batch.dtype == torch.float32
    symmetries = [
        turned for turn in range(4) for turned in (original.rot90(turn, (1, 2)), original.flip(1).rot90(turn, (1, 2)))
    ]
    distances = torch.stack([(batch - symmetry.float()).abs().amax(dim=(1, 2, 3)) for symmetry in symmetries])
    closest = distances.min(dim=0)
    assert set(closest.indices.tolist()) == set(range(8))
    assert closest.values.max() < 25
    assert closest.values.std() > 1
    assert torch.equal(draws, draw(200, torch.Generator().manual_seed(1)))
    halves = [augment(original.expand(100, -1, -1, -1), draws[:, part]) for part in (slice(100), slice(100, 200))]
    assert torch.equal(batch, torch.cat(halves))
