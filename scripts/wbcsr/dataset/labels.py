"""Labels from a CSV file, for images anywhere in an archive."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from wbcsr.config import Config, partitions_of
from wbcsr.dataset.classes import Classes
from wbcsr.errors import InputError
from wbcsr.files import read_users_table
from wbcsr.names import warn_of_alike
from wbcsr.text import counted

log = logging.getLogger(__name__)

REMEDY = "correct it (dataset.labels)"


def read_labels(path: Path, dataset: Config, with_groups: bool = False) -> pd.DataFrame:
    """Read the CSV file `path` for `dataset` (section of the configuration): columns image, file, group and reason.

    The file has the columns file (path in the archive) and label, optionally group (the photograph, slide or patient
    that an image comes from; required if `with_groups`), and partition if partitions are configured. The section
    `dataset["labels"]` may give them other names. `image` is <partition>/<class>/<name>; the name is the whole path
    `file` with _ for /, so that equal names in different folders stay different images. It has no suffix if `file` has
    none. `group` is empty if it is not known. `reason` says why a row is left out, and is empty for all others: its
    label or partition is not configured. The `image` of such a row is its `file`.

    Raises InputError if the file cannot be read, lacks a column, has a row without a file, lists a file twice, has two
    files that get the same name, or has no row for a class.
    """
    partitions, classes = dataset["partitions"], Classes(dataset)
    columns = ["file", "label", *(["partition"] if partitions else []), *(["group"] if with_groups else [])]
    table = read_users_table(path, columns, REMEDY, optional=["group"], called=dataset["labels"]["columns"])
    # A text is padded only if its alignment is given.
    template = dataset["labels"]["name"].replace("{:0", "{:0>")
    table = table.assign(
        file=table["file"].map(template.format),
        group=table.get("group", ""),
        partition=table["partition"] if partitions else partitions_of(dataset)["train"],
    )
    files = table["file"]
    for line, name in files.items():
        if ".." in name.split("/"):
            raise InputError(f"{path}, line {line}: the file {name!r} is not a path inside the archive; {REMEDY}")
    twice = files[files.duplicated()]
    if len(twice):
        raise InputError(f"{path}: has {twice.iloc[0]!r} twice; keep one of these rows (dataset.labels)")
    published = partitions_of(dataset).values()
    for column, key, configured in (("label", "classes", classes.names), ("partition", "partitions", published)):
        warn_of_alike([*configured, *table[column]], f"{path}, {column}", f"write them as in dataset.{key}")
    classed = table["label"].map(classes.of)
    reason = pd.Series("", table.index)
    elsewhere = ~table["partition"].isin(published)
    reason[elsewhere] = "has the partition " + table["partition"].map(repr) + ", which dataset.partitions lacks"
    reason[classed.isna()] = "has the label " + table["label"].map(repr) + ", which dataset.classes lacks"
    reason[table["label"] == ""] = "has no label"
    wanted = reason == ""
    if not wanted.all():
        others = ", ".join(map(repr, table.loc[~wanted, "label"].unique()[:5]))
        left_out, there = (~wanted).sum(), counted(len(table), "row")
        empty = table.index[table["label"] == ""]
        if len(empty):
            log.warning(
                "%s, line %d: has no label; left out: %s without one", path, empty[0], counted(len(empty), "row")
            )
        log.info("%s: left out %d of %s with other classes or partitions (%s)", path, left_out, there, others)
    found = {*table.loc[wanted, "label"], *classed[wanted]}
    missing = sorted(({*classes.names} | {*classes.members} - {*classes.names.values()}) - found)
    if missing:
        raise InputError(
            f"{path}: has no row with the label {missing[0]!r}{' in the configured partitions' if partitions else ''}; "
            f"{REMEDY}, or remove it from dataset.classes"
        )
    images = (table["partition"] + "/" + classed + "/" + files.str.replace("/", "_")).where(wanted, files)
    second = images[wanted & images.duplicated()]
    if len(second):
        one, other = table.loc[images == second.iloc[0], "file"].iloc[:2]
        raise InputError(f"{path}: {one!r} and {other!r} would both become {second.iloc[0]}; rename one of them")
    return pd.DataFrame({"image": images, "file": files, "group": table["group"], "reason": reason}).reset_index(
        drop=True
    )
