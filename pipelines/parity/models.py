"""Models with random weights, for comparisons of what they give."""

import pathlib
import subprocess
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "pytorch"))
import load

load_model = load.load_model


def new_model(
    release: pathlib.Path, path: pathlib.Path, architecture: str, side: int, task: str
) -> None:
    """As the Rust program starts it, for six classes."""
    command = [release / "examples" / "gradients", "new", path, architecture, str(side), task]
    subprocess.run(command, check=True)


def filled_model(
    release: pathlib.Path, path: pathlib.Path, architecture: str, side: int, task: str
) -> None:
    """With norms that are no identity, running statistics from data, and a detector's scores and
    boxes far apart, so that swapped or missing numbers are noticed."""
    new_model(release, path, architecture, side, task)
    model = load_model(path)
    torch.manual_seed(11)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.2, 0.2)
                module.momentum = None  # an average over all batches
        model.train()
        for _ in range(3):
            model.outputs(random_input(model))
        if task == "detect":
            for name, deviation in (("scores", 2.0), ("distances", 0.5)):
                spread(model, name, deviation)
    state = model.state_dict()
    with safe_open(path, "pt") as file:
        names, about = list(file.keys()), file.metadata()
    save_file({name: state[name].contiguous() for name in names}, path, about)


def random_input(model) -> torch.Tensor:
    return (torch.rand(8, 3, model.side, model.side) - model.mean) / model.std


def spread(model, name: str, deviation: float) -> None:
    """Makes the numbers of an output of the head differ so much from cell to cell."""
    layer, found = model.head[name], []
    layer.weight.normal_()
    handle = layer.register_forward_hook(lambda layer, inputs, output: found.append(output))
    model.eval().outputs(random_input(model))
    handle.remove()
    layer.weight.mul_(deviation / torch.cat([map.flatten() for map in found]).std())
