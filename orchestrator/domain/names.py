"""Names for runs, and what a name may look like."""

import random
import re
from typing import Final

LONGEST_NAME: Final = 63
NAME_PATTERN: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# fmt: off
_ADJECTIVES: Final = (
    "able", "agile", "amber", "bold", "brave", "bright", "brisk", "calm", "clever", "cosmic", "crisp",
    "daring", "deft", "eager", "early", "fair", "fleet", "gentle", "glad", "golden", "grand", "happy",
    "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow",
    "merry", "mighty", "modest", "neat", "nimble", "noble", "patient", "placid", "plucky", "polite",
    "proud", "quick", "quiet", "rapid", "robust", "royal", "sharp", "silent", "sleek", "smart", "snug",
    "solid", "spry", "steady", "sturdy", "sunny", "swift", "tidy", "upright", "vivid", "warm", "wise",
    "witty", "zesty",
)
_NOUNS: Final = (
    "badger", "bear", "beaver", "bison", "camel", "cheetah", "condor", "coyote", "crane", "dingo",
    "dolphin", "eagle", "egret", "elk", "falcon", "ferret", "finch", "fox", "gazelle", "gecko", "gibbon",
    "goose", "heron", "hippo", "ibex", "iguana", "impala", "jackal", "jaguar", "kestrel", "kiwi", "koala",
    "lark", "lemur", "leopard", "llama", "lynx", "magpie", "marmot", "marten", "mole", "moose", "newt",
    "ocelot", "orca", "osprey", "otter", "owl", "panda", "parrot", "pelican", "penguin", "puffin", "puma",
    "quail", "rabbit", "raven", "robin", "salmon", "seal", "shrew", "sparrow", "stork", "swan", "tapir",
    "tern", "tiger", "toucan", "turtle", "viper", "walrus", "weasel", "whale", "wolf", "wombat", "wren",
    "yak", "zebra",
)
# fmt: on


def generate_name(source: random.Random | None = None) -> str:
    """A name such as `brave-otter-7f3a`: legal, readable, and one of about 340 million.

    Args:
        source: where the chance comes from; None takes the system's, which no seed of a run touches.
    """
    chance = source or random.SystemRandom()
    return f"{chance.choice(_ADJECTIVES)}-{chance.choice(_NOUNS)}-{chance.randrange(16**4):04x}"


def check_name(name: str) -> str:
    """The name itself, if it is a DNS label: `a-z`, `0-9` and inner dashes, 1 to 63 characters.

    Raises:
        ValueError: with a sentence for the user that proposes a legal name.
    """
    if re.fullmatch(NAME_PATTERN, name):
        return name
    if len(name) > LONGEST_NAME:
        raise ValueError(f"expected at most {LONGEST_NAME} characters, got {len(name)}")
    sentence = f"expected lower-case letters, digits and inner dashes, got {name!r}"
    legal = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    raise ValueError(f"{sentence}, try {legal!r}" if legal else sentence)
