#!/bin/bash

# Parameters
#SBATCH --cpus-per-task=12
#SBATCH --exclusive
#SBATCH --gpus-per-node=8
#SBATCH --job-name=mednli-0a1b2c3d
#SBATCH --mem=858306M
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --open-mode=append
#SBATCH --output=/runs/mednli-0a1b2c3d/jobs/0001/%j_0_log.out
#SBATCH --requeue
#SBATCH --signal=USR2@300
#SBATCH --time=1440

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /runs/mednli-0a1b2c3d/jobs/0001/%j_%t_log.out --kill-on-bad-exit=0 --wait=0 --distribution=block --cpus-per-task=12 sh -c 'trap "" TERM INT USR1 USR2; exec "$@"' sh /opt/biodist/bin/python -P -u -m submitit.core._submit /runs/mednli-0a1b2c3d/jobs/0001


# teardown
code=$?
if [ "$code" != 0 ]; then
  sh -c 'trap "" TERM INT USR1 USR2; exec "$@"' sh /opt/biodist/bin/python -P -m biodist.cli.job /runs/mednli-0a1b2c3d/jobs/0001 "$code"
  left=/runs/mednli-0a1b2c3d/jobs/0001/handovers/"${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}-${SLURM_RESTART_COUNT:-0}".sh
  [ ! -f "$left" ] || sh "$left"
fi
exit "$code"