"""Fidelity: metrics, masks and text for images whose values are known."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from skimage.color import lab2rgb
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from studies import SMALL, run, write_config

from defaults import LIMITS, config_of
from wbcsr.dataset.archive import open_archive
from wbcsr.errors import InputError
from wbcsr.fidelity import REGIONS
from wbcsr.fidelity.figure import draw_fidelity, read_crops
from wbcsr.fidelity.measure import COLUMNS, enlarge_twice, measure_fidelity
from wbcsr.fidelity.metrics import halve, lpips, measure, niqe, psnr_of, ssim_map
from wbcsr.fidelity.photographs import choose, read
from wbcsr.fidelity.regions import box_of, find_regions
from wbcsr.fidelity.table import ALL, compare_methods, fidelity_table, paired, read_measurements, write_fidelity_table
from wbcsr.imaging import encode_png
from wbcsr.present.style import house_style
from wbcsr.report import fidelity as words
from wbcsr.weights.lpips import Lpips

VIOLET, PINK, BACKGROUND = (110, 60, 170), (200, 150, 150), (225, 220, 215)
FOLDER = "photographs/JPEGImages"
CLASSES = ["EOSINOPHIL", "NEUTROPHIL"]
DATASET = config_of(dataset={"photographs": FOLDER, "classes": CLASSES})["dataset"]


def smear(centre: tuple[int, int] = (100, 80), size: tuple[int, int] = (200, 160)) -> np.ndarray:
    """A photograph (height, width, 3) with a violet nucleus of radius 20 at `centre`, a red cell and a platelet."""
    pixels = np.full((size[1], size[0], 3), BACKGROUND, np.uint8)
    cv2.circle(pixels, (30, 30), 22, PINK, -1)
    cv2.circle(pixels, (180, 140), 5, VIOLET, -1)
    cv2.circle(pixels, centre, 20, VIOLET, -1)
    return cv2.GaussianBlur(pixels, (0, 0), 1)


def archive_in(folder: Path, labels: str | bytes | None, count: int = 4) -> Path:
    photographs = folder / FOLDER
    photographs.mkdir(parents=True)
    for number in range(count):
        (photographs / f"BloodImage_{number:05d}.png").write_bytes(encode_png(smear((70 + 20 * number, 80))))
    if labels is not None:
        content = labels.encode() if isinstance(labels, str) else labels
        (folder / "photographs" / "labels.csv").write_bytes(content)
    return folder


LABELS = ',Image,Category\n,0,NEUTROPHIL\n,1,"NEUTROPHIL, EOSINOPHIL"\n,2,\n,3,EOSINOPHIL \n,77,EOSINOPHIL\n,,\n'


def noisy(image: np.ndarray, amount: float = 12) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, amount, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_psnr_equals_a_calculation_by_hand_and_skimage() -> None:
    truth = smear()
    off = truth.copy()
    off[:80] = truth[:80] - 4
    top = np.zeros(truth.shape[:2], bool)
    top[:80] = True
    assert psnr_of(off, truth, top) == pytest.approx(10 * math.log10(255**2 / 16))
    assert psnr_of(off, truth) == pytest.approx(10 * math.log10(255**2 / 8))
    assert psnr_of(off, truth, ~top) == math.inf
    assert math.isnan(psnr_of(off, truth, np.zeros_like(top)))
    assert psnr_of(noisy(truth), truth) == pytest.approx(peak_signal_noise_ratio(truth, noisy(truth)))


def test_ssim_equals_skimage() -> None:
    truth, image = smear(), noisy(smear())
    options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = structural_similarity(image, truth, data_range=255, channel_axis=2, **options)
    assert np.nanmean(ssim_map(image, truth)) == pytest.approx(expected)


def test_an_identical_image_has_no_error() -> None:
    truth = smear()
    for region, metrics in measure(truth, truth, halve(truth), find_regions(truth)).items():
        assert metrics["psnr"] == math.inf, region
        assert metrics["ssim"] == pytest.approx(1)
        assert [metrics[name] for name in ("ciede2000", "drift", "delta_l", "delta_a", "delta_b")] == [0] * 5
        assert (metrics["consistency_psnr"] == math.inf) == (region == "whole")


@pytest.mark.parametrize(
    ("shift", "signs"),
    [((5, 0, 0), (1, 0, 0)), ((0, 5, 0), (0, 1, 0)), ((0, 0, -5), (0, 0, -1)), ((-5, 0, 0), (-1, 0, 0))],
)
def test_colour_differences_have_the_sign_of_the_change(shift: tuple[int, ...], signs: tuple[int, ...]) -> None:
    base = np.array([60.0, 10.0, -10.0])
    truth, image = (
        np.round(255 * np.broadcast_to(lab2rgb(lab), (64, 64, 3))).astype(np.uint8) for lab in (base, base + shift)
    )
    everywhere = {"whole": np.ones((64, 64), bool)}
    metrics = measure(image, truth, halve(truth), everywhere)["whole"]
    for axis, sign in zip("lab", signs, strict=True):
        assert metrics[f"delta_{axis}"] == pytest.approx(5 * sign, abs=0.5)
    assert metrics["drift"] == pytest.approx(metrics["ciede2000"]) != 0


def test_detail_does_not_change_drift() -> None:
    truth = np.full((64, 64, 3), 128, np.uint8)
    image = truth.copy()
    image[::2] += 6
    image[1::2] -= 6
    metrics = measure(image, truth, halve(truth), {"whole": np.ones((64, 64), bool)})["whole"]
    assert metrics["drift"] < 0.1 < 1 < metrics["ciede2000"]


def test_regions_are_found_where_they_were_drawn() -> None:
    regions = find_regions(smear())
    assert set(regions) == set(REGIONS)
    x, y, width, height = box_of(regions["nucleus"])
    assert (x, y) == pytest.approx((80, 60), abs=3)
    assert (width, height) == pytest.approx((41, 41), abs=5)
    assert not regions["nucleus"][140, 180]  # the platelet
    assert not regions["background"][30, 30]  # the red cell
    assert regions["outside"][30, 30]
    assert regions["background"][10, 150]
    assert np.array_equal(regions["cell"], regions["nucleus"] | regions["cytoplasm"])
    assert not (regions["nucleus"] & regions["cytoplasm"]).any()
    assert np.array_equal(regions["outside"], ~regions["cell"])


def test_a_uniform_photograph_has_no_cell() -> None:
    even = np.full((96, 96, 3), BACKGROUND, np.uint8)
    regions = find_regions(even)
    assert not regions["cell"].any()
    assert regions["outside"].all()
    metrics = measure(even, even, halve(even), regions)
    assert math.isnan(metrics["nucleus"]["psnr"])
    assert metrics["whole"]["psnr"] == math.inf


def test_halving_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert (np.abs(halve(stripes)[:, 2:-2].astype(int) - 127.5) < 20).all()
    small = halve(smear())
    larger = enlarge_twice(small, lambda images: [image.repeat(4, 0).repeat(4, 1) for image in images])
    assert larger.shape == smear().shape


def test_niqe_detects_noise_and_is_nan_for_small_images() -> None:
    photograph = cv2.resize(noisy(smear(), 6), (400, 320), interpolation=cv2.INTER_CUBIC)
    assert niqe(noisy(photograph, 40)) != pytest.approx(niqe(photograph), rel=0.01)
    assert math.isnan(niqe(smear()))


def test_photographs_of_one_class_are_chosen(tmp_path: Path) -> None:
    with open_archive(archive_in(tmp_path, LABELS), LIMITS) as archive:
        chosen = choose(archive, {**DATASET, "photographs": FOLDER + "/"}, 2)
        assert [(Path(path).stem, name) for path, name in chosen] == [
            ("BloodImage_00003", "EOSINOPHIL"),
            ("BloodImage_00000", "NEUTROPHIL"),
        ]
        assert [photograph.pixels.shape for photograph in read(archive, chosen, DATASET)] == [(160, 200, 3)] * 2
        unseen = {Path(chosen[1][0]).name, "BloodImage_99999.jpg"}
        assert choose(archive, DATASET, 2, unseen) == chosen[1:]
        with pytest.raises(InputError, match="fine-tuned"):
            choose(archive, DATASET, 2, ())
        members = {"granular": ["*PHIL"], "other": ["MONOCYTE"]}
        mapped = config_of(dataset={"photographs": FOLDER, "classes": members})["dataset"]
        assert choose(archive, mapped, 2) == [(path, "granular") for path in sorted(path for path, _ in chosen)]


def test_12_bit_photographs_are_rescaled_like_the_images(tmp_path: Path) -> None:
    plain = smear()[:128, :128]
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as packed:
        packed.writestr("twelve.png", encode_png((plain * (4095 / 255)).round().astype(np.uint16)))
    with open_archive(tmp_path / "archive.zip", LIMITS) as archive:
        (dark,) = read(archive, [("twelve.png", "A")], DATASET)
        (stretched,) = read(archive, [("twelve.png", "A")], {**DATASET, "range": [0, 4095]})
    assert dark.pixels.max() <= 16
    np.testing.assert_array_equal(stretched.pixels, plain)


@pytest.mark.parametrize(
    ("labels", "count", "expected"),
    [
        (LABELS, 0, "has no photographs in photographs/JPEGImages"),
        (None, 1, "lacks photographs/labels.csv"),
        ("Number,Class\n0,NEUTROPHIL\n", 1, "labels.csv: lacks the column image"),
        (b"\xff\xfe\x00", 1, "labels.csv, line 1: is not UTF-8 text"),
        (",Image,Category\n,one,NEUTROPHIL\n", 1, "labels.csv, line 2: 'one' is not a"),
        (",Image,Category\n,0,BASOPHIL\n", 1, "names no photograph of EOSINOPHIL, NEUTROPHIL"),
    ],
)
def test_a_mistake_gives_one_line(tmp_path: Path, labels: str | bytes | None, count: int, expected: str) -> None:
    archive_in(tmp_path, labels, count)
    with open_archive(tmp_path, LIMITS) as archive, pytest.raises(InputError) as caught:
        choose(archive, DATASET, 2)
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert "fidelity.per_class to 0" in message


def measured(folder: Path, per_class: int = 2, perceptual: Lpips | None = None) -> tuple[pd.DataFrame, Path, Path]:
    labels = ",Image,Category\n" + "".join(f",{number},{CLASSES[number % 2]}\n" for number in range(4))
    archive = archive_in(folder / "archive", labels)
    table, crops = folder / "fidelity.csv", folder / "crops.npz"
    sharp = {"realesrgan_x4": lambda images: [noisy(image.repeat(4, 0).repeat(4, 1)) for image in images]}
    facts = measure_fidelity(archive, DATASET, per_class, sharp, table, crops, perceptual=perceptual)
    assert facts == {
        **{"photographs": 4, "photographs_without_cell": 0},
        "methods": ["bicubic", "lanczos", "realesrgan_x4"],
    }
    return read_measurements(table), table, crops


def test_photographs_give_table_figure_and_text(tmp_path: Path) -> None:
    data, table, crops = measured(tmp_path)
    assert list(data.columns) == COLUMNS
    assert len(data) == 4 * (1 + 3 * len(REGIONS))
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "fidelity.csv", "crops.npz"}
    cells = read_crops(crops)
    assert list(cells) == CLASSES
    assert {views["bicubic"].shape for views in cells.values()} == {(67, 67, 3)}
    with house_style():
        figure = draw_fidelity(cells)
    assert [axes.get_ylabel() for axes in figure.axes[:10:5]] == [
        "Eosinophil\n67 × 67 px",
        "Neutrophil\n67 × 67 px",
    ]
    for views in cells.values():
        views["mine_x3"] = views["bicubic"]
    with house_style():
        headings = [axes.get_title() for axes in draw_fidelity(cells).axes]
    assert headings[2:4] == ["Real-ESRGAN ×4,\nshrunk to ×2", "mine ×3,\nshrunk to ×2"]
    write_fidelity_table(table, CLASSES, tmp_path / "tables")
    assert {path.suffix for path in (tmp_path / "tables").iterdir()} == {".csv", ".md", ".tex"}
    rows = words.read_methods(tmp_path / "tables" / "fidelity.csv")
    cell = rows[rows["region"] == "cell"].set_index("method")
    by_hand = data[(data["region"] == "cell") & (data["method"] == "bicubic")]["psnr"]
    assert cell.loc["bicubic", "psnr"] == pytest.approx(by_hand.mean())
    assert cell.loc["bicubic", "psnr_sd"] == pytest.approx(by_hand.std())
    sentences = words.sentences(rows)
    assert "so few photographs" in sentences[-1]
    printed = fidelity_table(rows)
    blocks = list(printed.bodies)
    assert [title for title, _ in blocks] == list(REGIONS.values())
    assert printed.cells["method"].iloc[blocks[1][1]].tolist() == ["Bicubic", "Lanczos", "Real-ESRGAN ×4, shrunk to ×2"]


def test_lpips_is_of_the_whole_image_and_of_the_square_around_the_cell(tmp_path: Path) -> None:
    """Nothing else has a value, and where it is not measured the table has no column of it."""
    network = Lpips()
    network.load_state_dict(
        {name: torch.full(of.shape, 0.01) for name, of in network.state_dict().items()}, assign=True
    )
    (tmp_path / "with").mkdir()
    data, _, crops = measured(tmp_path / "with", perceptual=network)
    known = data[data["lpips"].notna()]
    assert set(zip(known["method"], known["region"], strict=True)) == {
        (method, region) for method in ("bicubic", "lanczos", "realesrgan_x4") for region in ("whole", "cell")
    }
    views = read_crops(crops)["NEUTROPHIL"]
    shown = known[(known["region"] == "cell") & (known["method"] == "bicubic") & (known["class"] == "NEUTROPHIL")]
    by_hand = lpips(network, views["bicubic"], views["photograph"])
    assert by_hand > 0
    assert shown["lpips"].tolist()[0] == pytest.approx(by_hand)
    rows = compare_methods(data, CLASSES)
    assert "LPIPS" in str(fidelity_table(rows[rows["class"] == ALL]).note)
    assert "lpips" in fidelity_table(rows).cells
    assert any("LPIPS" in sentence for sentence in words.sentences(rows[rows["class"] == ALL]))
    without = compare_methods(data.assign(lpips=np.nan), CLASSES)
    assert "lpips" not in fidelity_table(without).cells
    assert "LPIPS" not in str(fidelity_table(without).note)
    assert not any("LPIPS" in sentence for sentence in words.sentences(without[without["class"] == ALL]))


def test_a_fine_tuned_network_enlarges_only_what_it_has_not_seen(tmp_path: Path) -> None:
    """Each split has its own network: the first one that has not seen a photograph enlarges it, or it is left out."""
    labels = ",Image,Category\n" + "".join(f",{number},{CLASSES[number % 2]}\n" for number in range(4))
    archive = archive_in(tmp_path / "archive", labels)

    def grey(level: int) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
        return lambda images: [np.full_like(image.repeat(4, 0).repeat(4, 1), level) for image in images]

    unseen = [{"BloodImage_00000.png"}, {"BloodImage_00000.png", "BloodImage_00001.png", "BloodImage_00003.png"}]
    folds = {"finetuned_x4": list(zip([grey(200), grey(20)], unseen, strict=True))}
    files = (tmp_path / "fidelity.csv", tmp_path / "crops.npz")
    facts = measure_fidelity(archive, DATASET, 2, {}, *files, finetuned=folds)
    assert (facts["photographs"], facts["methods"]) == (3, ["bicubic", "lanczos", "finetuned_x4"])
    whole = read_measurements(files[0]).query("region == 'whole' and method == 'finetuned_x4'").set_index("image")
    # The photographs are pale: the darker output is less similar.
    psnr = {Path(image).stem: value for image, value in whole["psnr"].items()}
    assert psnr["BloodImage_00000"] > psnr["BloodImage_00001"] + 3
    assert psnr["BloodImage_00001"] == pytest.approx(psnr["BloodImage_00003"], abs=3)


def test_with_view_around_cell_squares_of_photographs_are_measured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A photograph without a cell is left out and named; if no other is left, there is an error."""
    archive = archive_in(tmp_path / "archive", ",Image,Category\n,0,EOSINOPHIL\n,1,EOSINOPHIL\n,2,NEUTROPHIL\n", 3)
    empty = archive / FOLDER / "BloodImage_00001.png"
    empty.write_bytes(encode_png(np.full((160, 200, 3), BACKGROUND, np.uint8)))
    files = (tmp_path / "fidelity.csv", tmp_path / "crops.npz")
    facts = measure_fidelity(archive, DATASET, 2, {}, *files, side=40)
    assert (facts["photographs"], facts["photographs_without_cell"]) == (2, 0)
    assert "BloodImage_00001.png" in caplog.text
    data = read_measurements(files[0])
    assert set(data.loc[data["region"] == "whole", "pixels"]) == {80 * 80}
    # The nucleus has a radius of 20 pixels at any position of the square.
    assert data.loc[data["region"] == "nucleus", "pixels"].between(0.8 * np.pi * 20**2, 1.2 * np.pi * 20**2).all()
    for number in (0, 2):
        (archive / FOLDER / f"BloodImage_{number:05d}.png").write_bytes(empty.read_bytes())
    with pytest.raises(InputError, match="no photograph in photographs/JPEGImages has one white cell"):
        measure_fidelity(archive, DATASET, 2, {}, *files, side=40)


def test_damaged_crops_give_one_line(tmp_path: Path) -> None:
    (tmp_path / "crops.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match=r"crops\.npz: cannot be read"):
        read_crops(tmp_path / "crops.npz")


def test_paired_differences() -> None:
    index = list("abcdefgh")
    low, high = pd.Series(np.arange(8.0), index), pd.Series(np.arange(8.0) + np.linspace(1, 2, 8), index[::1])
    difference, p = paired(high, low[::-1])
    assert (difference, p) == (pytest.approx(1.5), pytest.approx(2 / 2**8))
    assert paired(low, low) == (0, 1)
    assert all(map(math.isnan, paired(low * math.nan, low)))
    infinite = pd.Series([math.inf] * 8, index)
    assert paired(infinite, infinite) == (0, 1)
    assert paired(infinite, low) == (math.inf, pytest.approx(2 / 2**8))


def measurements_of(bicubic: float, network: float, photographs: int = 8) -> pd.DataFrame:
    rows = []
    for number in range(photographs):
        for region in REGIONS:
            for method, value in (("bicubic", bicubic), ("realesrgan_x4", network)):
                metrics = {"psnr": value + number * (1 + 0.01 * value), "ssim": value / 100 + 0.001 * number}
                metrics |= {"ciede2000": 1.0, "drift": 40 / value, "delta_l": -1.0, "delta_a": 0.5, "delta_b": 0.0}
                place = {"image": str(number), "class": "NEUTROPHIL", "method": method, "region": region}
                rows.append(
                    {**place, "pixels": 9, **metrics, "consistency_psnr": 40.0, "niqe": np.nan, "lpips": np.nan}
                )
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.mark.parametrize(
    ("bicubic", "network", "best", "difference"),
    [(40, 35, "bicubic", "−5.17 dB"), (35, 40, "Real-ESRGAN ×4", "+5.17 dB"), (35, 35, "bicubic", "0.00 dB")],
)
def test_the_text_follows_from_the_numbers(bicubic: float, network: float, best: str, difference: str) -> None:
    table = compare_methods(measurements_of(bicubic, network), CLASSES)
    sentences = words.sentences(table[table["class"] == ALL])
    assert best in sentences[0]
    assert "eight photographs" in sentences[0]
    assert difference in sentences[1]
    assert ("no detectable difference" in sentences[1]) == (bicubic == network)
    assert any("loses hardly any detail" in sentence for sentence in sentences) == (bicubic == 40)


def test_a_class_may_be_called_all(tmp_path: Path) -> None:
    """Its rows are not confused with those of all classes together."""
    data = measurements_of(40, 35)
    data.loc[data["image"] == "0", "class"] = "all"
    data.to_csv(tmp_path / "measurements.csv", index=False)
    write_fidelity_table(tmp_path / "measurements.csv", ["all", "NEUTROPHIL"], tmp_path)
    assert words.read_methods(tmp_path / "fidelity.csv")["photographs"].tolist() == [8] * 2 * len(REGIONS)


def test_the_text_names_identical_images() -> None:
    data = measurements_of(40, 35)
    data.loc[data["method"] == "bicubic", "psnr"] = math.inf
    table = fidelity_table(compare_methods(data, CLASSES))
    assert table.cells["psnr"].tolist()[0] == "∞"
    assert "identical" in words.sentences(table.data)[0]


@pytest.mark.parametrize(
    ("change", "measures"),
    [
        ({}, True),
        ({"dataset": {**SMALL["dataset"], "photographs": None}}, False),
        ({"fidelity": {"per_class": 0}}, False),
        ({"variants": ["original", "bicubic_x2"], "dual": False}, False),
    ],
)
def test_without_photographs_nothing_is_measured(tmp_path: Path, change: dict[str, object], measures: bool) -> None:
    write_config(tmp_path, {**SMALL, **change})
    result = run(tmp_path, "-n")
    assert result.returncode == 0, result.stdout
    assert "make_report" in result.stdout
    for rule in ("measure_fidelity", "make_fidelity_table", "make_fidelity_figure"):
        assert (rule in result.stdout) == measures


@pytest.mark.real
def test_interpolation_of_a_real_photograph(real_archive: Path, tmp_path: Path) -> None:
    folder = "dataset-master/dataset-master/JPEGImages"
    table, crops = tmp_path / "fidelity.csv", tmp_path / "crops.npz"
    measure_fidelity(real_archive, {**DATASET, "photographs": folder, "classes": ["LYMPHOCYTE"]}, 1, {}, table, crops)
    data = read_measurements(table).set_index(["method", "region"])
    assert 30 < data.loc[("bicubic", "cell"), "psnr"] < 50
    assert data.loc[("lanczos", "whole"), "consistency_psnr"] > data.loc[("lanczos", "whole"), "psnr"]
    assert 0.005 < data.loc[("bicubic", "nucleus"), "pixels"] / (480 * 640) < 0.15
    assert np.isfinite(data.loc[("photograph", "whole"), "niqe"])
