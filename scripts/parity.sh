#!/bin/sh
# Compares ossify with PyTorch, scikit-learn, pycocotools, Pillow and pydicom: parity.sh
# RELEASE_FOLDER PYTHON
#
# All comparisons run even if some fail; the exit code is 1 if any did.
set -u
release=$1
python=$2
failed=0
compare() {
    echo "$1" >&2
    shift
    "$python" "$@" || failed=1
}
logits=pipelines/parity/densenet_logits.py
compare 'DenseNet121 against torchvision: weights in, features, logits' "$logits" \
    "$release/examples/parity"
for architecture in densenet161 densenet169 densenet201; do
    compare "$architecture against torchvision, on small images" "$logits" \
        "$release/examples/parity" --architecture "$architecture" --images 2 --side 64
done
compare 'the gradient of every layer' pipelines/parity/gradients.py "$release"
compare 'the detector: outputs, loss, suppression, predictions, ONNX' \
    pipelines/parity/detector.py "$release"
compare 'models in ONNX Runtime' pipelines/parity/onnx_export.py "$release"
compare '30 frozen steps, the exported model, ONNX, TensorBoard' pipelines/parity/train_head.py \
    "$release"
compare 'classification scores against scikit-learn' pipelines/parity/evaluate_sklearn.py \
    --binary "$release/ossify-evaluate"
compare 'average precision against pycocotools, which also reads what export writes' \
    pipelines/parity/evaluate_coco.py --binary "$release/ossify-evaluate"
compare 'FROC, AUROC and thresholds of a detector against numpy and scikit-learn' \
    pipelines/parity/evaluate_detector.py --binary "$release/ossify-evaluate"
echo 'shards read by pyarrow and PyTorch' >&2
scripts/readers.sh "$release" "$python" --need torch || failed=1
compare 'tensors against Pillow' pipelines/parity/resize_pillow.py \
    data/work/readers-test/plain data/work/readers-test/dataset
compare 'pixels of DICOM files against pydicom' pipelines/parity/dicom_pixels.py \
    --binary "$release/examples/decoded"
exit $failed
