"""Sharded, layout-free, verified checkpoints."""
