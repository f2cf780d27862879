"""Recipes: their schema, strict YAML, overrides, the catalogue."""
