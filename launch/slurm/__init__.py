"""Runs on a Slurm cluster: submitted through submitit, one task a rank."""
