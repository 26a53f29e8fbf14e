"""Recipes: what a person may decide.

A recipe is a YAML file with the sections of `sections.py`; `--set section.key=value` changes one
key. What is left at `auto` is decided by the planner.
"""

from appliance.recipe.load import list_keys, load_recipe
from appliance.recipe.sections import (
    AssessRecipe,
    AuditRecipe,
    BudgetRecipe,
    BundleRecipe,
    DatasetRecipe,
    DocumentsRecipe,
    EvaluateRecipe,
    ExportRecipe,
    PretrainRecipe,
    Recipe,
    ShapeRecipe,
    TuneRecipe,
)

__all__ = [
    "AssessRecipe",
    "AuditRecipe",
    "BudgetRecipe",
    "BundleRecipe",
    "DatasetRecipe",
    "DocumentsRecipe",
    "EvaluateRecipe",
    "ExportRecipe",
    "PretrainRecipe",
    "Recipe",
    "ShapeRecipe",
    "TuneRecipe",
    "list_keys",
    "load_recipe",
]
