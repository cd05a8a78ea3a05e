"""A folder as data set: where links may point, and which files of a working folder are not data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from wbcsr.dataset.folder import Folder, printable
from wbcsr.errors import InputError

FILES = ["TRAIN/A/1.jpg", "TRAIN/A/2.jpg", "TEST/A/3.jpg"]


def files(root: Path, links: Path | None = None, most: int = 1000) -> dict[str, int]:
    """The size of each file by its name."""
    return {name: found.st_size for name, found in Folder(root, links).files(most)}


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "data", *FILES)


def to_class(store: str) -> Callable[[Path, Path], object]:
    """The folder of a class is a link to the store."""

    def make(data: Path, tmp_path: Path) -> None:
        shutil.move(data / "TRAIN" / "A", write(tmp_path / "store") / store)
        (data / "TRAIN" / "A").symlink_to(tmp_path / "store" / store)

    return make


def annexed(data: Path, tmp_path: Path) -> None:
    """As in a git-annex repository: a file is a link into .git, which is inside the folder."""
    objects = data / ".git" / "annex" / "objects" / "K1"
    objects.mkdir(parents=True)
    shutil.move(data / "TRAIN" / "A" / "1.jpg", objects / "K1.jpg")
    (data / "TRAIN" / "A" / "1.jpg").symlink_to("../../.git/annex/objects/K1/K1.jpg")


def in_a_cache(data: Path, tmp_path: Path) -> None:
    """As DVC does with cache.type symlink: file names in the cache have no suffixes."""
    (tmp_path / "store" / "5f").mkdir(parents=True)
    shutil.move(data / "TRAIN" / "A" / "1.jpg", tmp_path / "store" / "5f" / "ab1")
    (data / "TRAIN" / "A" / "1.jpg").symlink_to(tmp_path / "store" / "5f" / "ab1")


def by_a_detour(data: Path, tmp_path: Path) -> None:
    """A chain of links that leaves the folder and comes back."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "back").symlink_to(data / "TEST" / "A" / "3.jpg")
    (data / "TRAIN" / "A" / "4.jpg").symlink_to(tmp_path / "outside" / "back")


@pytest.mark.parametrize(
    ("make", "needs_links", "more"),
    [
        pytest.param(to_class("cells"), True, [], id="class in a store"),
        pytest.param(in_a_cache, True, [], id="file in a cache"),
        pytest.param(annexed, False, [], id="file in the repository's annex"),
        pytest.param(by_a_detour, False, ["TRAIN/A/4.jpg"], id="chain that comes back"),
        pytest.param(lambda data, _: (data / "more").symlink_to("TEST"), False, ["more/A/3.jpg"], id="folder inside"),
        pytest.param(lambda data, _: (data / "python").symlink_to("/bin/sh"), False, ["python"], id="no image"),
        pytest.param(lambda data, _: (data / "lost.pdf").symlink_to("gone"), False, ["lost.pdf"], id="no image, lost"),
    ],
)
def test_links_are_followed_inside_the_folder_and_the_permitted_one(
    data: Path, tmp_path: Path, make: Callable[[Path, Path], object], needs_links: bool, more: list[str]
) -> None:
    make(data, tmp_path)
    (tmp_path / "store").mkdir(exist_ok=True)
    found = files(data, tmp_path / "store")
    assert found.keys() == {*FILES, *more}
    assert all(found[name] == len(name) for name in FILES)
    if not needs_links:
        assert files(data) == found
        return
    with pytest.raises(InputError, match=r"is a link to '.*/store/.*', outside this folder; .* dataset\.links"):
        files(data)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(InputError, match=r"outside this folder and .*elsewhere \(dataset\.links\)"):
        files(data, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda odd: odd.symlink_to("/etc/passwd"), "is a link to '/etc/passwd', outside", id="file out"),
        pytest.param(lambda odd: odd.symlink_to("../../secret"), "is a link to '.*/secret', outside", id="relative"),
        pytest.param(lambda odd: odd.symlink_to("/etc"), "is a link to '/etc', outside", id="folder out"),
        pytest.param(lambda odd: odd.symlink_to("."), "which contains it", id="to its own folder"),
        pytest.param(lambda odd: odd.symlink_to(odd.parents[1]), "which contains it", id="to one above"),
        pytest.param(lambda odd: odd.symlink_to("odd.jpg"), "leads back to itself", id="to itself"),
        pytest.param(lambda odd: odd.symlink_to("gone"), "'gone', .*git annex get.*dvc pull", id="not fetched"),
        pytest.param(os.mkfifo, "is a device or another special file", id="pipe"),
    ],
)
def test_a_dangerous_or_misleading_entry_is_rejected_and_named(
    data: Path, tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    spoil(data / "TRAIN" / "odd.jpg")
    with pytest.raises(InputError, match=f"entry 'TRAIN/odd.jpg' .*{words}"):
        files(data)


def test_a_class_folder_that_is_a_broken_link_is_named(data: Path) -> None:
    (data / "TRAIN" / "B").symlink_to("/nowhere/cells")
    with pytest.raises(InputError, match=r"'TRAIN/B' is a link to '/nowhere/cells', whose content is not here"):
        files(data)


def test_links_that_multiply_stop_at_the_limit(tmp_path: Path) -> None:
    """Folders without files whose links double at each level, 2⁶⁰ in total; no link leads to itself."""
    for level in range(60):
        (tmp_path / "data" / str(level)).mkdir(parents=True)
        for link in "ab":
            (tmp_path / "data" / str(level) / link).symlink_to(f"../{level + 1}")
    (tmp_path / "data" / "60").mkdir()
    with pytest.raises(InputError, match=r"has more than 1,000 files and folders; .*dataset\.limits\.files"):
        files(tmp_path / "data")


@pytest.mark.parametrize("archive", [".", "..", "../link", "../study"])
def test_files_of_the_workflow_are_not_data(tmp_path: Path, archive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder is the archive or inside it, next to another study; a user's own results folder is data."""
    write(tmp_path / "study", *FILES, "results/images/original/TRAIN/A/1.jpg", "logs/x.jpg", "benchmarks/x.jpg")
    write(tmp_path / "study", ".snakemake/1.jpg", "TRAIN/A/.hidden.jpg", "TRAIN/results/4.jpg")
    write(tmp_path / "other", "results/dataset/images.csv", "results/images/original/TRAIN/A/1.jpg", "TEST/logs/5.jpg")
    write(tmp_path / "mine", "results/TRAIN/A/6.jpg")
    (tmp_path / ".link" if archive == ".." else tmp_path / "link").symlink_to("study")
    monkeypatch.chdir(tmp_path / "study")
    inside = {*FILES, "TRAIN/A/.hidden.jpg", "TRAIN/results/4.jpg"}
    beside = {f"study/{name}" for name in inside} | {"other/TEST/logs/5.jpg", "mine/results/TRAIN/A/6.jpg"}
    assert files(Path(archive)).keys() == (beside if archive == ".." else inside)


def test_different_unprintable_names_remain_different() -> None:
    names = ["a\nb.png", "a\\nb.png", "a\\\nb.png", os.fsdecode(b"\xff.png"), "\\udcff.png", "ä b.png"]
    shown = [printable(name) for name in names]
    assert len(set(shown)) == len(names)
    assert all(name.encode().decode().isprintable() for name in shown)
    assert shown[-1] == "ä b.png"
