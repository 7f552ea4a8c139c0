"""Loads a model that ossify trained into PyTorch; images are uint8 [N, H, W, 3]:

    probabilities, boxes = load_model("data/work/demo/runs/<id>/model.safetensors")(images)
    boxes, scores, classes, counts = load_model(path_of_a_detector, min_score=0.25)(images)

Boxes are xmin, ymin, xmax, ymax as shares of the image. A classifier gives one for each image, and
probabilities [N, classes]. A detector gives the objects by falling score, boxes [N, D, 4], scores
[N, D] and classes [N, D], after non-maximum suppression by class with the defaults of [predict];
the first counts [N] of them are objects, the rest is padding (class -1). `python load.py --help`
exports either as ONNX (needs the package onnx)."""

import argparse
import json

import torch
from safetensors import safe_open
from torch import nn
from torchvision.models import DenseNet
from torchvision.ops import nms

SHAPES = {  # growth rate, layers of each block, channels of the stem, bottleneck factor
    "densenet121": (32, (6, 12, 24, 16), 64, 4),
    "densenet161": (48, (6, 12, 36, 24), 96, 4),
    "densenet169": (32, (6, 12, 32, 32), 64, 4),
    "densenet201": (32, (6, 12, 48, 32), 64, 4),
    "densenet-compact": (24, (2, 4, 6), 24, 2),
}
MAX_CANDIDATES = 1000  # of an image, before suppression


def averaged(images, side):
    """As adaptive_avg_pool2d, of which ONNX knows only the sizes that divide."""

    def matrix(length):
        ends = [(i * length // side, -(-(i + 1) * length // side)) for i in range(side)]
        rows = [[(b <= at < e) / (e - b) for at in range(length)] for b, e in ends]
        return torch.tensor(rows, device=images.device)

    height, width = map(int, images.shape[-2:])
    if (height, width) == (side, side):
        return images
    return matrix(height) @ images @ matrix(width).T


def layers(tensors, prefix):
    """The convolutions and norms whose weights have these names, as in `<prefix><name>.weight`."""
    found = nn.ModuleDict()
    for name, value in tensors.items():
        layer, _, what = name.removeprefix(prefix).rpartition(".")
        if name.startswith(prefix) and what == "weight" and "." not in layer:
            if value.dim() == 4:
                size, bias = value.shape[-1], f"{prefix}{layer}.bias" in tensors
                found[layer] = nn.Conv2d(*value.shape[1::-1], size, padding=size // 2, bias=bias)
            else:
                found[layer] = nn.BatchNorm2d(len(value))
    return found


def boxes_of(distances, side):
    """Boxes from the logarithms of the distances [N, cells, 4] between cells and edges."""
    cells = range(side)
    centres = [[(x + 0.5) / side, (y + 0.5) / side] * 2 for y in cells for x in cells]
    signs = torch.tensor([-1, -1, 1, 1]).to(distances)
    return torch.tensor(centres).to(distances) + distances.clamp(-4, 4).exp() / side * signs


def by_cell(map):
    return map.flatten(2).transpose(1, 2)


def enlarged(map, like):
    return nn.functional.interpolate(map, like.shape[-2:], mode="bilinear")


class Network(nn.Module):
    def __init__(self, tensors, about):
        super().__init__()
        growth, blocks, stem, factor = SHAPES[about["architecture"]]
        self.side = json.loads(about["input_shape"])[1]
        self.class_names = json.loads(about["class_names"])
        for name in ("mean", "std"):
            value = torch.tensor(json.loads(about[f"normalization_{name}"])).view(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)
        self.features = DenseNet(growth, blocks, stem, bn_size=factor, num_classes=1).features
        self.make_head(tensors, about)
        counters = {
            name: value
            for name, value in self.state_dict().items()
            if name.endswith("num_batches_tracked")
        }
        self.load_state_dict(tensors | counters)

    def forward(self, images):
        pixels = averaged(images.permute(0, 3, 1, 2).float() / 255, self.side)
        return self.result(*self.outputs((pixels - self.mean) / self.std))

    def maps(self, map):
        """What the dense blocks give, the last of them normalised."""
        found = []
        for name, layer in self.features.named_children():
            map = layer(map)
            if name.startswith("denseblock"):
                found.append(map)
        return [*found[:-1], map.relu()]


class Classifier(Network):
    outputs_of_result = ["probabilities", "boxes"]

    def make_head(self, tensors, about):
        self.places = layers(tensors, "places.")

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

    def outputs(self, map):
        *_, fine, coarse = self.maps(map)
        hidden, cells, head = coarse.mean((2, 3)), self.places, self.head
        # Each cell of the map has a score and distances to the box's edges; the best cell's box
        # counts.
        if cells:
            fine = cells["conv_fine"](cells["norm_fine"](fine).relu())
            fine = fine + enlarged(cells["conv_coarse"](coarse), fine)
            rows = by_cell(cells["norm2"](cells["conv1"](cells["norm1"](fine).relu())).relu())
            score, distances = head["boxes"](rows).split([1, 4], 2)
            hidden = torch.cat([hidden, (score.softmax(1) * rows).sum(1)], 1)
            best = score.argmax(1, keepdim=True).expand(-1, 1, 4)
            boxes = boxes_of(distances, int(fine.shape[-1])).gather(1, best)[:, 0]
        for stage in head["stages"]:
            hidden = stage["dense"](stage["norm"](hidden)).relu()
        return head["classes"](hidden), boxes if cells else head["boxes"](hidden)

    def result(self, logits, boxes):
        return logits.softmax(1), boxes


class Detector(Network):
    outputs_of_result = ["boxes", "scores", "classes", "counts"]
    min_score, nms_iou, max_detections = 0.01, 0.6, 100

    def make_head(self, tensors, about):
        self.head = layers(tensors, "head.")
        count = sum(name.endswith(".norm1.weight") for name in tensors if ".levels." in name)
        self.head["levels"] = nn.ModuleList(
            layers(tensors, f"head.levels.{level}.") for level in range(count)
        )

    def outputs(self, map):
        """Logits [N, cells, classes] and boxes [N, cells, 4], from fine maps to coarse."""
        head, maps, found, coarser = self.head, self.maps(map), [], None
        for level in reversed(head["levels"]):
            map = maps.pop()
            if "norm_map" in level:
                map = level["norm_map"](map).relu()
            map = level["conv_map"](map)
            coarser = map if coarser is None else map + enlarged(coarser, map)
            smooth = level["norm2"](level["conv1"](level["norm1"](coarser).relu())).relu()
            logits, distances = (
                by_cell(head[of](level[f"norm_{of}"](head[f"conv_{of}"](smooth)).relu()))
                for of in ("scores", "distances")
            )
            found.insert(0, (logits, boxes_of(distances, int(map.shape[-1]))))
        return tuple(torch.cat(parts, 1) for parts in zip(*found))

    def result(self, logits, boxes):
        return self.objects(logits.sigmoid(), boxes)

    def objects(self, scores, boxes):
        """The result from scores [N, cells, classes], 0..1, and boxes [N, cells, 4]."""
        boxes, (cells, classes) = boxes.clamp(0, 1), map(int, scores.shape[1:])
        is_empty = (boxes[..., 2:] <= boxes[..., :2]).any(2, keepdim=True)
        scores = scores.masked_fill(is_empty | (scores < self.min_score), -1).flatten(1)
        scores, at = scores.topk(min(MAX_CANDIDATES, cells * classes))
        boxes, classes_of_boxes = picked(boxes, at // classes), at % classes
        others = classes_of_boxes[:, None] != torch.arange(classes, device=at.device)[:, None]
        of_class = scores[:, None].masked_fill(others, -1)
        kept = Suppression.apply(boxes, of_class, self.nms_iou, self.max_detections)
        kept, flat = kept[:, 0] * at.shape[1] + kept[:, 2], scores.flatten()
        scores = torch.full_like(flat, -1).scatter(0, kept, flat[kept]).view_as(scores)
        scores, best = scores.topk(min(self.max_detections, MAX_CANDIDATES, cells * classes))
        is_padding = scores < 0
        boxes = picked(boxes, best).masked_fill(is_padding[..., None], 0)
        classes_of_boxes = classes_of_boxes.gather(1, best).masked_fill(is_padding, -1)
        return boxes, scores.clamp(min=0), classes_of_boxes, (~is_padding).sum(1)


def picked(boxes, at):
    return boxes.gather(1, at[..., None].expand(-1, -1, 4))


class Suppression(torch.autograd.Function):
    """ONNX's NonMaxSuppression of boxes [N, P, 4] by scores [N, classes, P] above -0.5: the
    numbers of image, class and box of what is kept, [K, 3]."""

    @staticmethod
    def forward(ctx, boxes, scores, iou, max_boxes):
        kept = [torch.zeros(0, 3, dtype=torch.int64, device=boxes.device)]
        for image, class_ in torch.cartesian_prod(*map(torch.arange, scores.shape[:2])).tolist():
            candidates = (scores[image, class_] > -0.5).nonzero()[:, 0]
            of_class = boxes[image, candidates], scores[image, class_, candidates]
            found = candidates[nms(*of_class, iou)[:max_boxes], None]
            kept.append(nn.functional.pad(found, (1, 0), value=class_))
            kept[-1] = nn.functional.pad(kept[-1], (1, 0), value=image)
        return torch.cat(kept)

    @staticmethod
    def symbolic(g, boxes, scores, iou, max_boxes):
        limits = (torch.tensor([max_boxes]), torch.tensor([iou]), torch.tensor([-0.5]))
        limits = [g.op("Constant", value_t=limit) for limit in limits]
        return g.op("NonMaxSuppression", boxes, scores, *limits)


def load_model(path, **limits):
    """`limits`, of a detector, are min_score, nms_iou and max_detections."""
    with safe_open(path, "pt") as file:
        tensors, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    network = Detector if about.get("task") == "detect" else Classifier
    model = network(tensors, about).eval()
    for name, limit in limits.items():
        setattr(model, name, limit)
    return model


def main():
    parser = argparse.ArgumentParser(description="Exports model.safetensors as ONNX.")
    parser.add_argument("model")
    parser.add_argument("onnx")
    parser.add_argument("--side", type=int, default=224, help="of the images, pixels")
    for name in ("min_score", "nms_iou", "max_detections"):
        limit = getattr(Detector, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(limit), default=limit, help="of a detector"
        )
    limits = vars(parser.parse_args())
    path, onnx, side = (limits.pop(name) for name in ("model", "onnx", "side"))
    model = load_model(path, **limits)
    names = ["images", *model.outputs_of_result]
    torch.onnx.export(
        model,
        (torch.zeros(2, side, side, 3, dtype=torch.uint8),),
        onnx,
        input_names=names[:1],
        output_names=names[1:],
        dynamic_axes={name: {0: "N"} for name in names},
        dynamo=False,
    )


if __name__ == "__main__":
    main()
