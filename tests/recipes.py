"""A small valid recipe for tests to bend."""

import copy
from pathlib import Path
from typing import Any

import yaml

TOY = {"toy": {"mixture": {"reasoning": 1.0, "commonsense": 1.0, "code": 1.0}, "documents": 30}}


def trained(architecture: str = "llama", **rest: Any) -> dict[str, Any]:
    """Return a model section of a tiny model trained for two steps."""
    words = {} if "tokenizer_of" in rest else {"tokenizer": "byte_bpe"}
    train = {"steps": 2, "batch_blocks": 4, "block_tokens": 128, "learning_rate": 1e-3}
    shape = {"vocab_size": 400, "hidden": 16, "layers": 1, "heads": 2}
    return {"train": {"architecture": architecture, **words, **shape, "text": TOY["toy"], "train": train, **rest}}


def small_recipe() -> dict[str, Any]:
    """Return a recipe of two tiny models as plain values."""
    return copy.deepcopy(
        {
            "name": "small",
            "corpus": {**TOY, "chunk_tokens": 128, "held_out_chunks": 2},
            "models": {"target": trained(), "other": trained("gpt_neox")},
            "train": {"steps": 2, "batch_blocks": 4, "block_tokens": 128, "learning_rate": 1e-3},
            "experiments": [
                {
                    "name": "main",
                    "target": "target",
                    "sources": ["other"],
                    "rows": [
                        {"name": "Target", "method": "model", "model": "target"},
                        {"name": "Other", "method": "model", "model": "other"},
                        {"name": "CLM", "method": "clm"},
                        {"name": "Fusion", "method": "fusion"},
                    ],
                }
            ],
            "evaluate": {"suites": [{"name": "perplexity"}]},
        }
    )


def write(folder: Path, recipe: dict[str, Any]) -> str:
    """Write a recipe as YAML and return its path."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return str(path)
