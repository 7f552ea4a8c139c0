"""A model that ossify trained, in PyTorch: uint8 images [N, H, W, 3] to (probabilities [N, classes], boxes [N, 4]).

    probabilities, boxes = load_model("data/work/demo/runs/<id>/model.safetensors")(images)

Boxes are xmin, ymin, xmax, ymax as shares of the image. `python load.py MODEL.safetensors MODEL.onnx` exports ONNX (needs the package onnx).
"""
import json, sys
import torch
from safetensors import safe_open
from torch import nn
from torchvision.models import DenseNet

SHAPES = {  # growth rate, layers of each block, channels of the stem, bottleneck factor, attention maps
    "densenet121": (32, (6, 12, 24, 16), 64, 4, 0), "densenet161": (48, (6, 12, 36, 24), 96, 4, 0),
    "densenet169": (32, (6, 12, 32, 32), 64, 4, 0), "densenet201": (32, (6, 12, 48, 32), 64, 4, 0),
    "densenet-compact": (24, (2, 4, 6), 24, 2, 4),
}

def averaged(images, side):  # as adaptive_avg_pool2d, of which ONNX knows only the sizes that divide
    def matrix(length):
        ranges = [(i * length // side, -(-(i + 1) * length // side)) for i in range(side)]
        return torch.tensor([[(begin <= at < end) / (end - begin) for at in range(length)] for begin, end in ranges], device=images.device)
    return images if images.shape[-2:] == (side, side) else matrix(images.shape[-2]) @ images @ matrix(images.shape[-1]).T

class Classifier(nn.Module):
    def __init__(self, tensors, about):
        super().__init__()
        growth, layers, stem, factor, self.maps = SHAPES[about["architecture"]]
        self.side, self.class_names = json.loads(about["input_shape"])[1], json.loads(about["class_names"])
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(json.loads(about[f"normalization_{name}"])).view(1, 3, 1, 1), persistent=False)
        self.features = DenseNet(growth, layers, stem, bn_size=factor, num_classes=1).features
        self.attention = nn.ModuleDict({"conv": nn.Conv2d(*tensors["attention.conv.weight"].shape[1::-1], 1, bias=False)} if self.maps else {})
        def dense(name): return nn.Linear(*tensors[f"{name}.weight"].shape[::-1])
        def norm(name): return nn.BatchNorm1d(len(tensors[f"{name}.weight"]), eps=1e-3)
        stages = nn.ModuleList(nn.ModuleDict({"norm": norm(f"{name}.norm"), "dense": dense(f"{name}.dense")}) for name in map("head.stages.{}".format, range(len(json.loads(about["head_widths"])))))
        self.head = nn.ModuleDict({"stages": stages, "classes": dense("head.classes"), "boxes": dense("head.boxes")})
        self.load_state_dict(tensors | {name: value for name, value in self.state_dict().items() if name.endswith("num_batches_tracked")})

    def pooled(self, map):
        if not self.maps: return map.mean((2, 3))
        side, weights = int(map.shape[-1]), self.attention["conv"](map).flatten(2).softmax(2)
        places = torch.tensor([[(x + 0.5) / side, (y + 0.5) / side] for y in range(side) for x in range(side)]).to(map)
        centres = weights @ places
        parts = weights @ map.flatten(2).mT, centres, (weights @ places**2 - centres**2).clamp_min(1e-6).sqrt()
        return torch.cat([map.mean((2, 3)), *(part.flatten(1) for part in parts)], 1)

    def forward(self, images):
        pixels = averaged(images.permute(0, 3, 1, 2).float() / 255, self.side)
        hidden = self.pooled(self.features((pixels - self.mean) / self.std).relu())
        for stage in self.head["stages"]:
            hidden = stage["dense"](stage["norm"](hidden)).relu()
        return self.head["classes"](hidden).softmax(1), self.head["boxes"](hidden)

def load_model(path):
    with safe_open(path, "pt") as file: return Classifier({name: file.get_tensor(name) for name in file.keys()}, file.metadata()).eval()

if __name__ == "__main__":
    images, names = torch.zeros(2, 224, 224, 3, dtype=torch.uint8), ["images", "probabilities", "boxes"]
    torch.onnx.export(load_model(sys.argv[1]), (images,), sys.argv[2], input_names=names[:1], output_names=names[1:], dynamic_axes={name: {0: "N"} for name in names}, dynamo=False)
