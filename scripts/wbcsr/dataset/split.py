"""Splits: rules that give each image a subset, train, validation or test."""

from __future__ import annotations

import pandas as pd

from wbcsr.errors import InputError


def paper_split(
    images: pd.DataFrame, train_partition: str, test_partition: str, validation_fraction: float
) -> pd.DataFrame:
    """The study's split: Keras's `validation_split` on the training folder, and the test folder as it is.

    `images` has the columns image, partition, class; the result has image, subset, in the same order. Of each class's
    n training images in sorted order of the file name, the first int(validation_fraction · n) are for validation.
    Source: keras-preprocessing, image/utils.py `_list_valid_filenames_in_directory` and image/iterator.py
    `set_processing_attrs`; the product is rounded down as a binary float, as there (0.29 of 100 images are 28).

    InputError where a class is left without a training or a validation image, or an image is in neither partition.
    """
    images = images.reset_index(drop=True)
    strange = sorted(set(images["partition"]) - {train_partition, test_partition})
    if strange:
        raise InputError(
            f"images.csv: has the partition {strange[0]!r}, which dataset.partitions does not name; "
            "run `snakemake --forcerun ingest_dataset`"
        )
    subsets = images["partition"].map({train_partition: "train", test_partition: "test"})
    for name in images["class"].unique():
        training = images.loc[(images["partition"] == train_partition) & (images["class"] == name), "image"]
        held_out = int(validation_fraction * len(training))
        if not 0 < held_out < len(training):
            raise InputError(
                f"class {name!r}: validation_fraction {validation_fraction} of its {len(training)} images in "
                f"{train_partition!r} leaves {len(training) - held_out} to train and {held_out} to validate; both need "
                "one at least, so change validation_fraction or take more images (dataset.limit_per_class)"
            )
        # Within a class only the file name differs, so this is the order of the file names.
        subsets[training.sort_values().index[:held_out]] = "validation"
    return pd.DataFrame({"image": images["image"], "subset": subsets})


SPLITS = {"paper": paper_split}
