"""The shards of a split as a PyTorch dataset, with random access to memory-mapped tensors.

from shards import Shards, collate

train = Shards("data/work/demo", "train")
# uint8 [H, W, C]; image_id, classes [n], boxes [n, 4]: xmin ymin xmax ymax in tensor pixels
pixels, target = train[0]
loader = torch.utils.data.DataLoader(
    train, batch_size=16, shuffle=True, num_workers=2, collate_fn=collate
)
for pixels, targets in loader:
    images = pixels.permute(0, 3, 1, 2).float() / 255
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import torch


class Shards(torch.utils.data.Dataset):
    def __init__(self, out: str | Path, split: str) -> None:
        names = [
            file["path"]
            for file in json.loads(Path(out, "shards/manifest.json").read_text())["files"]
        ]
        paths = [Path(out, "shards", name) for name in names if name.startswith(f"{split}-")]
        heads = [
            ds.dataset(path, format="ipc").to_table(
                ["image_id", "width", "height", "scale_x", "scale_y", "offset_x", "offset_y"]
            )
            for path in paths
        ]
        self.batches = [
            (path, number)
            for path, head in zip(paths, heads)
            for number in range(head["image_id"].num_chunks)
        ]
        self.image_ids, *numbers = pa.concat_tables(heads).columns
        self.starts = np.cumsum([0, *map(len, self.image_ids.chunks)])
        self.readers, self.held = {}, (None, None)
        objects = ds.dataset(Path(out, "tables/objects.parquet")).to_table(
            filter=ds.field("class_index").is_valid()
        )
        row = pc.index_in(objects["image_id"], self.image_ids.combine_chunks())
        objects = objects.append_column("row", row).filter(row.is_valid()).sort_by("row")
        rows = objects["row"].to_numpy()
        width, height, scale_x, scale_y, offset_x, offset_y = (
            column.to_numpy()[rows] for column in numbers
        )
        scale, offset = [width * scale_x, height * scale_y] * 2, [offset_x, offset_y] * 2
        self.boxes = (
            np.array(objects.select(["xmin", "ymin", "xmax", "ymax"]).columns) * scale + offset
        ).T.astype(np.float32)
        self.classes = objects["class_index"].to_numpy().astype(np.int64)
        self.first_box = np.searchsorted(rows, np.arange(len(self) + 1))

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict]:
        index = range(len(self))[index]
        batch = int(np.searchsorted(self.starts, index, side="right")) - 1
        if batch != self.held[0]:
            path, number = self.batches[
                batch
            ]  # copy-on-write: changing a tensor does not change the file
            reader = self.readers.get(path) or self.readers.setdefault(
                path, pa.ipc.open_file(np.memmap(path, mode="c"))
            )
            pixels = reader.get_batch(number)["pixels"]
            self.held = (
                batch,
                torch.from_dlpack(pixels.storage.flatten()).view(-1, *pixels.type.shape),
            )
        of = slice(*self.first_box[index : index + 2])
        target = {"boxes": torch.tensor(self.boxes[of]), "classes": torch.tensor(self.classes[of])}
        return self.held[1][index - self.starts[batch]], {
            "image_id": self.image_ids[index].as_py(),
            **target,
        }

    def __getstate__(self) -> dict:
        return {
            **self.__dict__,
            "readers": {},
            "held": (None, None),
        }  # a worker maps the files itself


def collate(items: list) -> tuple[torch.Tensor, list[dict]]:
    return torch.stack([pixels for pixels, _ in items]), [target for _, target in items]
