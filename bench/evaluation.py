"""Requests of lm-eval answered by our model and by lm-eval's own `hf`, on the same weights and in the same batches."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import LlamaConfig, LlamaForCausalLM

from fusebench.corpus.models import load_model, load_tokenizer
from fusebench.evaluate.language_model import LanguageModel

BATCH = 16
NEW = 64
TEXT = (
    "the of and a to in he was that it his her with as had she for not at but on is by be from all this which "
    "they have you him were or so my are one when no an there what their if would who been do more said will out "
    "up some time man then me into day see now way could little great long good other people water house light "
    "night old year "
)


def section(tokenizers: Path, model_folder: Path | None) -> str:
    """Return the page's section on evaluation."""
    if model_folder is None:
        tokenizer = load_tokenizer(tokenizers / "llama2" / "tokenizer.json.gz")
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=32000, hidden_size=576, intermediate_size=1536, num_hidden_layers=12, num_attention_heads=9,
            num_key_value_heads=3, max_position_embeddings=4096, initializer_range=0.1, tie_word_embeddings=True,
        )  # fmt: skip
        model: Any = LlamaForCausalLM(config).eval()
        name = "Llama, 12 layers of 576, random weights, Llama-2's tokenizer"
    else:
        tokenizer, model = load_tokenizer(str(model_folder)), load_model(str(model_folder), dtype="float32")
        name = model_folder.name
    lines = ["| requests | ours | lm-eval `hf` | ratio | agreement |", "|---|---|---|---|---|"]
    lines += [" | ".join(["", *row, ""]).strip() for row in _rows(model, tokenizer)]
    note = f"\n{name}; {BATCH} requests at a time, float32. `hf` is lm-eval's own class on the same model object.\n"
    return "## Evaluation\n\n" + "\n".join(lines) + "\n" + note


def _rows(model: Any, tokenizer: Any) -> list[list[str]]:
    chance = np.random.default_rng(0)

    def words(count: int) -> str:
        return " ".join(chance.choice(TEXT.split(), count))

    ends = [f" {words(12)}" for _ in range(4)]
    four = [(context, end) for context in (words(80) for _ in range(32)) for end in ends]
    two = [(context, end) for context in (words(150) for _ in range(32)) for end in (" yes", " no")]
    shots = words(800)
    alike = [f"{shots} {words(20)}" for _ in range(24)]
    apart = [words(int(chance.integers(20, 80))) for _ in range(32)]
    return [
        _likelihoods("32 contexts of 80 words, four endings of 12", model, tokenizer, four),
        _likelihoods("32 contexts of 150 words, ` yes` or ` no`", model, tokenizer, two),
        _generations(f"24 prompts behind 800 words of examples, {NEW} new tokens", model, tokenizer, alike),
        _generations(f"32 prompts of 20 to 80 words, {NEW} new tokens", model, tokenizer, apart),
    ]


def _likelihoods(what: str, model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> list[str]:
    requests = [Instance("loglikelihood", {}, pair, n) for n, pair in enumerate(pairs)]
    seconds, found = _both(model, tokenizer, lambda lm: lm.loglikelihood(requests, disable_tqdm=True))
    apart = max(abs(a[0] - b[0]) for a, b in zip(*found, strict=True))
    return [what, *_cells(seconds), f"log-likelihoods differ by {apart:.0e} at most"]


def _generations(what: str, model: Any, tokenizer: Any, prompts: Sequence[str]) -> list[str]:
    settings = {"until": ["\n\n"], "max_gen_toks": NEW, "do_sample": False}
    requests = [Instance("generate_until", {}, (prompt, settings), n) for n, prompt in enumerate(prompts)]
    seconds, found = _both(model, tokenizer, lambda lm: lm.generate_until(requests, disable_tqdm=True))
    same = sum(a == b for a, b in zip(*found, strict=True))
    return [what, *_cells(seconds), f"{same} of {len(prompts)} texts equal"]


def _both(model: Any, tokenizer: Any, answer: Any) -> tuple[list[float], list[Any]]:
    """Return seconds and answers of ours and of lm-eval's, each the better of two runs, in turns."""
    best, found = [float("inf")] * 2, [None, None]
    for _ in range(2):
        ours = LanguageModel(model, tokenizer, batch_size=BATCH, max_length=2048)
        plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH, max_length=2048)
        for place, lm in enumerate((ours, plain)):
            start = time.perf_counter()
            found[place] = answer(lm)
            best[place] = min(best[place], time.perf_counter() - start)
    return best, found


def _cells(seconds: Sequence[float]) -> list[str]:
    return [f"{seconds[0]:.1f} s", f"{seconds[1]:.1f} s", f"{seconds[1] / seconds[0]:.1f}"]
