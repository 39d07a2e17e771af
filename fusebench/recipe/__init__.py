"""The recipe: every knob of a run, read from one YAML file."""

from fusebench.recipe.load import built_in_recipes, load_recipe, recipe_json
from fusebench.recipe.sections import (
    AlignSection,
    CorpusSection,
    EvaluateSection,
    ExperimentSection,
    FileText,
    FuseSection,
    ModelSection,
    Recipe,
    RowSection,
    StatsSection,
    SuiteSection,
    TeachSection,
    ToyText,
    TrainedModel,
    TrainSection,
    resolve,
)

__all__ = [
    "AlignSection",
    "CorpusSection",
    "EvaluateSection",
    "ExperimentSection",
    "FileText",
    "FuseSection",
    "ModelSection",
    "Recipe",
    "RowSection",
    "StatsSection",
    "SuiteSection",
    "TeachSection",
    "ToyText",
    "TrainSection",
    "TrainedModel",
    "built_in_recipes",
    "load_recipe",
    "recipe_json",
    "resolve",
]
