"""Compares the gradient of every layer with PyTorch's, in training mode, with batch statistics.

The error of a tensor is the norm of the difference to PyTorch's gradient in double precision,
divided by the norm of that gradient. In double precision every layer must be within 1e-3, and is
within 1e-5. In single precision every implementation loses digits over many layers, so a layer
passes if it is within 1e-3, or within twice the error of PyTorch's own single precision.

    python pipelines/parity/gradients.py PATH/TO/release [DEVICE]
"""

import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "pytorch"))
from load import load_model

IMAGES, SIDE = 8, 64
TOLERANCE = 1e-3


def gradients(
    path: pathlib.Path, pixels: torch.Tensor, targets: torch.Tensor, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    model = load_model(path).to(dtype).train()
    # The module's own forward casts pixels to single precision and ends in a softmax.
    images = pixels.permute(0, 3, 1, 2).to(dtype) / 255
    outputs = torch.cat(model.outputs((images - model.mean) / model.std), 1)
    (outputs * targets.to(dtype)).sum().backward()
    return {name: parameter.grad.double() for name, parameter in model.named_parameters()}


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.double() - theirs).norm() / theirs.norm().clamp_min(1e-12))


def compare(release: pathlib.Path, folder: pathlib.Path, architecture: str, device: str) -> bool:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)
    targets = torch.randn(IMAGES, 6 + 4, generator=generator)
    (folder / "pixels.u8").write_bytes(pixels.numpy().tobytes())
    (folder / "targets.f32").write_bytes(targets.numpy().astype("<f4").tobytes())
    # Random weights from the Rust program.
    model = folder / f"{architecture}.safetensors"
    subprocess.run(
        [release / "examples" / "gradients", "new", model, architecture, str(SIDE)], check=True
    )
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
        f"{architecture}: {len(errors)} gradients in double precision, worst {errors[worst]:.1e} "
        f"at {worst}"
    )
    wrong = [name for name in errors if not errors[name] <= TOLERANCE]
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
        if ours_error > max(TOLERANCE, 2 * single_error)
    ]
    within = sum(ours_error <= TOLERANCE for ours_error, _ in found.values())
    print(
        f"{architecture}: {within} of {len(found)} gradients in single precision within "
        f"{TOLERANCE}; worst {found[worst][0]:.1e} at {worst} (PyTorch in single precision: "
        f"{found[worst][1]:.1e})"
    )
    for name in failed:
        print(f"  {name}: {found[name][0]:.1e}, PyTorch in single precision {found[name][1]:.1e}")
    return not failed and not wrong


def main() -> int:
    release, device = pathlib.Path(sys.argv[1]), (sys.argv[2:] or ["cpu"])[0]
    with tempfile.TemporaryDirectory() as folder:
        agrees = [
            compare(release, pathlib.Path(folder), architecture, device)
            for architecture in ("densenet-compact", "densenet121")
        ]
    return 0 if all(agrees) else 1


if __name__ == "__main__":
    sys.exit(main())
