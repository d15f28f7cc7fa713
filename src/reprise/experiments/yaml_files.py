"""YAML read strictly: duplicate keys, tabs and other faults become one line with file and line number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from reprise.errors import RepriseError


class _Loader(yaml.CSafeLoader):
    """YAML 1.2 scalars instead of 1.1: `5e-4` is a number, `no` and `2024-01-01` are text."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012  PyYAML's own class attribute


for _tag, _pattern, _first in (
    ("null", r"null|~|", ["n", "~", ""]),
    ("bool", r"true|false", list("tf")),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.inf|\.nan", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def read(path: Path, place: str) -> dict[str, Any]:
    """The mapping in the YAML file ``path``; ``place`` names the file in errors (RepriseError)."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RepriseError(f"{place}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RepriseError(f"{place}: not UTF-8 text (byte {error.start})") from error
    try:
        data = _load(text)
    except yaml.MarkedYAMLError as error:
        raise RepriseError(_fault(error, text, place)) from error
    except yaml.YAMLError as error:
        raise RepriseError(f"{place}: not YAML: {error}") from error
    if not isinstance(data, dict):
        raise RepriseError(f"{place}: a mapping of keys to values is expected")
    return data


def _load(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _unique_keys(node)  # before construction, which expands merge keys (`<<`) in place
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _unique_keys(top: yaml.Node) -> None:
    waiting, done = [top], set()
    while waiting:
        node = waiting.pop()
        if id(node) in done:  # an alias
            continue
        done.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        raise yaml.MarkedYAMLError(
                            problem=f"the key '{key.value}' stands twice", problem_mark=key.start_mark
                        )
                    seen.add(key.value)
                waiting.append(value)


def _fault(error: yaml.MarkedYAMLError, text: str, place: str) -> str:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return f"{place}: not YAML: {error.problem}"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    problem = error.problem or error.context
    if "\t" in line and "stands twice" not in problem:
        problem = "a tab; YAML is indented with spaces"
    return f"{place}: line {mark.line + 1}: {problem}"
