"""Logits to rows: the k most probable next tokens with their full-softmax log-probabilities."""

import torch
from jaxtyping import Float, Float32, Int, Int32, Int64
from torch import Tensor

SLICE_BYTES = 1 << 26
"""Rows are turned to float32 in slices of about this size, so that logits are never held twice."""


def top_k_rows(
    logits: Float[Tensor, "token vocab"], following: Int[Tensor, " token"], k: int
) -> tuple[Int32[Tensor, "token k"], Float32[Tensor, "token k"], Float32[Tensor, " token"]]:
    """Return ids and natural-log probabilities of the k most probable next tokens, and of the actual next token.

    Args:
        logits: of the token that FOLLOWS each position.
        following: the id that does follow; -1 where nothing does, and the third result is NaN there.
        k: entries per row; where the vocabulary is smaller, the rest has id 0 and log-probability -inf.

    Returns:
        ids and log-probabilities, largest first, of the full softmax in float32 (so that 1 - sum(exp) is the mass
        of the tail; temperature is not applied here), and ln p(following).

    Raises:
        ValueError: a logit is NaN, so the softmax means nothing.
    """
    count, vocabulary = logits.shape
    width = min(k, vocabulary)
    ids = torch.zeros((count, k), dtype=torch.int32)
    logprobs = torch.full((count, k), -torch.inf, dtype=torch.float32)
    gold = torch.full((count,), torch.nan, dtype=torch.float32)
    step = max(1, SLICE_BYTES // (4 * vocabulary))
    for start in range(0, count, step):
        part = slice(start, start + step)
        scores = logits[part].float()
        total = torch.logsumexp(scores, dim=-1, keepdim=True)
        if torch.isnan(total).any():
            raise ValueError("a logit is NaN")
        best, where = scores.topk(width, dim=-1)
        ids[part, :width] = where.to("cpu", torch.int32)
        logprobs[part, :width] = (best - total).cpu()
        gold[part] = _gold(scores, total, following[part].to(scores.device)).cpu()
    return ids, logprobs, gold


def _gold(
    scores: Float32[Tensor, "token vocab"], total: Float32[Tensor, "token 1"], following: Int64[Tensor, " token"]
) -> Float32[Tensor, " token"]:
    found = (scores.gather(-1, following.clamp(min=0)[:, None]) - total).squeeze(-1)
    return torch.where(following < 0, torch.nan, found)
