"""Which source won how much of the training text, by domain."""

import numpy as np
import pandas as pd

from fusebench.artifacts import FusionChoice

ALL = "all domains"


def wins(choice: FusionChoice) -> pd.DataFrame:
    """Return one row per domain (and one for all) and source: share of the blocks, and blocks.

    Columns: domain, source, share (the mean weight of the source in the domain's blocks: with `min_ce` the
    share of blocks it won), won (blocks where its weight is the largest; ties go to the first), blocks (of the
    domain), cross_entropy (mean of the criterion).

    Args:
        choice: weights and criterion by block.
    """
    domains = np.asarray(choice.domains, dtype=object)
    winner = choice.weights.argmax(axis=1)
    records = []
    for domain in [*dict.fromkeys(choice.domains), ALL]:
        here = np.ones(len(domains), dtype=bool) if domain == ALL else domains == domain
        for number, source in enumerate(choice.sources):
            records.append(
                {
                    "domain": domain,
                    "source": source,
                    "share": float(choice.weights[here, number].mean()),
                    "won": int((winner[here] == number).sum()),
                    "blocks": int(here.sum()),
                    "cross_entropy": float(choice.cross_entropy[here, number].mean()),
                }
            )
    columns = ["domain", "source", "share", "won", "blocks", "cross_entropy"]
    return pd.DataFrame(records, columns=columns)
