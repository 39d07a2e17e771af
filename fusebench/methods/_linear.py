"""The weighted mean of several models' weights, tensor by tensor."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


def mean_weights(models: Sequence[Path], shares: Sequence[float], out: Path) -> None:
    """Write into `out` the weighted mean of the models' weights, in the first model's shards and types.

    Args:
        models: folders with tensors of the same names and shapes.
        shares: weight of each model; they sum to 1.
        out: gets the weights and the first model's config.

    Source: model soups, Wortsman et al. 2022, arXiv:2203.05482, uniform or weighted. Sums are taken in float32.
    """
    places = [_places(model) for model in models]
    for shard in sorted(models[0].glob("*.safetensors")):
        merged = {}
        for name in sorted(n for n, path in places[0].items() if path == shard):
            merged[name] = _mean([_read(place, name) for place in places], shares)
        save_file(merged, out / shard.name, metadata={"format": "pt"})
    for pattern in ("config.json", "generation_config.json", "*.safetensors.index.json"):
        for path in models[0].glob(pattern):
            shutil.copyfile(path, out / path.name)


def _places(model: Path) -> Mapping[str, Path]:
    places: dict[str, Path] = {}
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, framework="pt") as weights:
            places |= dict.fromkeys(weights.keys(), path)
    return places


def _read(places: Mapping[str, Path], name: str) -> Tensor:
    with safe_open(places[name], framework="pt") as weights:
        tensor: Tensor = weights.get_tensor(name)
    return tensor


def _mean(tensors: Sequence[Float[Tensor, "..."]], shares: Sequence[float]) -> Float[Tensor, "..."]:
    if not tensors[0].is_floating_point():
        return tensors[0]  # buffers such as masks
    total = torch.zeros_like(tensors[0], dtype=torch.float32)
    for tensor, share in zip(tensors, shares, strict=True):
        total += share * tensor.float()
    return total.to(tensors[0].dtype)
