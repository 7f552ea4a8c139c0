"""Compares the gradient of every layer with PyTorch's, in training mode, with batch statistics.

The error of a tensor is the norm of the difference to PyTorch's gradient in double precision,
divided by the norm of that gradient. In double precision every layer must be within 5e-5. In single
precision every implementation loses digits over many layers, so a layer of a classifier passes if
it is within 1e-3, or within twice the error of PyTorch's own single precision. A detector's layers
see far more numbers next to 0, where the sign that decides is each implementation's own, and of one
layer ours or PyTorch's can be the better by five times: each must be within ten times the error of
PyTorch's. Of both, half of all layers must be within twice what half of PyTorch's are within.

    python pipelines/parity/gradients.py PATH/TO/release [DEVICE]
"""

import pathlib
import statistics
import subprocess
import sys
import tempfile

import torch
from models import load_model, new_model
from safetensors.torch import load_file

IMAGES, SIDE = 8, 64
DOUBLE_TOLERANCE, TOLERANCE = 5e-5, 1e-3
TIMES_PYTORCH = {"classify": 2, "detect": 10}


def outputs(model, pixels: torch.Tensor) -> torch.Tensor:
    """[images, all logits and edges of boxes]"""
    # The module's own forward casts pixels to single precision and ends in a softmax.
    images = pixels.permute(0, 3, 1, 2).to(model.mean.dtype) / 255
    parts = model.outputs((images - model.mean) / model.std)
    return torch.cat([part.flatten(1) for part in parts], 1)


def gradients(
    path: pathlib.Path, pixels: torch.Tensor, targets: torch.Tensor, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    model = load_model(path).to(dtype).train()
    (outputs(model, pixels) * targets.to(dtype)).sum().backward()
    return {name: parameter.grad.double() for name, parameter in model.named_parameters()}


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.double() - theirs).norm() / theirs.norm().clamp_min(1e-12))


def compare(
    release: pathlib.Path, folder: pathlib.Path, architecture: str, task: str, device: str
) -> bool:
    what = f"{architecture}, {task}"
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)
    model = folder / f"{architecture}-{task}.safetensors"
    new_model(release, model, architecture, SIDE, task)
    with torch.no_grad():
        targets = torch.randn(outputs(load_model(model), pixels).shape, generator=generator)
    (folder / "pixels.u8").write_bytes(pixels.numpy().tobytes())
    (folder / "targets.f32").write_bytes(targets.numpy().astype("<f4").tobytes())
    out = folder / "gradients.safetensors"
    files = [folder / "pixels.u8", folder / "targets.f32", str(IMAGES), str(SIDE), out, device]

    def ours(precision: str) -> dict[str, torch.Tensor]:
        subprocess.run([release / "examples" / "gradients", model, *files, precision], check=True)
        return load_file(out)

    double, single = (
        gradients(model, pixels, targets, dtype) for dtype in (torch.float64, torch.float32)
    )
    ours_double, ours_single = ours("float64"), ours("float32")
    assert ours_single.keys() == double.keys(), ours_single.keys() ^ double.keys()
    errors = {name: error(ours_double[name], double[name]) for name in double}
    worst = max(errors, key=errors.get)
    print(
        f"{what}: {len(errors)} gradients in double precision, worst {errors[worst]:.1e} at {worst}"
    )
    wrong = [name for name in errors if not errors[name] <= DOUBLE_TOLERANCE]
    for name in wrong:
        print(f"  {name}: {errors[name]:.1e} in double precision")
    found = {
        name: (error(ours_single[name], double[name]), error(single[name], double[name]))
        for name in double
    }
    worst = max(found, key=lambda name: found[name][0])
    failed = [
        name
        for name, (ours_error, single_error) in found.items()
        if not ours_error <= max(TOLERANCE, TIMES_PYTORCH[task] * single_error)
    ]
    median, of_pytorch = (statistics.median(column) for column in zip(*found.values()))
    within = sum(ours_error <= TOLERANCE for ours_error, _ in found.values())
    print(
        f"{what}: {within} of {len(found)} gradients in single precision within "
        f"{TOLERANCE}; worst {found[worst][0]:.1e} at {worst} (PyTorch in single precision: "
        f"{found[worst][1]:.1e}); median {median:.1e} ({of_pytorch:.1e})"
    )
    for name in failed:
        print(f"  {name}: {found[name][0]:.1e}, PyTorch in single precision {found[name][1]:.1e}")
    return not failed and not wrong and median <= max(TOLERANCE, 2 * of_pytorch)


def main() -> int:
    release, device = pathlib.Path(sys.argv[1]), (sys.argv[2:] or ["cpu"])[0]
    with tempfile.TemporaryDirectory() as folder:
        agrees = [
            compare(release, pathlib.Path(folder), architecture, task, device)
            for architecture in ("densenet-compact", "densenet121")
            for task in ("classify", "detect")
        ]
    return 0 if all(agrees) else 1


if __name__ == "__main__":
    sys.exit(main())
