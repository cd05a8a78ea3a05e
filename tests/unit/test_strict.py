"""A configuration file is read as its author meant it, or gives one line with file and line number."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wbcsr.errors import InputError
from wbcsr.strict import check_yaml

WRONG = {
    "a key twice": (
        "train: {epochs: 3}\nseeds: [1]\ntrain: {batch_size: 8}\n",
        3,
        "duplicate key train, first set in line 1",
    ),
    "an inner key twice": (
        "train:\n  epochs: 3\n  batch_size: 4\n  epochs: 5\n",
        4,
        "duplicate key epochs, first set in line 2",
    ),
    "a key twice in braces": ("train: {epochs: 3,\n  epochs: 5}\n", 2, "duplicate key epochs, first set in line 1"),
    "a key twice in a list": ("a:\n- {b: 1}\n- b: 1\n  b: 2\n", 4, "duplicate key b, first set in line 3"),
    "a key twice in JSON": ('{\n\t"train": {},\n\t"train": {}\n}', 3, "duplicate key train, first set in line 2"),
    "a tab": ("train:\n\tepochs: 3\n", 2, "indent by spaces"),
    "an escape": ('seeds: [1]\nlabels: "my\\quotes.csv"\n', 2, "backslash"),
    "Latin-1": ("# ä\n# Größe\n".encode() + b"labels: Gr\xf6\xdfe.csv\n", 3, "not UTF-8 text"),
    "UTF-16": ("train: {epochs: 3}\n".encode("utf-16"), 1, "not UTF-8 text"),
    "a control character": ("seeds: [1]\nlabels: a\x07b\n", 2, "does not allow"),
    "an open brace": ("seeds: [1]\ntrain: {epochs: 3\nshards: 1\n", 3, "expected ',' or '}'"),
    "no colon": ("seeds: [1]\nshards\n", 3, "could not find expected ':'"),
    "a colon in a text": ("seeds: [1]\ncustom: C: my.csv\n", 2, "in quotes"),
    "two documents": ("seeds: [1]\n---\nshards: 1\n", 2, "single document"),
    "an unknown alias": ("seeds: [1]\ntrain: *other\n", 2, "undefined alias 'other'"),
    "code": ("a: !!python/object/apply:os.system [ls]\n", 1, "python/object/apply"),
    "nothing": ("", 1, "has no keys"),
    "only comments": ("# train: {epochs: 3}\n", 1, "has no keys"),
    "a list": ("- train\n- seeds\n", 1, "has no keys"),
    "a text": ("train\n", 1, "has no keys"),
    "octal": ("seeds:\n- 1\n- 010\n", 3, "reads 010 as another number"),
    "a class 01": ("dataset:\n  classes: [01, 02]\n", 2, "reads 01 as another number"),
    "base 60": ("seeds: [1:30]\n", 1, "reads 1:30 as another number"),
    "base 60 with a fraction": ("a: 1:30.5\n", 1, "reads 1:30.5 as another number"),
    "half a number": ("a: 0x_\n", 1, "reads 0x_ as another number"),
    "a date": ("dataset: {photographs: 2020-01-31}\n", 1, "reads 2020-01-31 as a date"),
    "an impossible date": ("dataset: {photographs: 2020-13-45}\n", 1, "reads 2020-13-45 as a date"),
}


@pytest.mark.parametrize(("content", "line", "message"), WRONG.values(), ids=WRONG.keys())
def test_an_invalid_configuration_file_gives_one_line(
    tmp_path: Path, content: str | bytes, line: int, message: str
) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        check_yaml([path])
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "train: {epochs: 3}\nother: {epochs: 3}\n",
        "\ufeffseeds: [1]\r\nlabels: Größe.csv\r\n",
        '{\n\t"train": {"epochs": 3},\n\t"seeds": [0]\n}\n',
        "a: &a {x: 1}\nd: {b: &b {<<: *a, x: 2}}\nc: {<<: *b, x: 3}\n",
        'seeds: [0, -1, +2, 1_000, 0x1F, 0b11, 10, "010", "2020-01-01", 08]\n',
        "a: [0.5, 00.5, .5, 1e-3, 1.5e-3, .inf, yes, null, ~]\n",
    ],
)
def test_a_valid_configuration_file_is_accepted(tmp_path: Path, content: str) -> None:
    (tmp_path / "my.yaml").write_text(content, encoding="utf-8", newline="")
    check_yaml([tmp_path / "my.yaml"])


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, make: object) -> None:
    make(tmp_path / "my.yaml")  # type: ignore[operator]
    with pytest.raises(InputError, match=r"my\.yaml: cannot be read"):
        check_yaml([tmp_path / "my.yaml"])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(config=st.dictionaries(st.text(), VALUES, min_size=1, max_size=4))
def test_files_written_by_yaml_are_accepted(
    tmp_path_factory: pytest.TempPathFactory, config: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "my.yaml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8", newline="")
    check_yaml([path])
