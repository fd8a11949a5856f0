"""Writes docs/spec.md from the models of the spec: `python docs/make_spec_page.py`.

A field is described where it is declared; what stands here is only what its name says anyway, and what the
present version makes of it. A test fails when the page is older than the models.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from orchestrator.domain.spec import RunSpec

PAGE: Final = Path(__file__).with_name("spec.md")

OBVIOUS: Final = {
    "labels": "Your own words about the run, such as `team: nlp`; nothing reads them yet.",
    "queue": "The queue it waits in, once there is a service.",
    "workers": "How many workers; also `2`, `1:4` or `[1, 4]`. See [workers](#workers).",
    "code": "See [code](#code).",
    "parallelism": "See [parallelism](#parallelism).",
    "data": "See [data](#data).",
    "train": "See [train](#train).",
    "checkpoint": "See [checkpoint](#checkpoint).",
    "retry": "See [retry](#retry).",
    "stop": "See [stop](#stop).",
    "log": "See [log](#log).",
    "code.env": "Environment variables of the workers.",
    "parallelism.compression": "How gradients are packed for the wire.",
    "parallelism.pipeline": "Stages of a pipeline.",
    "parallelism.shard": "Workers that share the state of one replica.",
    "parallelism.sync": "How replicas agree on an update.",
    "parallelism.tensor": "Workers that share one matrix product.",
    "data.format": "What the files hold.",
    "data.shuffle": "See [data.shuffle](#datashuffle).",
    "train.seed": "Seed of the initial weights, of dropout and, unless told otherwise, of the row order.",
    "train.optimizer": "See [train.optimizer](#trainoptimizer).",
    "train.schedule": "See [train.schedule](#trainschedule).",
    "train.optimizer.name": "AdamW, or stochastic gradient descent.",
    "train.optimizer.weight_decay": "Applied to matrices only.",
    "train.schedule.name": "Constant, or falling along half a cosine.",
    "checkpoint.keep_last": "Committed checkpoints that are kept; older ones are removed.",
    "checkpoint.keep_best": "See [checkpoint.keep_best](#checkpointkeep_best).",
    "checkpoint.keep_best.mode": "Which end of the metric is the good one.",
    "log.tensorboard": "Whether to write files for TensorBoard.",
    "log.wandb.project": "Where the run is shown.",
}
"""Fields that have no docstring of their own."""

NOTES: Final = {
    "queue": "Only a service has queues.",
    "priority": "Only a service has queues.",
    "secrets": "Refused: a run without a service has no store of secrets.",
    "workers.min": "Without a service the run waits in STARTING, phase `waiting for capacity`.",
    "code.working_dir": "Every node must see it; nothing is shipped yet.",
    "code.exclude": "Refused: a run uses the environment it is started in.",
    "code.env": "Refused: a run uses the environment it is started in.",
    "code.pip": "Refused: a run uses the environment it is started in.",
    "data.on_bad_row": "A file that is there twice is refused either way. See [data](data.md#bad-rows).",
    "data.format": "See [data](data.md#formats).",
    "checkpoint.location": "See [checkpoints](checkpoints.md).",
    "checkpoint.keep_last": "See [what is kept](checkpoints.md#what-is-kept).",
    "train.from_checkpoint": "See [fine-tuning](checkpoints.md#from-another-run).",
    "retry.start_timeout": "Counted until the first generation has formed.",
    "retry.max_preemptions": "Nothing preempts yet.",
    "stop.max_duration": "Counted from the start of the attempt.",
    "log.tensorboard": "They lie in the [run directory](monitoring.md#tensorboard).",
}
"""What this version does otherwise than the field promises."""

_HEAD: Final = """\
# Run spec

<!-- Written by docs/make_spec_page.py; edit the models in orchestrator/domain, or that script. -->

A spec is YAML 1.2 or JSON. One of `task`, `entrypoint` and `command` is required, every other field has a
default. Unknown fields are refused with their place. `null` means "take the default". A field can be
overridden when the run is started: `--set train.steps=50`.

All durations are seconds, or text such as `30s`, `10m`, `1h30m`. Sizes are bytes, or text such as `2Gi`,
`512M`. Where a field accepts one value only, the others are names kept for later versions.

What decides the bits of a task's result is `task`, `model`, `train` (without `verify_every`), `data` (without
`cpus`) and `resources.threads`. Everything else, the number of workers above all, may change without changing
a bit.
"""


def spec_page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_section(RunSpec, "")])


def sections(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """(dotted path, model) of a model and of all sections inside it."""
    yield path, model
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is not None:
            yield from sections(inner, _joined(path, name))


def fields() -> dict[str, str]:
    """Dotted path -> what the model itself says about the field, perhaps nothing."""
    return {
        _joined(path, name): " ".join((field.description or "").split())
        for path, model in sections(RunSpec)
        for name, field in model.model_fields.items()
    }


def _section(model: type[BaseModel], path: str) -> Iterator[str]:
    for here, section in sections(model, path):
        yield f"## {here or 'The run'}\n"
        yield f"{_first_paragraph(section)}\n"
        yield "| field | accepts | default | meaning |\n|---|---|---|---|"
        schema = section.model_json_schema(mode="validation")
        properties = schema.get("properties") or schema["anyOf"][0]["properties"]
        for name in section.model_fields:
            pointer = _joined(here, name)
            row = (
                f"`{name}`",
                _accepts(properties[name]),
                _default(section, name),
                _meaning(pointer, section, name),
            )
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
        yield ""


def _first_paragraph(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").strip().split("\n\n")[0].split())


def _meaning(pointer: str, section: type[BaseModel], name: str) -> str:
    said = section.model_fields[name].description or OBVIOUS[pointer]
    sentence = " ".join(said.split())
    return f"{sentence} *{NOTES[pointer]}*" if pointer in NOTES else sentence


def _default(section: type[BaseModel], name: str) -> str:
    field = section.model_fields[name]
    if field.default is not PydanticUndefined:
        return _shown(field.default)
    inner = _model_in(field.annotation)
    if inner is not None:
        return "below"
    if field.default_factory in (dict, list, tuple):
        return f"`{'{}' if field.default_factory is dict else '[]'}`"
    return "see right" if field.default_factory is not None else "required"


def _shown(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case tuple():
            return f"`[{', '.join(map(str, value))}]`"
        case float():
            return f"`{value:g}`"
        case _:
            return f"`{value}`"


def _accepts(schema: dict[str, Any]) -> str:
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if choices:
        return " or ".join(map(_accepts, choices))
    if "$ref" in schema or "properties" in schema:
        return "section"
    if "const" in schema:
        return f"`{_plain(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{item}`" for item in schema["enum"])
    if "examples" in schema:
        return ", ".join(f"`{item}`" for item in schema["examples"])
    kind = schema.get("type")
    return _KINDS[kind if isinstance(kind, str) else "object"] + _bounds(schema)


_KINDS: Final = {
    "array": "list",
    "boolean": "`true` or `false`",
    "integer": "whole number",
    "number": "number",
    "object": "mapping",
    "string": "text",
}
_LARGEST_SHOWN: Final = 10**9


def _bounds(schema: dict[str, Any]) -> str:
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [
        f"{sign} {schema[key]:g}"
        for key, sign in words.items()
        if abs(schema.get(key, 1e99)) < _LARGEST_SHOWN
    ]
    return f" {', '.join(found)}" if found else ""


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, perhaps besides None."""
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


if __name__ == "__main__":
    PAGE.write_text(spec_page(), encoding="utf-8")
