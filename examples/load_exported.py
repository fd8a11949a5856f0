"""Let an exported language model go on from a prompt, without Tumbler.

`tumbler checkpoint export RUN model`, then `python examples/load_exported.py model "Once upon"`. Needs torch
and safetensors, and tokenizers where the export has a tokenizer.json.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_model


def load_exported(folder):
    """The network in evaluation mode, and its config."""
    sys.path.insert(0, str(folder))  # model.py
    from model import Transformer

    config = json.loads((Path(folder) / "config.json").read_text())
    model = Transformer(SimpleNamespace(**config["model"]))
    load_model(model, Path(folder) / "model.safetensors")
    return model.eval(), config


def tokenizer_of(folder, config):
    """Two functions: text to ids, and back."""
    if config["tokenizer"]["kind"] == "bytes":
        return lambda text: list(text.encode()), lambda ids: bytes(ids).decode(errors="replace")
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    return lambda text: found.encode(text, add_special_tokens=False).ids, found.decode


def continuation(folder, prompt, num_tokens=100):
    """The likeliest token, again and again."""
    model, config = load_exported(folder)
    encode, decode = tokenizer_of(folder, config)
    end, context = config["tokenizer"]["end_of_text"], config["model"]["context"]
    ids = [end, *encode(prompt)]
    for _ in range(num_tokens):
        with torch.inference_mode():
            logits = model(torch.tensor([ids[-context:]]))[0, -1]
        token = int(logits[: config["tokenizer"]["vocabulary"]].argmax())
        if token == end:
            break
        ids.append(token)
    return decode(ids[1:])


if __name__ == "__main__":
    print(continuation(sys.argv[1], sys.argv[2]))
