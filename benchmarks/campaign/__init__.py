"""Kills and damage done to real runs on purpose, and what became of them."""
