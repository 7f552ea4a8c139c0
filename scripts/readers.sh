#!/bin/sh
# Makes shards of every kind and reads them with other libraries: readers.sh RELEASE_FOLDER PYTHON
# [--need LIBRARY]...
#
# Keeps the work folders below data/work/readers-test; `plain` has the default configuration.
set -eu
release=$1
python=$2
shift 2
folder=data/work/readers-test
stage() {
    program=$1
    kind=$2
    shift 2
    "$release/ossify-$program" --quiet --force --config conf/demo.toml \
        --dataset "$folder/dataset" --out "$folder/$kind" "$@" >/dev/null
}
shards() {
    stage ingest "$1" --set ingest.min_objects_per_class=4
    stage resize "$@" --set resize.images_per_shard=16
}
stage phantom plain --images 60
shards plain
shards zstd --set resize.compression=zstd
shards letterbox --set resize.geometry=letterbox
shards gray --set resize.channels=gray
for kind in zstd letterbox gray; do set -- "$@" "$folder/$kind"; done
"$python" pipelines/pytorch/check_readers.py "$@" "$folder/plain"
