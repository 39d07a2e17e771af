"""Untrained models of four architectures, small enough to be trained in a minute."""

from typing import Literal

import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MptConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

Architecture = Literal["llama", "gpt_neox", "gpt2", "mpt"]


def build_model(
    architecture: Architecture,
    vocab_size: int,
    hidden: int,
    layers: int,
    heads: int,
    context: int,
    seed: int,
    tokenizer: PreTrainedTokenizerFast,
) -> PreTrainedModel:
    """Return a randomly initialised causal language model, float32, on the CPU.

    Args:
        architecture: `llama`, `gpt_neox`, `gpt2` or `mpt`.
        vocab_size: rows of the embedding, at least the tokenizer's entries.
        hidden: width; the feed-forward part has about the parameters of one four times as wide.
        layers: transformer blocks.
        heads: attention heads; they divide `hidden`.
        context: longest input in tokens.
        seed: of the initial weights alone; the caller's random state is left as it was.
        tokenizer: its special tokens' ids go into the configuration.
    """
    vocab_size = max(vocab_size, len(tokenizer))
    eos = tokenizer.eos_token_id
    tokens = {
        "bos_token_id": tokenizer.bos_token_id if tokenizer.bos_token_id is not None else eos,
        "eos_token_id": eos,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = _config(architecture, vocab_size, hidden, layers, heads, context, tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def _config(
    architecture: Architecture,
    vocab_size: int,
    hidden: int,
    layers: int,
    heads: int,
    context: int,
    tokens: dict[str, int],
) -> PretrainedConfig:
    if architecture == "llama":
        return LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=hidden,
            intermediate_size=-(-hidden * 8 // 3 // 8) * 8,  # three matrices instead of two
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=context,
            tie_word_embeddings=False,
            **tokens,
        )
    if architecture == "gpt_neox":
        return GPTNeoXConfig(
            vocab_size=vocab_size,
            hidden_size=hidden,
            intermediate_size=4 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=context,
            tie_word_embeddings=False,
            **tokens,
        )
    if architecture == "gpt2":
        return GPT2Config(
            vocab_size=vocab_size,
            n_embd=hidden,
            n_layer=layers,
            n_head=heads,
            n_positions=context,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            **tokens,
        )
    return MptConfig(
        vocab_size=vocab_size,
        d_model=hidden,
        n_layers=layers,
        n_heads=heads,
        max_seq_len=context,
        expansion_ratio=4,
        **tokens,
    )
