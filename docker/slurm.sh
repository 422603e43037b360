#!/usr/bin/env bash
# Runs a sweep on the nodes of a SLURM allocation: sbatch docker/slurm.sh SWEEP-FILE [option of rnnexp sweep]...
# The first node has the head of the Ray cluster and the supervisor; all nodes have slots. See docker/README.md.
#SBATCH --job-name=rnnexp
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --signal=B:TERM@120
set -euo pipefail

if [ $# -eq 0 ]; then
  echo "usage: sbatch $0 SWEEP-FILE [option of rnnexp sweep]..." >&2
  exit 2
fi

export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=${RAY_AUTH_TOKEN:-$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')}
export RAY_AUTH_TOKEN # srun passes the environment on; a command line would show it

head=$(hostname)
port=$((20000 + SLURM_JOB_ID % 10000)) # several jobs may share a node
cpus=${SLURM_CPUS_PER_TASK:-1}

# With --block the command is the node: it ends with the job, and another job's node on this machine is left alone.
ray start --head --node-ip-address "$head" --port "$port" --num-cpus "$cpus" --include-dashboard false --block &
node=$!
trap 'kill $node 2>/dev/null || true' EXIT
until ray health-check --address "$head:$port" >/dev/null 2>&1; do
  kill -0 $node || { echo "the head of the Ray cluster did not start" >&2; exit 1; }
  sleep 1
done
if [ "${SLURM_JOB_NUM_NODES:-1}" -gt 1 ]; then
  srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks-per-node=1 --exclude="$head" \
    ray start --address "$head:$port" --num-cpus "$cpus" --block &
fi

# SLURM sends TERM two minutes before the end: the sweep then ends cleanly, and the same command resumes it.
rnnexp sweep "$@" --engine ray --address "$head:$port" &
sweep=$!
trap 'kill -TERM $sweep' TERM
code=0
wait $sweep || code=$?
while kill -0 $sweep 2>/dev/null; do wait $sweep || code=$?; done
exit $code
