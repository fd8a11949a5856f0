"""The config of the language model; imports no torch, so that a spec is checked without it."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from orchestrator.domain.spec_fields import Conflict, Count, Share, SpecPart

_DEFAULT_PRESET: Final = "gpt-nano"
_BYTE_VOCABULARY: Final = 257
_PRESETS: Final[Mapping[str, Mapping[str, int]]] = {
    "gpt-nano": {"layers": 4, "heads": 4, "width": 96, "context": 128, "vocabulary": _BYTE_VOCABULARY},
    "gpt-micro": {"layers": 4, "heads": 4, "width": 128, "context": 128, "vocabulary": _BYTE_VOCABULARY},
    "gpt-mini": {"layers": 6, "heads": 6, "width": 192, "context": 256, "vocabulary": _BYTE_VOCABULARY},
    "gpt2": {"layers": 12, "heads": 12, "width": 768, "context": 1024, "vocabulary": 50257},
}
"""Parameters: 0.5, 0.8, 2.8 and 124 million. The last has the sizes of the smallest GPT-2 (Radford et al.
2019, table 2)."""


class LanguageModelConfig(SpecPart):
    """`model:` of a spec with `task: language_model`; a field given beside the preset goes before it."""

    preset: Literal["gpt-nano", "gpt-micro", "gpt-mini", "gpt2"] = _DEFAULT_PRESET
    layers: Count
    heads: Count
    """Attention heads; must divide `width`."""
    width: Count
    """Size of the residual stream; the feed-forward layer is four times as wide."""
    context: Count
    """Tokens that the model sees at once, and the length of a row."""
    vocabulary: Annotated[Count, Field(ge=_BYTE_VOCABULARY)]
    """Number of token ids; at least the 256 bytes and the end of text."""
    dropout: Share = 0.0

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        given = {key: value for key, value in values.items() if value is not None}
        # An unknown preset is reported as such, not as five missing fields.
        preset = given.get("preset")
        known = _PRESETS.get(preset) if isinstance(preset, str) else None
        return {**(known or _PRESETS[_DEFAULT_PRESET]), **given}

    def conflicts(self) -> Iterator[Conflict]:
        if self.width % self.heads:
            yield Conflict(
                ("heads", "width", "preset"),
                f"expected a divisor of width, which is {self.width}, got {self.heads}",
            )
