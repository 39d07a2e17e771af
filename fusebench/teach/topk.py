"""From logits to the k most probable next tokens."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def top_rows(
    logits: Float[Tensor, "token vocab"], following: Int[Tensor, " token"], k: int
) -> tuple[Int[Tensor, "token k"], Float[Tensor, "token k"], Float[Tensor, " token"]]:
    """Return ids and ln p of the k most probable next tokens, largest first, and ln p of the actual one.

    The probabilities are those of the full softmax, in float32, so that 1 minus their sum is the mass of all
    other tokens. Temperature is not applied.

    Args:
        logits: at the position before the token they predict.
        following: the actual next token, or -1 where there is none; its ln p is then NaN.
        k: entries per row.
    """
    wide = logits.float()
    total = wide.logsumexp(-1, keepdim=True)
    values, ids = wide.topk(k, dim=-1)
    gold = wide.gather(-1, following.clamp_min(0)[:, None]) - total
    return ids, values - total, torch.where(following >= 0, gold[:, 0], torch.nan)
