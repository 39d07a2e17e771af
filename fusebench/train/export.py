"""A trained model as an ordinary Hugging Face folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [fusebench]
---
# {name}

{sentence}

| | |
|---|---|
{facts}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("THIS FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS FOLDER")
```

Licences of the models and of the text that it was made from apply.
"""


def save_model(model: Any, tokenizer: Any, folder: Path, *, facts: Mapping[str, object]) -> None:
    """Write safetensors, config, generation config, tokenizer and a model card, all or nothing.

    Args:
        model: to be saved.
        tokenizer: saved beside it.
        folder: becomes the model's folder; an older one is replaced.
        facts: how the model was made, for the card.
    """
    partial = folder.with_name("." + folder.name)
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    (partial / "README.md").write_text(model_card(type(model).__name__, facts), encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    partial.replace(folder)


def model_card(architecture: str, facts: Mapping[str, object]) -> str:
    """Return the text of a model card."""
    sentence = f"A `{architecture}` trained with fusebench."
    lines = [f"| {name} | {_cell(value)} |" for name, value in facts.items()]
    return CARD.format(name="Trained model", sentence=sentence, facts="\n".join(lines))


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`".replace("|", "\\|").replace("\n", " ")
