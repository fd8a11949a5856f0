"""The manifest of a checkpoint: the file that commits it, and how everything in it is named.

    step-00000100/
        manifest-a0001-g000003.json     the commit; its name carries attempt and generation
        a0001-g000003/                  what the writers of that attempt and generation wrote
            structure.json
            part-000-004.safetensors

Of one step the manifest of the highest (attempt, generation) counts.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

import xxhash
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.domain.errors import CheckpointError
from orchestrator.domain.spec_differences import content_differences

FORMAT: Final = 2
_STEP: Final = re.compile(r"step-([0-9]{8,18})")
_WRITERS: Final = re.compile(r"a([0-9]{4,9})-g([0-9]{6,12})")
_MANIFEST: Final = re.compile(rf"manifest-{_WRITERS.pattern}\.json")
_Natural = Annotated[int, Field(ge=0)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def step_folder(step: int) -> str:
    return f"step-{step:08d}"


def parts_folder(attempt: int, generation: int) -> str:
    return f"a{attempt:04d}-g{generation:06d}"


def manifest_name(attempt: int, generation: int) -> str:
    return f"manifest-{parts_folder(attempt, generation)}.json"


def step_of(folder: str) -> int | None:
    """The step of a folder that `step_folder` named, None for any other."""
    found = _STEP.fullmatch(folder)
    return int(found[1]) if found else None


def writers_of(folder: str) -> tuple[int, int] | None:
    """(attempt, generation) of a folder that `parts_folder` named, None for any other."""
    found = _WRITERS.fullmatch(folder)
    return (int(found[1]), int(found[2])) if found else None


def committer_of(name: str) -> tuple[int, int] | None:
    """(attempt, generation) of a file that `manifest_name` named, None for any other."""
    found = _MANIFEST.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None


def xxh3_of(content: bytes | memoryview) -> str:
    """XXH3-128, 32 hex digits: finds damage at the speed of memory. It is no proof against forgery."""
    return xxhash.xxh3_128(content).hexdigest()


class PartFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=rf"^{_WRITERS.pattern}/[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    """Relative to the folder of the step: `a0001-g000003/part-000-004.safetensors`."""
    size: _Natural
    """Bytes."""
    xxh3: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    """XXH3-128 of the whole file."""


class Manifest(BaseModel):
    """What a checkpoint consists of, and what it is a checkpoint of."""

    # JSON has no NaN; as a string it survives.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    format: Literal[2] = FORMAT
    step: _Natural
    attempt: _Natural
    generation: _Natural
    fingerprint: str
    """Of the spec, as `RunSpec.result_fingerprint` makes it."""
    spec: dict[str, Any] = {}
    """What it is the fingerprint of; empty in those of earlier versions."""
    committed: str
    """RFC 3339 in UTC."""
    metrics: dict[str, float] = {}
    """Of the newest evaluation and step."""
    parts: tuple[PartFile, ...]
    """All files of the checkpoint, `structure.json` among them."""
    parameters_sha256: _Sha256 | None = None
    optimizer_sha256: _Sha256 | None = None

    @property
    def writer(self) -> tuple[int, int]:
        """(attempt, generation): the higher one is the newer."""
        return self.attempt, self.generation

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts)

    def check_spec(self, fingerprint: str, content: Mapping[str, Any], where: str) -> None:
        """Raises CheckpointError where it belongs to another spec, and says what differs; `content` is what
        `RunSpec.result_content` makes."""
        if self.fingerprint == fingerprint:
            return
        differences = content_differences(self.spec, content) if self.spec and content else ()
        raise CheckpointError(f"{where} belongs to another spec: {', '.join(differences)}".removesuffix(": "))

    def text(self) -> str:
        """As JSON, with a checksum: SHA-256 over the canonical JSON of all the rest."""
        content = json.loads(self.model_dump_json(exclude=set() if self.spec else {"spec"}))
        return json.dumps({**content, "checksum": _checksum(content)}, indent=1) + "\n"

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Self:
        """The manifest in `text`; `where` is what the sentence of an error calls it.

        Raises CheckpointError where it is damaged, that is not byte for byte what `text()` writes, or of
        another format.
        """
        try:
            values: Any = json.loads(text)
        except ValueError as error:
            raise CheckpointError(f"{where} is damaged: it is no JSON") from error
        if not isinstance(values, dict):
            raise CheckpointError(f"{where} is damaged: it is no manifest")
        if values.get("format") != FORMAT:
            raise CheckpointError(
                f"{where} has format {values.get('format')!r} and this version reads {FORMAT}"
            )
        values.pop("checksum", None)
        try:
            found = cls.model_validate(values)
        except ValidationError as error:
            field = ".".join(map(str, error.errors()[0]["loc"]))
            raise CheckpointError(f"{where} is damaged: its {field} is none") from error
        if found.text().encode() != (text.encode() if isinstance(text, str) else text):
            raise CheckpointError(f"{where} is damaged: it does not match its checksum")
        return found


def _checksum(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
