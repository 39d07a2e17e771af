"""Next-token loss and cross-entropy against sparse rows, from logits, without a dense target."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fusebench.train.batches import IGNORED

CHUNK_BYTES = (1 << 22, 1 << 26)
"""Logits are taken in slices of about this size, on the CPU (near its cache) and elsewhere: few copies at a time."""


class Losses(NamedTuple):
    """Sums over positions with a target.

    Args:
        total: the loss to differentiate.
        clm: sum of -ln p(next token); no gradient.
        fusion: sum of the cross-entropy against the rows; no gradient, NaN where no rows were used.
    """

    total: Float[Tensor, ""]
    clm: Float[Tensor, ""]
    fusion: Float[Tensor, ""]


def sparse_loss(
    logits: Float[Tensor, "*batch vocab"],
    targets: Int[Tensor, "*batch"],
    row_ids: Int[Tensor, "*batch k"] | None = None,
    row_logprobs: Float[Tensor, "*batch k"] | None = None,
    clm_weight: float = 1.0,
) -> Losses:
    """Return the summed loss over all positions whose target is not `IGNORED`.

    With p = softmax(logits), y the next token, w = `clm_weight`, and a row q over ids K whose tail mass is
    q_rest = 1 - sum_K q and to which the student answers with p_rest = 1 - sum_K p:

        loss = w * -ln p(y)  +  (1 - w) * ( - sum_{i in K} q_i ln p_i  -  q_rest ln p_rest )

    Args:
        logits: of the student, at the position BEFORE the token they predict.
        targets: the next token.
        row_ids: K of each position, distinct within a row; entries with log-probability -inf are unused.
        row_logprobs: ln q; their exponentials sum to at most 1, up to rounding.
        clm_weight: w; at 1 the rows are not read, so the result is the CLM loss to the last bit.

    Source: Wan et al. 2024, arXiv:2401.10491, eq. 5. Departs from the released code, which builds a dense
    target and drops the tail: here the tail is one more outcome, so the loss is bounded below by H(q) and its
    gradient vanishes where the student agrees with the row. A row without any mass in K adds nothing.
    The gradient is written out by hand, d loss / d logit_j = p_j - w [j = y] - (1 - w) q_j for j in K, and
    p_j (1 - (1 - w) q_rest / p_rest) - w [j = y] elsewhere, so that backward adds one array of the logits' size.
    """
    flat = logits.reshape(-1, logits.shape[-1])
    wanted = targets.reshape(-1)
    fused = row_ids is not None and row_logprobs is not None and clm_weight < 1
    ids = row_ids.reshape(len(flat), -1) if fused and row_ids is not None else None
    logprobs = row_logprobs.reshape(len(flat), -1) if fused and row_logprobs is not None else None
    apply: Callable[..., tuple[Tensor, Tensor, Tensor]] = _SparseLoss.apply
    return Losses(*apply(flat, wanted, ids, logprobs, clm_weight if fused else 1.0))


def _slices(logits: Tensor) -> list[slice]:
    rows, vocabulary = logits.shape
    step = max(1, CHUNK_BYTES[logits.device.type != "cpu"] // (4 * vocabulary))
    return [slice(a, min(a + step, rows)) for a in range(0, rows, step)]


def _wide(values: Tensor) -> Tensor:
    # bfloat16 has three digits: sums over a vocabulary need float32.
    return values if values.dtype == torch.float64 else values.float()


class _Rows(NamedTuple):
    """Rows of one slice, every entry pointing somewhere harmless where it is unused.

    Args:
        ids: unused entries repeat the row's first used one; in an empty row all are 0.
        mass: q, 0 where unused.
        rest: q_rest, 0 in an empty row.
        used: whether the entry counts.
        some: whether the row has any entry.
    """

    ids: Tensor
    mass: Tensor
    rest: Tensor
    used: Tensor
    some: Tensor

    @classmethod
    def of(cls, ids: Tensor, logprobs: Tensor, dtype: torch.dtype) -> "_Rows":
        used = logprobs > -torch.inf
        some = used.any(-1)
        mass = torch.where(used, logprobs.to(dtype).exp(), 0.0)
        rest = torch.where(some, (1 - mass.sum(-1)).clamp_min(0), 0.0)
        first = ids.long().gather(-1, used.int().argmax(-1, keepdim=True))
        return cls(torch.where(used, ids.long(), first) * some[:, None], mass, rest, used, some)

    def put(self, into: Tensor, values: Tensor) -> Tensor:
        """Write a value at each used id, in place; unused entries write what stands there or will."""
        first = values.gather(-1, self.used.int().argmax(-1, keepdim=True))
        kept = torch.where(self.some[:, None], first, into[:, :1])
        return into.scatter_(-1, self.ids, torch.where(self.used, values, kept))


class _SparseLoss(torch.autograd.Function):
    """The sums of `sparse_loss` over flat positions; backward goes slice by slice and keeps a few numbers a row."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, ids: Tensor | None, logprobs: Tensor | None, weight: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
        clm = torch.zeros((), dtype=wide, device=logits.device)
        fusion = torch.full_like(clm, torch.nan) if ids is None else torch.zeros_like(clm)
        kept: list[tuple[Tensor, Tensor]] = []  # ln sum exp over all ids, and over those outside the row
        for part in _slices(logits):
            z, y = _wide(logits[part]), targets[part]
            valid = y != IGNORED
            gold = z.gather(-1, y.clamp_min(0)[:, None])[:, 0]
            if ids is None or logprobs is None:
                everything = others = z.logsumexp(-1)
            else:
                rows = _Rows.of(ids[part], logprobs[part], wide)
                at = z.gather(-1, rows.ids)
                others = rows.put(z.clone(), torch.full_like(at, -torch.inf)).logsumexp(-1)
                inner = torch.where(rows.used, at, -torch.inf).logsumexp(-1)
                everything = torch.logaddexp(others, inner)
                inside = torch.where(rows.mass > 0, rows.mass * (everything[:, None] - at), 0.0).sum(-1)
                outside = torch.where(_tail(rows, others) > 0, rows.rest * (everything - others), 0.0)
                fusion += ((inside + outside) * valid).sum()
            clm += ((everything - gold) * valid).sum()
            kept.append((everything, others))
        total = clm.clone() if ids is None else weight * clm + (1 - weight) * fusion
        ctx.save_for_backward(logits, targets, ids, logprobs, *(torch.cat(k) for k in zip(*kept, strict=True)))
        ctx.weight = weight
        ctx.mark_non_differentiable(clm, fusion)
        return total, clm, fusion

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits, targets, ids, logprobs, all_everything, all_others = ctx.saved_tensors
        weight = ctx.weight
        result = torch.empty_like(logits)
        for part in _slices(logits):
            z, y = _wide(logits[part]), targets[part]
            everything, others = all_everything[part], all_others[part]
            scale = (y != IGNORED).to(z.dtype) * gradients[0]
            out = result[part] if result.dtype == z.dtype else torch.empty_like(z)
            torch.sub(z, others[:, None], out=out).exp_()
            if ids is None:
                out *= scale[:, None]
            else:
                rows = _Rows.of(ids[part], logprobs[part], z.dtype)
                rest = _tail(rows, others)
                # p_j pull - (1 - w) q_rest p_j / p_rest, with p_j / p_rest = exp(z_j - others): at most 1 outside K,
                # however little the student leaves there. Columns of K may overflow; they are written over.
                pull = weight + (1 - weight) * (rows.mass.sum(-1) + rest)
                out *= (scale * (pull * (others - everything).exp() - (1 - weight) * rest))[:, None]
                at = z.gather(-1, rows.ids)
                inside = (at - everything[:, None]).exp() * pull[:, None] - (1 - weight) * rows.mass
                rows.put(out, inside * scale[:, None])
            out.scatter_add_(-1, y.clamp_min(0)[:, None], (-weight * scale)[:, None])
            if out.dtype != result.dtype:
                result[part] = out
        return result, None, None, None, None


def _tail(rows: _Rows, others: Tensor) -> Tensor:
    # A row over the whole vocabulary has no others to give rounding's tail to.
    return torch.where(others > -torch.inf, rows.rest, 0.0)
