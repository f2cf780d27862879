"""The development cluster: a real Slurm on one machine. Standard library only, so that any python3 runs it as root."""
