"""A check of configuration files: anything that YAML would silently drop or misread is an error.

Snakemake loads the files itself; this module only checks them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from wbcsr.errors import InputError

# Message of YAML's parser → what to do.
_REMEDIES = {
    r"character '\t'": "indent by spaces, not by tabs",
    "escape character": r"write \\ for a backslash between double quotes, or use single quotes",
    "mapping values are not allowed": "put a text that has a colon in quotes",
    "could not find expected ':'": "write a key, a colon, a blank and its value",
}
# Integers that YAML 1.1 and 1.2 read alike.
_PLAIN = re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F]+|0b[01]+)")


def check_yaml(paths: Iterable[str | Path]) -> None:
    """Raise InputError, with file and line, if one of the files is not a valid configuration or would be misread.

    The causes are: the file cannot be read; it is not YAML or JSON in UTF-8, or not a mapping; it has a key twice, of
    which YAML keeps the last; or it has a value that YAML 1.1 reads as another number (010 as 8, 1:30 as 90) or a date.
    """
    for path in paths:
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); correct its path or permissions") from error
        try:
            _check(content)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise InputError(f"{path}, line {line}: {_explain(error)}") from error


def _check(content: bytes) -> None:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(content.count(b"\n", 0, error.start), "is not UTF-8 text; save the file as UTF-8") from error
    try:
        loaded = yaml.load(_without_tabs(text), Loader=_Loader)
    except yaml.reader.ReaderError as error:
        said = f"has the character {chr(error.character)!r}, which YAML does not allow; remove it"
        raise _wrong(text.count("\n", 0, error.position), said) from error
    if not isinstance(loaded, dict):
        raise _wrong(0, "has no keys; write them with their values, as `seeds: [0]`")


def _wrong(line: int, said: str) -> yaml.MarkedYAMLError:
    """An error like those of YAML's parser, which counts lines from 0."""
    return yaml.MarkedYAMLError(problem=said, problem_mark=yaml.Mark(None, 0, line, 0, None, 0))


def _explain(error: yaml.MarkedYAMLError) -> str:
    begun = f" (from line {error.context_mark.line + 1})" if error.context_mark else ""
    said = f"{error.context}{begun}, {error.problem}" if error.context else str(error.problem)
    return "; ".join([said, *(remedy for known, remedy in _REMEDIES.items() if known in said)])


def _without_tabs(text: str) -> str:
    """Replace tabs in JSON, which YAML's parser rejects; any other text is returned unchanged."""
    try:
        json.loads(text)
    except ValueError:
        return text
    return text.replace("\t", " ")


class _Loader(yaml.FullLoader):
    """Snakemake's loader, but with an error for what it would silently misread."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                first = keys.setdefault((key.tag, key.value), key)
                if first is not key:
                    line = first.start_mark.line + 1
                    raise _wrong(
                        key.start_mark.line, f"duplicate key {key.value}, first set in line {line}; keep only one"
                    )
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        kind = node.tag.rpartition(":")[2]
        date, number = kind == "timestamp", kind == "int" and not _PLAIN.fullmatch(node.value)
        if date or number or (kind == "float" and ":" in node.value):
            said = f"YAML reads {node.value} as {'a date' if date else 'another number'}"
            raise _wrong(node.start_mark.line, f"{said}; put it in quotes, or write a decimal number")
        return node
