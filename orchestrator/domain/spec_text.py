"""YAML 1.2 or JSON text -> plain values, and the line and column of each of them.

ruamel.yaml parses into nodes, which know where they stand. What a plain scalar means is decided here by the
core schema of YAML 1.2 (section 10.3.2): `2:4`, `on` and `2024-01-31` are text, `1e-3` is a number.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.domain.errors import Problem, SpecError

Place = tuple[int, int]
"""Line and column, both counted from 1."""

_MOST_VALUES: Final = 20_000
_DEEPEST: Final = 40
_LONGEST_NUMBER: Final = 64
_WORDS: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9][0-9_]*")
_OTHER_INTEGER: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_STANDARD_TAG: Final = "tag:yaml.org,2002:"
_HINTS: Final = {
    "found character '\\t'": "indent with spaces instead of tabs",
    "mapping values are not allowed": "check the indentation, or put text that holds ': ' in quotes",
    "expected <block end>": "check the indentation",
    "could not find expected ':'": "write 'key: value'",
    "found duplicate anchor": "give each anchor a name of its own",
    "but found another document": "keep one document, without '---' in between",
}


@dataclass
class Document:
    """What a text holds."""

    values: dict[str, Any]
    places: dict[str, Place] = field(default_factory=dict)
    """Pointer such as `workers.max` -> where its key (or list item) starts; the empty one is the whole."""
    problems: list[Problem] = field(default_factory=list)
    """What is wrong with the text although it parses: keys that occur twice, unknown tags."""


def read_text(text: str, file: str) -> Document:
    """Reads one mapping from YAML or JSON.

    Args:
        text: the whole file.
        file: what problems call it.

    Raises:
        SpecError: the text does not parse, is empty or holds something other than a mapping.
    """
    from_json = _as_json(text)
    try:
        node = YAML(typ="rt", pure=True).compose(text if from_json is None else text.replace("\t", " "))
    except (YAMLError, RecursionError) as error:
        if from_json is not None:
            return Document(from_json)
        raise SpecError([_syntax_problem(error, text, file)]) from None
    if node is None:
        message = "the spec is empty; it needs at least task, entrypoint or command"
        raise SpecError([Problem("", message, file, 1, 1)])
    if not isinstance(node, MappingNode):
        raise SpecError(
            [Problem("", "expected 'key: value' lines, got a list or a single value", file, *_place(node))]
        )
    reader = _Reader(file)
    values = reader.mapping(node, ())
    return Document(values if from_json is None else from_json, reader.places, reader.problems)


def _as_json(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _syntax_problem(error: YAMLError | RecursionError, text: str, file: str) -> Problem:
    if isinstance(error, RecursionError):
        return Problem("", f"expected at most {_DEEPEST} levels, got many more", file, 1, 1)
    mark = error.problem_mark or error.context_mark if isinstance(error, MarkedYAMLError) else None
    if not isinstance(error, MarkedYAMLError) or mark is None:
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position) + 1
        return Problem("", "not valid YAML: a control character; remove it", file, line)
    what = " ".join(part for part in (error.context, error.problem) if part)
    hint = next((hint for start, hint in _HINTS.items() if start in what), None)
    message = f"not valid YAML: {what}" + (f"; {hint}" if hint else "")
    return Problem("", message, file, mark.line + 1, mark.column + 1)


def _place(node: Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


class _Reader:
    """Turns nodes into values; collects places and problems on the way."""

    def __init__(self, file: str) -> None:
        self.places: dict[str, Place] = {}
        self.problems: list[Problem] = []
        self._file = file
        self._num_values = 0

    def mapping(self, node: MappingNode, path: tuple[str, ...]) -> dict[Any, Any]:
        """A mapping at a path; the first of two equal keys counts, `<<` fills in what the mapping lacks."""
        self.places.setdefault(".".join(path), _place(node))
        values: dict[Any, Any] = {}
        merged: list[Node] = []
        for key_node, item in node.value:
            if isinstance(key_node, ScalarNode) and key_node.value == "<<" and key_node.style is None:
                merged += item.value if isinstance(item, SequenceNode) else [item]
            else:
                self._entry(values, key_node, item, path)
        for other in merged:
            if isinstance(other, MappingNode):
                values = {**self._value(other, path), **values}
            else:
                self._report(path, "expected a mapping after '<<', got something else", other)
        return values

    def _entry(self, values: dict[Any, Any], key_node: Node, item: Node, path: tuple[str, ...]) -> None:
        if not isinstance(key_node, ScalarNode):
            self._report(path, "expected text as key, got a list or a mapping", key_node)
            return
        key = self._scalar(key_node, path)
        inner = (*path, str(key))
        if key in values:
            first = self.places[".".join(inner)][0]
            self._report(inner, f"the key occurs twice, first on line {first}; remove one", key_node)
            return
        self.places[".".join(inner)] = _place(key_node)
        values[key] = self._value(item, inner)

    def _value(self, node: Node, path: tuple[str, ...]) -> Any:
        self._num_values += 1
        if self._num_values > _MOST_VALUES or len(path) > _DEEPEST:
            message = f"expected at most {_MOST_VALUES} values in {_DEEPEST} levels, got more"
            raise SpecError([Problem(".".join(path[:3]), message, self._file, *_place(node))])
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self._check_tag(node, path)
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        items = []
        for index, item in enumerate(node.value):
            inner = (*path, str(index))
            self.places[".".join(inner)] = _place(item)
            items.append(self._value(item, inner))
        return items

    def _scalar(self, node: ScalarNode, path: tuple[str, ...]) -> str | int | float | bool | None:
        self._check_tag(node, path)
        text = str(node.value)
        is_plain = node.style is None and node.tag != f"{_STANDARD_TAG}str"
        return _plain_scalar(text) if is_plain else text

    def _check_tag(self, node: Node, path: tuple[str, ...]) -> None:
        tag = str(node.tag)
        if not tag.startswith(_STANDARD_TAG):
            self._report(path, f"the tag {tag} has no meaning here; remove it", node)

    def _report(self, path: tuple[str, ...], message: str, node: Node) -> None:
        self.problems.append(Problem(".".join(path), message, self._file, *_place(node)))


def _plain_scalar(text: str) -> str | int | float | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return int(text.replace("_", ""))
    if _OTHER_INTEGER.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text
