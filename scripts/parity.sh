#!/bin/sh
# Compares ours with PyTorch, scikit-learn and pycocotools: parity.sh RELEASE_FOLDER PYTHON
# Every comparison runs, also after one that fails; the exit code is 1 if any did.
set -u
release=$1
python=$2
failed=0
compare() {
    echo "$1" >&2
    shift
    "$python" "$@" || failed=1
}
compare 'DenseNet121 against torchvision: weights in, features, logits' pipelines/parity/densenet_logits.py "$release/examples/parity"
compare 'classification scores against scikit-learn' pipelines/parity/evaluate_sklearn.py --binary "$release/ossify-evaluate"
compare 'average precision against pycocotools' pipelines/parity/evaluate_coco.py --binary "$release/ossify-evaluate"
exit $failed
