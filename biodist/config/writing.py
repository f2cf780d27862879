"""A recipe or a profile back to YAML."""

from __future__ import annotations

import yaml

from biodist.config.profile import Profile
from biodist.config.recipe import Recipe, Section
from biodist.config.sweep import Sweep

UNSEEN_BREAKS = frozenset("\x85\u2028\u2029\ufeff")  # PyYAML writes them raw and reads them as line ends


def recipe_yaml(recipe: Recipe) -> str:
    """Every key with its value, as `recipe.yaml` of a run's folder. Loading it gives an equal recipe."""
    return _yaml(recipe)


def profile_yaml(profile: Profile) -> str:
    """Every key with its value, as `profile.yaml` of a submission. Loading it gives an equal profile."""
    return _yaml(profile)


def sweep_yaml(sweep: Sweep) -> str:
    """Every key with its value, as `sweep.yaml` of a sweep's folder. Loading it gives an equal sweep."""
    return _yaml(sweep)


def _yaml(section: Section) -> str:
    text = _dumped(section, allow_unicode=True)
    return _dumped(section, allow_unicode=False) if UNSEEN_BREAKS & set(text) else text


def _dumped(section: Section, allow_unicode: bool) -> str:
    values = section.model_dump(mode="json")
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=allow_unicode, width=2**31)
