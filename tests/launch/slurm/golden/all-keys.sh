#!/bin/bash

# Parameters
#SBATCH --account=bio
#SBATCH --constraint='ib&avx512'
#SBATCH --cpus-per-task=8
#SBATCH --exclude='n[7-9]'
#SBATCH --exclusive
#SBATCH --gpus-per-node=a100:4
#SBATCH --job-name=mednli-0a1b2c3d
#SBATCH --mail-type=END
#SBATCH --mem=244140M
#SBATCH --no-requeue
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --open-mode=append
#SBATCH --output=/runs/mednli-0a1b2c3d/jobs/0001/%j_0_log.out
#SBATCH --partition=gpu
#SBATCH --qos=long
#SBATCH --reservation=course
#SBATCH --signal=USR2@240
#SBATCH --time=2880

# setup
module load cuda/12.8

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /runs/mednli-0a1b2c3d/jobs/0001/%j_%t_log.out --kill-on-bad-exit=0 --wait=0 --distribution=block --cpus-per-task=8 sh -c 'trap "" TERM INT USR1 USR2; exec "$@"' sh apptainer exec --nv '/shared/my image.sif' /opt/biodist/bin/python -P -u -m submitit.core._submit /runs/mednli-0a1b2c3d/jobs/0001


# teardown
code=$?
if [ "$code" != 0 ]; then
  sh -c 'trap "" TERM INT USR1 USR2; exec "$@"' sh apptainer exec --nv '/shared/my image.sif' /opt/biodist/bin/python -P -m biodist.cli.job /runs/mednli-0a1b2c3d/jobs/0001 "$code"
  left=/runs/mednli-0a1b2c3d/jobs/0001/handovers/"${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}-${SLURM_RESTART_COUNT:-0}".sh
  [ ! -f "$left" ] || sh "$left"
fi
exit "$code"