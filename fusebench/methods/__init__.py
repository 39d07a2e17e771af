"""The rows of the results table: one file per method, found by themselves. Imports no torch.

A new method is one file here that registers a function with `@method(...)`, and a line in a recipe.
"""

import importlib
import pkgutil

from fusebench.methods.registry import METHODS, Method, MethodInputs, method

for _module in pkgutil.iter_modules(__path__):
    if not _module.name.startswith("_"):  # helpers, some of which import torch
        importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["METHODS", "Method", "MethodInputs", "method"]
