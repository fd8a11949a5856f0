import math
from collections.abc import Iterator

import pytest
import torch

from trainers.tasks.language_model_config import LanguageModelConfig
from trainers.tasks.transformer import CausalAttention, Transformer

SMALL = {"layers": 2, "heads": 2, "width": 16, "context": 8}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def a_model(seed: int = 1, **fields: object) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(LanguageModelConfig.model_validate({**SMALL, **fields}))


def some_tokens(*shape: int) -> torch.Tensor:
    return torch.randint(0, 257, shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("preset", "millions"), [("gpt-nano", 0.48), ("gpt-micro", 0.84), ("gpt-mini", 2.77), ("gpt2", 124.44)]
)
def test_presets_have_the_sizes_they_promise(preset: str, millions: float) -> None:
    with torch.device("meta"):
        model = Transformer(LanguageModelConfig.model_validate({"preset": preset}))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


def test_logits_have_one_row_per_token() -> None:
    assert a_model()(some_tokens(3, 5)).shape == (3, 5, 257)


def test_a_token_does_not_see_what_comes_after_it() -> None:
    model, tokens = a_model().eval(), some_tokens(1, 8)
    changed = tokens.clone()
    changed[0, 5] = (changed[0, 5] + 1) % 257
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_a_token_sees_all_that_came_before_it() -> None:
    model, tokens = a_model().eval(), some_tokens(1, 8)
    changed = tokens.clone()
    changed[0, 0] = (changed[0, 0] + 1) % 257
    assert not torch.allclose(model(tokens)[:, 7], model(changed)[:, 7], atol=1e-7)


def test_places_matter() -> None:
    same = torch.full((1, 8), 65)
    logits = a_model().eval()(same)
    assert not torch.allclose(logits[0, 0], logits[0, 7], atol=1e-6)


def test_weights_start_as_in_gpt_2() -> None:
    model = a_model(layers=8, heads=4, width=64, context=32)
    found = {name: parameter.detach() for name, parameter in model.named_parameters()}
    assert float(found["tokens.weight"].std()) == pytest.approx(0.02, rel=0.05)
    assert float(found["blocks.3.attention.query_key_value.weight"].std()) == pytest.approx(0.02, rel=0.05)
    written = 0.02 / math.sqrt(16)
    assert float(found["blocks.3.attention.project.weight"].std()) == pytest.approx(written, rel=0.05)
    assert float(found["blocks.7.feed_forward.contract.weight"].std()) == pytest.approx(written, rel=0.05)
    assert all(not bool(found[name].any()) for name in found if name.endswith("bias"))
    assert bool((found["blocks.0.attention_norm.weight"] == 1).all())


def test_the_same_seed_gives_the_same_model() -> None:
    one, two, other = a_model(1), a_model(1), a_model(2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.tokens.weight, other.tokens.weight)


def test_whole_heads_can_be_cut_off_the_attention() -> None:
    """The first half of the rows of `query_key_value` holds the first half of the heads."""
    attention = CausalAttention(LanguageModelConfig.model_validate(SMALL))
    stream = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(3))
    heads: list[torch.Tensor] = []
    attention.project.register_forward_pre_hook(lambda module, given: heads.append(given[0].detach().clone()))
    attention(stream)
    with torch.no_grad():
        attention.query_key_value.weight[24:] = 0
    attention(stream)
    assert torch.equal(heads[0][..., :8], heads[1][..., :8])
    assert not torch.allclose(heads[0][..., 8:], heads[1][..., 8:])


def test_dropout_acts_in_training_only() -> None:
    model, tokens = a_model(dropout=0.5), some_tokens(1, 8)
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))
