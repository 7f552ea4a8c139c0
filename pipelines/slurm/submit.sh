#!/bin/bash
# Submits all stages to Slurm as dependent jobs: submit.sh SHARES FLAGS...
#
#   SHARES    number of tasks for each of ingest, resize and predict
#   FLAGS     for all stages: --config conf/mine.toml --out /shared/work
#
#   CPUS=4                processors and threads of a task
#   GPU="train predict"   stages that request a GPU (default: none)
#   RETRIES=2             retries after a failure; restarts after pre-emption do not count
#   LOGS=logs             folder of the logs
#
# The programs are searched on the PATH. For other options that your cluster needs, set the
# variables of sbatch: SBATCH_ACCOUNT, SBATCH_PARTITION, SBATCH_TIMELIMIT, SBATCH_MEM_PER_NODE.
set -euo pipefail

if [[ ! ${1-} =~ ^[1-9][0-9]*$ ]]; then
    echo "error: the first argument is the number of shares, as in:" \
        "${0##*/} 8 --config conf/mine.toml" >&2
    exit 2
fi
shares=$1
flags=("${@:2}")
logs=${LOGS:-logs}
export RETRIES=${RETRIES:-2}
mkdir -p "$logs"

before=
submitted=()
take_back() {
    if (($? != 0 && ${#submitted[@]})); then
        echo "error: a stage could not be submitted; the ones before it are cancelled" >&2
        scancel "${submitted[@]}"
    fi
}
trap take_back EXIT

# submit NAME LOG SBATCH-OPTION... -- PROGRAM FLAG...
submit() {
    local name=$1 log=$2 options=()
    shift 2
    while [[ $1 != -- ]]; do options+=("$1") && shift; done
    shift
    if [[ " ${GPU-} " == *" $name "* ]]; then options+=(--gres=gpu:1); fi
    if [[ $before ]]; then options+=(--dependency="afterok:$before"); fi
    before=$(sbatch --parsable --job-name="ossify-$name" --cpus-per-task="${CPUS:-4}" \
        --requeue --kill-on-invalid-dep=yes --open-mode=append --output="$logs/%x-$log.log" \
        "${options[@]}" "$(dirname "$0")/stage.sh" "$@" "${flags[@]}")
    before=${before%%;*} # in a federation, the name of the cluster follows the id
    submitted+=("$before")
    echo "$before ossify-$name"
}

for stage in ingest resize train predict evaluate; do
    case $stage in
        train | evaluate) submit $stage %j -- $stage ;;
        *)
            submit $stage %A_%a --array="1-$shares" -- $stage
            submit $stage-merge %j -- $stage --merge "$shares"
            ;;
    esac
done
