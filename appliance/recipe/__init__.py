"""Recipes: what a person may decide.

A recipe is a YAML file with the sections of `sections.py`; `--set section.key=value` changes one
key. What is left at `auto` is decided by the planner.
"""

from appliance.recipe.foreign import ForeignRecipe, read_foreign
from appliance.recipe.library import ShippedRecipe, find_recipe, list_recipes
from appliance.recipe.load import find_file, list_keys, load_recipe, make_recipe
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
    "ForeignRecipe",
    "PretrainRecipe",
    "Recipe",
    "ShapeRecipe",
    "ShippedRecipe",
    "TuneRecipe",
    "find_file",
    "find_recipe",
    "list_keys",
    "list_recipes",
    "load_recipe",
    "make_recipe",
    "read_foreign",
]
