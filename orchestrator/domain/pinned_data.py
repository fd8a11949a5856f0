"""What a run reads, as an own scan of the sources found it before the first step: data.json.

It is pinned when the run begins and never changed. What is expected of the rows comes from here, not from
what the trainer says that it was given.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class PinnedFile(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    """Path relative to the root of the source, with `/` on every platform."""
    size: int
    """Bytes."""
    sha256: str
    rows: int


class PinnedData(BaseModel):
    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    fingerprint: str
    """SHA-256 over all that decides the rows."""
    num_rows: int | None
    """None where nobody could know it before all was read: a vocabulary that is learned, a user's transform
    of whole files. As are the next two."""
    num_train_rows: int | None
    num_validation_rows: int | None
    files: tuple[PinnedFile, ...] = ()


def differences(pinned: PinnedData, found: dict[str, tuple[int, str]]) -> list[str]:
    """In what the sources are no longer those that were pinned; `found` is name -> (bytes, SHA-256)."""
    known = {file.name: (file.size, file.sha256) for file in pinned.files}
    return [
        *(f"{name} was read by the run and is gone" for name in sorted(known.keys() - found.keys())),
        *(f"{name} was not there when the run began" for name in sorted(found.keys() - known.keys())),
        *(
            f"{name} was changed since the run began"
            for name in sorted(known.keys() & found.keys())
            if known[name] != found[name]
        ),
    ]
