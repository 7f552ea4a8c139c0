#!/bin/bash
# Runs a stage for submit.sh, or one share of it if this is an array task: stage.sh STAGE FLAGS...
set -u
stage=$1
shift
if [[ ${SLURM_ARRAY_TASK_ID-} ]]; then
    set -- --partition "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" "$@"
fi
export OSSIFY__GENERAL__THREADS=$SLURM_CPUS_PER_TASK

for ((attempt = 1; ; attempt++)); do
    srun --ntasks=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" "ossify-$stage" "$@" && exit 0
    code=$?
    case $code in
        2) why="the configuration or the command is wrong" && break ;;
        3) why="a gate of the configuration was not met" && break ;;
        *) why="it failed $attempt times" ;;
    esac
    if ((attempt > RETRIES)); then break; fi
    echo "ossify-$stage ended with $code; attempt $((attempt + 1)) of $((RETRIES + 1)) follows" >&2
    sleep 5
done

echo "ossify-$stage ended with $code: $why, see above; Slurm cancels the jobs that depend on it" >&2
# Tasks that have not started would most likely fail in the same way.
if [[ ${SLURM_ARRAY_JOB_ID-} ]]; then scancel --state=PENDING "$SLURM_ARRAY_JOB_ID"; fi
exit "$code"
