"""Writes docs/rest.md from the service's own OpenAPI document: `python docs/make_rest_page.py`.

A route is described by its docstring and models. A test fails when the page is older than they are.
"""

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from api.settings import Settings
from api.wiring import assemble
from cluster.fake import FakeCluster
from orchestrator.store.memory import MemoryRecord
from orchestrator.store.run_files import RunFolders

PAGE: Final = Path(__file__).with_name("rest.md")
_HEAD: Final = """\
# REST

<!-- Written by docs/make_rest_page.py from /openapi.json; edit the routes in api/service/routes. -->

What the service answers at its address, by default `http://127.0.0.1:8700`. It documents itself: `/docs` to
try it, `/openapi.json` (OpenAPI 3.1) for programs. How it is used, with `curl` and from Python, is in [the
service](service.md#rest).

- `{ref}` is the id of a run, its name, or a unique prefix of either; of a node an id or a prefix of one, a
  host name or an address.
- A refusal is `application/problem+json` (RFC 9457): `code`, `detail`, `hint`, `request_id` and `errors`
  with a JSON pointer each. The codes are in [errors](errors.md). Any request may meet 400, 403, 421, 422,
  500 and 503; below, only the others are named.
- Times are RFC 3339 in UTC; durations end in `_s` and are seconds.
"""
_ALWAYS: Final = {"400", "403", "421", "422", "500", "503"}
_REFERENCE: Final = re.compile(r'"#/components/schemas/(\w+)"')
_KINDS: Final = {
    "": "anything",
    "array": "list",
    "binary": "bytes",
    "boolean": "`true` or `false`",
    "date-time": "time",
    "integer": "whole number",
    "null": "null",
    "number": "number",
    "object": "mapping",
}
_TITLES: Final = {"runs": "Runs", "steering": "Steering", "records": "Records of a run"}


def rest_page() -> str:
    """The whole page."""
    document = openapi()
    return "\n".join([_HEAD, *_routes(document), *_models(document)])


def openapi() -> dict[str, Any]:
    """The document of a service that serves nobody: record and cluster are in memory, and nothing starts."""
    with tempfile.TemporaryDirectory() as home:
        settings = Settings.load(home=Path(home))
        service = assemble(settings, MemoryRecord(), FakeCluster(1), RunFolders())
        return service.app.openapi()


def _routes(document: dict[str, Any]) -> Iterator[str]:
    section = None
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            tag = next(iter(route.get("tags", ())), "other")
            if tag != section:
                section = tag
                yield f"## {_TITLES.get(tag, tag.capitalize())}\n"
            yield from _route(document, method, path, route)


def _route(document: dict[str, Any], method: str, path: str, route: dict[str, Any]) -> Iterator[str]:
    yield f"### {method.upper()} {path}\n"
    yield f"{_line(route.get('description') or route['summary'])}\n"
    yield f"Answers {', '.join(_answers(route))}.\n"
    if "requestBody" in route:
        yield f"Body: {', '.join(_bodies(route['requestBody']))}.\n"
    asked = [one for one in route.get("parameters", ()) if one["in"] != "path"]
    if asked:
        yield "| parameter | accepts | default | meaning |\n|---|---|---|---|"
        for one in asked:
            default = one["schema"].get("default")
            row = (
                f"`{one['name']}`" + ("" if one["in"] == "query" else f" ({one['in']})"),
                _type(one["schema"]),
                "required" if one.get("required") else "" if default is None else f"`{_plain(default)}`",
                _line(one.get("description", "")),
            )
            yield _row(*row)
        yield ""


def _answers(route: dict[str, Any]) -> Iterator[str]:
    for status, answer in route["responses"].items():
        if status in _ALWAYS:
            continue
        schemas = [content.get("schema", {}) for content in answer.get("content", {}).values()]
        shapes = {_type(schema) for schema in schemas if schema and int(status) < 400}
        yield f"{status}{' with ' if shapes else ''}{' or '.join(sorted(shapes))}"


def _bodies(body: dict[str, Any]) -> Iterator[str]:
    for kind, content in body["content"].items():
        shape = _type(content.get("schema", {}))
        yield f"{shape} as `{kind}`" if shape != "anything" else f"`{kind}`"


def _models(document: dict[str, Any]) -> Iterator[str]:
    yield "## Models\n"
    of_the_spec = _of_the_spec(document)
    for name, model in sorted(document["components"]["schemas"].items()):
        if name == "RunSpec":
            yield "### RunSpec\n\nWhat was asked, a page of its own: [run spec](spec.md).\n"
        elif model.get("enum"):
            yield f"### {name}\n"
            yield f"One of {', '.join(f'`{value}`' for value in model['enum'])}.\n"
        elif model.get("properties") and name not in of_the_spec:
            yield f"### {name}\n"
            if model.get("description"):
                yield f"{_line(model['description'])}\n"
            yield "| field | type | meaning |\n|---|---|---|"
            for field, schema in model["properties"].items():
                yield _row(f"`{field}`", _type(schema), _line(schema.get("description", "")))
            yield ""


def _of_the_spec(document: dict[str, Any]) -> set[str]:
    """The sections of the spec, which has its page."""
    found: set[str] = set()
    waiting = ["RunSpec"]
    while waiting:
        found.add(name := waiting.pop())
        inner = _REFERENCE.findall(json.dumps(document["components"]["schemas"][name]))
        waiting += sorted(set(inner) - found)
    return found


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if name != "RunSpec" else "[RunSpec](spec.md)"
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_type, choices)))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{_plain(schema['const'])}`"
    inner = schema.get("items") or schema.get("additionalProperties")
    kind = schema.get("format") or schema.get("type", "")
    if isinstance(inner, dict):
        return f"{_KINDS[kind]} {'of' if kind == 'array' else 'to'} {_type(inner)}"
    return _KINDS.get(kind, "text") + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {schema[key]:g}" for key, sign in words.items() if abs(schema.get(key, 1e99)) < 1e9]
    return f" {', '.join(found)}" if found else ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _line(text: str) -> str:
    return " ".join(text.split())


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    PAGE.write_text(rest_page(), encoding="utf-8")
