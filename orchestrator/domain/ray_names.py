"""By what names the parts of a run are found in Ray, by whoever looks for them."""

from typing import Final

NAMESPACE: Final = "tumbler"
"""The Ray namespace of all named actors."""


def controller_name(run: str) -> str:
    return f"controller:{run}"


def slot_prefix(run: str) -> str:
    """How the names of all placement groups of a run begin."""
    return f"tumbler:{run}:"
