#!/bin/bash
# Applies this folder, or your own overlay, and runs its Jobs one after the other: run.sh [FOLDER]
#
#   POLL=5    seconds between two checks of a Job
set -euo pipefail
folder=${1:-$(dirname "$0")}

# A Job can only run once, so old Jobs are deleted; the volume with the outputs stays.
kubectl delete jobs --selector=app.kubernetes.io/name=ossify --ignore-not-found
kubectl apply --kustomize "$folder"

for stage in ingest ingest-merge resize resize-merge train predict predict-merge evaluate; do
    job=ossify-$stage
    kubectl patch job $job --type=merge --patch='{"spec":{"suspend":false}}'
    state=
    until [[ " $state " == *" Complete "* ]]; do
        if [[ " $state " == *" Failed "* ]]; then
            why=$(kubectl get job $job \
                --output=jsonpath='{.status.conditions[?(@.type=="Failed")].message}')
            echo "error: $job failed, and the following Jobs will not run: $why" >&2
            echo "  its last lines:" \
                "kubectl logs --selector=batch.kubernetes.io/job-name=$job --tail=20" >&2
            exit 1
        fi
        sleep "${POLL:-5}"
        state=$(kubectl get job $job \
            --output=jsonpath='{.status.conditions[?(@.status=="True")].type}')
    done
done
