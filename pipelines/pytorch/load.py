"""Loads a model that ossify trained into PyTorch: uint8 images [N, H, W, 3] to (probabilities [N,
classes], boxes [N, 4]).

    probabilities, boxes = load_model("data/work/demo/runs/<id>/model.safetensors")(images)

Boxes are xmin, ymin, xmax, ymax as shares of the image. `python load.py MODEL.safetensors
MODEL.onnx` exports ONNX (needs the package onnx)."""

import json
import sys

import torch
from safetensors import safe_open
from torch import nn
from torchvision.models import DenseNet

SHAPES = {  # growth rate, layers of each block, channels of the stem, bottleneck factor
    "densenet121": (32, (6, 12, 24, 16), 64, 4),
    "densenet161": (48, (6, 12, 36, 24), 96, 4),
    "densenet169": (32, (6, 12, 32, 32), 64, 4),
    "densenet201": (32, (6, 12, 48, 32), 64, 4),
    "densenet-compact": (24, (2, 4, 6), 24, 2),
}


def averaged(
    images, side
):  # as adaptive_avg_pool2d, of which ONNX knows only the sizes that divide
    def matrix(length):
        return torch.tensor(
            [
                [(b <= at < e) / (e - b) for at in range(length)]
                for b, e in (
                    (i * length // side, -(-(i + 1) * length // side)) for i in range(side)
                )
            ],
            device=images.device,
        )

    return (
        images
        if images.shape[-2:] == (side, side)
        else matrix(images.shape[-2]) @ images @ matrix(images.shape[-1]).T
    )


class Classifier(nn.Module):
    def __init__(self, tensors, about):
        super().__init__()
        growth, layers, stem, factor = SHAPES[about["architecture"]]
        self.side, self.class_names = (
            json.loads(about["input_shape"])[1],
            json.loads(about["class_names"]),
        )
        for name in ("mean", "std"):
            self.register_buffer(
                name,
                torch.tensor(json.loads(about[f"normalization_{name}"])).view(1, 3, 1, 1),
                persistent=False,
            )
        self.features = DenseNet(growth, layers, stem, bn_size=factor, num_classes=1).features

        def conv(weight):
            return nn.Conv2d(
                *weight.shape[1::-1], weight.shape[-1], padding=weight.shape[-1] // 2, bias=False
            )

        parts = {
            name.split(".")[1]: value
            for name, value in tensors.items()
            if name.startswith("places.") and name.endswith(".weight")
        }
        self.places = nn.ModuleDict(
            {
                name: conv(value) if "conv" in name else nn.BatchNorm2d(len(value))
                for name, value in parts.items()
            }
        )
        self.before_last = f"denseblock{len(layers) - 1}"

        def dense(name):
            return nn.Linear(*tensors[f"{name}.weight"].shape[::-1])

        def norm(name):
            return nn.BatchNorm1d(len(tensors[f"{name}.weight"]), eps=1e-3)

        stages = nn.ModuleList(
            nn.ModuleDict({"norm": norm(f"{name}.norm"), "dense": dense(f"{name}.dense")})
            for name in map("head.stages.{}".format, range(len(json.loads(about["head_widths"]))))
        )
        self.head = nn.ModuleDict(
            {"stages": stages, "classes": dense("head.classes"), "boxes": dense("head.boxes")}
        )
        self.load_state_dict(
            tensors
            | {
                name: value
                for name, value in self.state_dict().items()
                if name.endswith("num_batches_tracked")
            }
        )

    def forward(self, images):
        pixels = averaged(images.permute(0, 3, 1, 2).float() / 255, self.side)
        logits, boxes = self.outputs((pixels - self.mean) / self.std)
        return logits.softmax(1), boxes

    def outputs(self, map):
        for name, layer in self.features.named_children():
            map = layer(map)
            if name == self.before_last:
                fine = map
        hidden, cells, head = map.relu().mean((2, 3)), self.places, self.head
        # Each cell of the map has a score and distances to the box's edges; the best cell's box
        # counts.
        if cells:
            coarse = nn.functional.interpolate(
                cells["conv_coarse"](map.relu()), fine.shape[-2:], mode="bilinear"
            )
            fine = cells["norm1"](
                cells["conv_fine"](cells["norm_fine"](fine).relu()) + coarse
            ).relu()
            rows, side = (
                cells["norm2"](cells["conv1"](fine)).relu().flatten(2).mT,
                int(fine.shape[-1]),
            )
            score, distances = head["boxes"](rows).split([1, 4], 2)
            hidden = torch.cat([hidden, (score.mT.softmax(2) @ rows)[:, 0]], 1)
            grid = torch.tensor(
                [[(x + 0.5) / side, (y + 0.5) / side] * 2 for y in range(side) for x in range(side)]
            ).to(rows)
            boxes = grid + distances.clamp(-4, 4).exp() / side * torch.tensor([-1, -1, 1, 1]).to(
                rows
            )
            boxes = boxes.gather(1, score.argmax(1, keepdim=True).expand(-1, 1, 4))[:, 0]
        for stage in head["stages"]:
            hidden = stage["dense"](stage["norm"](hidden)).relu()
        return head["classes"](hidden), boxes if cells else head["boxes"](hidden)


def load_model(path):
    with safe_open(path, "pt") as file:
        return Classifier(
            {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
        ).eval()


if __name__ == "__main__":
    images, names = (
        torch.zeros(2, 224, 224, 3, dtype=torch.uint8),
        ["images", "probabilities", "boxes"],
    )
    torch.onnx.export(
        load_model(sys.argv[1]),
        (images,),
        sys.argv[2],
        input_names=names[:1],
        output_names=names[1:],
        dynamic_axes={name: {0: "N"} for name in names},
        dynamo=False,
    )
