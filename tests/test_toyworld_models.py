"""Toy tokenizers give every text back; toy models are of the architecture asked for and the same by seed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from fusebench.toyworld import DOMAINS, documents, mixture
from fusebench.toyworld.models import build_model
from fusebench.toyworld.tokenizers import train_tokenizer

KINDS = ("byte_bpe", "byte_bpe_gpt2", "unigram")
TEXTS = [text for _, text in mixture(dict.fromkeys(DOMAINS, 1.0), 200, 1)]
TOKENIZERS = {kind: train_tokenizer(kind, TEXTS, 700) for kind in KINDS}


def back(tokenizer, text):
    """Return a text that went through a tokenizer."""
    ids = tokenizer(text, add_special_tokens=False).input_ids
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("kind", KINDS)
def test_every_document_comes_back_exactly(kind):
    for domain in DOMAINS:
        for text in documents(domain, 40, 9):
            assert back(TOKENIZERS[kind], text) == text


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40))
def test_any_text_comes_back_exactly(kind, text):
    assert back(TOKENIZERS[kind], "x" + text) == "x" + text


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_loads_as_it_was(kind, tmp_path):
    TOKENIZERS[kind].save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(TEXTS[0]).input_ids == TOKENIZERS[kind](TEXTS[0]).input_ids
    assert (again.eos_token_id, again.pad_token_id) == (TOKENIZERS[kind].eos_token_id, TOKENIZERS[kind].pad_token_id)


@pytest.mark.parametrize("architecture", ["llama", "gpt_neox", "gpt2", "mpt"])
def test_a_model_is_of_its_architecture_and_the_same_by_seed(architecture):
    words = TOKENIZERS["byte_bpe"]
    shape = {"vocab_size": 700, "hidden": 16, "layers": 1, "heads": 2, "context": 32}
    first, again, other = (build_model(architecture, **shape, seed=s, tokenizer=words) for s in (1, 1, 2))
    assert first.config.model_type == architecture
    ids = torch.arange(8)[None]
    with torch.no_grad():
        assert torch.equal(first(ids).logits, again(ids).logits)
        assert not torch.equal(first(ids).logits, other(ids).logits)
