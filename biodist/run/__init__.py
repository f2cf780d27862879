"""A run's folder: its paths, its lease, its records. Below everything that writes there."""
