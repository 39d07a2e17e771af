"""Whether a text ends where a tokenizer's last token ends, as the model itself sees it."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from numba import njit
from numpy import ndarray
from torch import Tensor


@njit(cache=True, nogil=True)
def _ranges(data, starts, first, last):  # type: ignore[no-untyped-def]
    """Fill, for sorted strings, from where to where the longer ones that begin with each of them lie."""
    n = len(starts) - 1
    stack = np.empty(n, dtype=np.int64)
    depth = 0
    for j in range(n):
        shared = 0
        if j > 0:
            a, b = starts[j - 1], starts[j]
            most = min(starts[j] - a, starts[j + 1] - b)
            while shared < most and data[a + shared] == data[b + shared]:
                shared += 1
        while depth > 0 and starts[stack[depth - 1] + 1] - starts[stack[depth - 1]] > shared:
            depth -= 1
            last[stack[depth]] = j
        stack[depth] = j
        depth += 1
    while depth > 0:
        depth -= 1
        last[stack[depth]] = n
    for j in range(n - 1, -1, -1):
        first[j] = j + 1
        # Strings that are alike come one after the other, and each range reaches over the later ones.
        if j + 1 < n and last[j] > j + 1 and starts[j + 2] - starts[j + 1] == starts[j + 1] - starts[j]:
            first[j] = first[j + 1]


class TokenEnds:
    """The chance that the last token of a cut text is one of the text's own.

    A text that is cut at a token of the target may end inside a token of a member (`7` inside ` 77`, a space before
    the word it belongs to). A model that is asked what follows such an end knows little: it has seldom seen one. How
    likely that is, the model has said before: the cut token, or one that only begins with it.

        chance = p(token) / (p(token) + sum of p(token that goes on beyond it))

    Args:
        table: the bytes of each token.
        special: which are special; a text never ends inside one.

    Source: the first term of the exact probabilities of bytes under tokens, Phan et al. 2024 (arXiv:2410.09303);
    tokens that would begin further back are left out.
    """

    def __init__(self, table: Sequence[bytes], special: Bool[ndarray, " vocab"], device: torch.device) -> None:
        spelled = [b"" if s else t for t, s in zip(table, special, strict=True)]
        order = np.array(sorted(range(len(spelled)), key=spelled.__getitem__), dtype=np.int64)
        lengths = np.array([len(spelled[n]) for n in order], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        data = np.frombuffer(b"".join([spelled[n] for n in order]), dtype=np.uint8)
        first, last = (np.empty(len(order), dtype=np.int64) for _ in range(2))
        _ranges(data, starts, first, last)
        begin, end = np.zeros(len(order), dtype=np.int64), np.zeros(len(order), dtype=np.int64)
        begin[order], end[order] = first, np.maximum(first, last)
        empty = np.array([not t for t in spelled], dtype=bool)
        end[empty] = begin[empty]
        self.order: Int64[Tensor, " vocab"] = torch.from_numpy(order).to(device)
        self.begin: Int64[Tensor, " vocab"] = torch.from_numpy(begin).to(device)
        self.end: Int64[Tensor, " vocab"] = torch.from_numpy(end).to(device)

    def chance(
        self, chances: Float[Tensor, "place vocab"], before: Int[Tensor, " row"], tokens: Int[Tensor, " row"]
    ) -> Float[Tensor, " row"]:
        """Return the chance that each token is whole.

        Args:
            chances: the model's probabilities of the next token.
            before: the place behind which each token stands.
            tokens: ids.
        """
        begin = self.begin[tokens]
        counts = self.end[tokens] - begin
        row = torch.repeat_interleave(counts)
        first = counts.cumsum(0) - counts
        place = torch.arange(len(row), device=row.device) - first[row] + begin[row]
        found = chances[before[row], self.order[place]]
        longer = torch.zeros(len(tokens), device=chances.device).index_add_(0, row, found)
        own = chances[before, tokens]
        return own / (own + longer).clamp(min=torch.finfo(torch.float32).tiny)
