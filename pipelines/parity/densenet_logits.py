"""Compares DenseNet as built and loaded by ossify-model with torchvision's.

Makes a torchvision network with random weights and filled BatchNorm statistics, and saves it in
torchvision's formats (current names, names from before 2018, and safetensors). The Rust example
`parity` loads each file, and the features and logits for the same pixels are compared. The pixels
are random, or those of the pictures in a folder.

    python pipelines/parity/densenet_logits.py PATH/TO/examples/parity \\
        [--architecture densenet121] [--device cpu] [--pictures FOLDER]

Needs torch and torchvision. Exit code 0 if everything agrees within the tolerance, 1 otherwise.
"""

import argparse
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

import numpy
import PIL.Image
import torch
import torchvision

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
TOLERANCE = 1e-4


def filled_network(architecture: str, seed: int) -> torch.nn.Module:
    """A network with running statistics from data, so that swapped or missing ones are noticed."""
    torch.manual_seed(seed)
    network = getattr(torchvision.models, architecture)(weights=None, num_classes=1000)
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 3, 96, 96))
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.2, 0.2)
    return network.eval()


def old_name(name: str) -> str:
    """The name in torchvision's files from before 2018."""
    return re.sub(r"(denselayer\d+\.)(norm|conv)([12])\.", r"\1\2.\3.", name)


def write_safetensors(path: pathlib.Path, state: dict[str, torch.Tensor]) -> None:
    header, body = {}, b""
    for name, tensor in state.items():
        if tensor.dtype != torch.float32:
            continue
        data = tensor.contiguous().numpy().tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def read_floats(path: pathlib.Path, columns: int) -> torch.Tensor:
    return torch.from_numpy(numpy.fromfile(path, dtype="<f4").reshape(-1, columns))


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest absolute difference, relative to the reference's largest value if that exceeds 1."""
    return float((ours - theirs).abs().max() / max(1.0, float(theirs.abs().max())))


def run_rust(
    program: str, folder: pathlib.Path, weights: pathlib.Path, options: argparse.Namespace
) -> None:
    command = [
        program,
        str(weights),
        str(folder / "pixels.u8"),
        str(options.images),
        str(options.side),
        str(folder / "out"),
        options.architecture,
        options.device,
    ]
    subprocess.run(command, check=True)


def pixels_of(options: argparse.Namespace) -> torch.Tensor:
    """uint8 [images, side, side, 3]."""
    if options.pictures is None:
        return torch.randint(
            0,
            256,
            (options.images, options.side, options.side, 3),
            dtype=torch.uint8,
            generator=torch.Generator().manual_seed(5),
        )
    files = sorted(path for path in options.pictures.iterdir() if path.is_file())
    chosen = files[:: max(1, len(files) // options.images)][: options.images]
    size = (options.side, options.side)
    return torch.stack(
        [
            torch.from_numpy(
                numpy.array(PIL.Image.open(file).convert("RGB").resize(size, PIL.Image.BILINEAR))
            )
            for file in chosen
        ]
    )


def compare(program: str, folder: pathlib.Path, options: argparse.Namespace) -> bool:
    network = filled_network(options.architecture, seed=11)
    pixels = pixels_of(options)
    options.images = len(pixels)
    (folder / "pixels.u8").write_bytes(pixels.numpy().tobytes())
    normalized = (
        pixels.permute(0, 3, 1, 2).float() / 255 - torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    ) / torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    with torch.no_grad():
        features = torch.nn.functional.relu(network.features(normalized)).mean((2, 3))

    state = network.state_dict()
    files = {
        name: folder / name
        for name in ("new-names.pth", "old-names.pth", "legacy-format.pth", "weights.safetensors")
    }
    torch.save(state, files["new-names.pth"])
    torch.save({old_name(name): tensor for name, tensor in state.items()}, files["old-names.pth"])
    torch.save(
        {old_name(name): tensor for name, tensor in state.items()},
        files["legacy-format.pth"],
        _use_new_zipfile_serialization=False,
    )
    write_safetensors(files["weights.safetensors"], state)

    agrees = True
    for name, path in files.items():
        run_rust(program, folder, path, options)
        ours = read_floats(folder / "out" / "features.f32", features.shape[1])
        found = difference(ours, features)
        print(f"{options.architecture} {name}: features differ by at most {found:.2e}")
        agrees &= found <= TOLERANCE

    # The file that Rust saved, back in PyTorch: backbone by load_state_dict, head as a twin.
    agrees &= compare_saved(folder, normalized, options)
    return agrees


def compare_saved(
    folder: pathlib.Path, normalized: torch.Tensor, options: argparse.Namespace
) -> bool:
    raw = (folder / "out" / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    description = header.pop("__metadata__")
    saved = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = numpy.frombuffer(raw[8 + length + begin : 8 + length + end], dtype="<f4").copy()
        saved[name] = torch.from_numpy(values).reshape(entry["shape"])

    backbone = getattr(torchvision.models, options.architecture)(weights=None).features
    backbone.load_state_dict(
        {
            name.removeprefix("features."): tensor
            for name, tensor in saved.items()
            if name.startswith("features.")
        }
    )
    widths = json.loads(description["head_widths"])
    hidden = torch.nn.functional.relu(backbone.eval()(normalized)).mean((2, 3))
    with torch.no_grad():
        for index in range(len(widths)):
            stage = f"head.stages.{index}"
            norm = {
                part: saved[f"{stage}.norm.{part}"]
                for part in ("running_mean", "running_var", "weight", "bias")
            }
            hidden = torch.nn.functional.batch_norm(hidden, **norm, eps=1e-3)
            hidden = torch.relu(
                torch.nn.functional.linear(
                    hidden, saved[f"{stage}.dense.weight"], saved[f"{stage}.dense.bias"]
                )
            )
        outputs = {
            part: torch.nn.functional.linear(
                hidden, saved[f"head.{part}.weight"], saved[f"head.{part}.bias"]
            )
            for part in ("classes", "boxes")
        }

    agrees = True
    for part, file in (("classes", "logits.f32"), ("boxes", "boxes.f32")):
        found = difference(
            read_floats(folder / "out" / file, outputs[part].shape[1]), outputs[part]
        )
        print(f"{options.architecture} model.safetensors: {part} differ by at most {found:.2e}")
        agrees &= found <= TOLERANCE
    return agrees


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program", help="the built Rust example `parity`")
    parser.add_argument("--architecture", default="densenet121")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--pictures", type=pathlib.Path, help="a folder of images")
    parser.add_argument("--side", type=int, default=224)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        agrees = compare(options.program, pathlib.Path(folder), options)
    print("agrees" if agrees else f"DIFFERS by more than {TOLERANCE}")
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
