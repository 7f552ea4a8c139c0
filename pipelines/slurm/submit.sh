#!/bin/bash
# Submits all stages to Slurm, each behind the one before: submit.sh SHARES FLAGS...
#
#   SHARES    tasks among which ingest, resize and predict are divided
#   FLAGS     for all stages: --config conf/mine.toml --out /shared/work
#
#   CPUS=4                processors of a task, and so its threads
#   GPU="train predict"   stages that ask for a GPU; without it none does
#   RETRIES=2             attempts after one that failed; starts after pre-emption do not count
#   LOGS=logs             folder of the logs
#
# The programs are found on the PATH. What your cluster wants besides, sbatch takes from its own
# variables: SBATCH_ACCOUNT, SBATCH_PARTITION, SBATCH_TIMELIMIT, SBATCH_MEM_PER_NODE.
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
    before=${before%%;*} # on a federation, a cluster's name follows the id
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
