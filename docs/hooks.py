"""What MkDocs writes into the pages when it builds them: the README, the rule graph and the configuration reference.

A page has the name of a part in double braces on a line of its own, as `{{ rule graph }}`.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[1]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this with the text of each page."""
    return re.sub(r"^\{\{ (.+) \}\}$", lambda found: PARTS[found[1]](), markdown, flags=re.MULTILINE)


def readme() -> str:
    """README.md with its links as they are inside `docs`."""
    return (REPOSITORY / "README.md").read_text("utf-8").replace("](docs/", "](")


def rule_graph() -> str:
    """Snakemake's graph of the study's rules in mermaid, without edges that follow from others."""
    with tempfile.TemporaryDirectory() as folder:
        snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
        drawn = subprocess.run(
            [*snakemake, "--directory", folder, "--rulegraph", "mermaid-js"], capture_output=True, text=True
        )
    if drawn.returncode:
        sys.exit(f"error: snakemake --rulegraph failed:\n{drawn.stderr}")
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", drawn.stdout))
    edges = [(names[start], names[end]) for start, end in re.findall(r"(id\d+) --> (id\d+)", drawn.stdout)]
    # With a prefix, since a rule's name may be a word of mermaid, as `interpolate` is.
    lines = [f"    r_{start}[{start}] --> r_{end}[{end}]" for start, end in sorted(direct(edges)) if end != "all"]
    return "\n".join(["```mermaid", "flowchart TB", *lines, "```"])


def direct(edges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The edges of a graph without cycles that do not follow from a longer path."""
    following: dict[str, set[str]] = {}
    for start, end in edges:
        following.setdefault(start, set()).add(end)

    def reached(start: str) -> set[str]:
        return {node for end in following.get(start, ()) for node in {end} | reached(end)}

    return [(start, end) for start, end in edges if not any(end in reached(other) for other in following[start])]


def configuration() -> str:
    """Tables of every key of config/schema.yaml; a section has a heading, its description and its keys."""
    return "\n".join(_section("", yaml.safe_load((REPOSITORY / "config" / "schema.yaml").read_text("utf-8"))))


def _section(name: str, schema: dict[str, Any]) -> Iterator[str]:
    sections = {key: value for key, value in schema["properties"].items() if "properties" in value}
    plain = {key: value for key, value in schema["properties"].items() if key not in sections}
    yield f"{'###' if '.' in name else '##'} {name or 'Keys without a section'}\n"
    if name:
        yield f"{_sentence(schema)}\n"
    if plain:
        yield "| key | values | default | meaning |\n| --- | --- | --- | --- |"
        for key, value in plain.items():
            yield f"| `{key}` | {_values(value)} | {_code(value['default'])} | {_sentence(value)} |"
        yield ""
    for key, value in sections.items():
        yield from _section(f"{name}.{key}".lstrip("."), value)


def _sentence(schema: dict[str, Any]) -> str:
    return " ".join(schema["description"].split()).replace("|", r"\|")


def _code(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")
    return "`" + text.replace("|", r"\|") + "`"


def _values(schema: dict[str, Any]) -> str:
    """What a key may be, in words."""
    if "anyOf" in schema:
        return " or ".join(map(_values, schema["anyOf"]))
    if "const" in schema:
        return _code(schema["const"])
    if "enum" in schema:
        return ", ".join(map(_code, schema["enum"]))
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join(_kind(kind, schema) for kind in kinds)


def _kind(kind: str, schema: dict[str, Any]) -> str:
    if kind == "array":
        items = schema["items"]
        return f"list, each {_values(items)}" if {"enum", "minimum"} & items.keys() else "list of texts"
    words = {"string": "text", "boolean": "`true` or `false`", "null": "`null`", "object": "names, each with its value"}
    if kind in words:
        return words[kind]
    if {"minimum", "maximum"} <= schema.keys():
        return f"{kind}, {schema['minimum']} to {schema['maximum']}"
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return ", ".join([kind, *(f"{word} {schema[bound]}" for bound, word in words.items() if bound in schema)])


PARTS = {"README": readme, "rule graph": rule_graph, "configuration": configuration}
