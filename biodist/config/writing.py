"""A recipe back to YAML."""

from __future__ import annotations

import yaml

from biodist.config.recipe import Recipe

UNSEEN_BREAKS = frozenset("\x85\u2028\u2029\ufeff")  # PyYAML writes them raw and reads them as line ends


def recipe_yaml(recipe: Recipe) -> str:
    """Every key with its value, as `recipe.yaml` of a run's folder. Loading it gives an equal recipe."""
    text = _dumped(recipe, allow_unicode=True)
    return _dumped(recipe, allow_unicode=False) if UNSEEN_BREAKS & set(text) else text


def _dumped(recipe: Recipe, allow_unicode: bool) -> str:
    values = recipe.model_dump(mode="json")
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=allow_unicode, width=2**31)
