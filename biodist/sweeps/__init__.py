"""Sweeps: Ray Tune proposes and stops trials, any launch backend runs them, one ledger is the truth of it."""
