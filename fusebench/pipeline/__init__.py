"""The wiring: from a recipe to stages, to finished folders, to a report."""

from fusebench.pipeline.evaluate import evaluate_models
from fusebench.pipeline.executor import Event
from fusebench.pipeline.run import Outcome, RunOptions, ablate, fuse_one, plan, rerender
from fusebench.pipeline.stages import Roots

__all__ = ["Event", "Outcome", "Roots", "RunOptions", "ablate", "evaluate_models", "fuse_one", "plan", "rerender"]
