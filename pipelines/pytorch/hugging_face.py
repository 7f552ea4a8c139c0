"""The shards of a split as a Hugging Face dataset, memory-mapped, without PyTorch.

    from hugging_face import open_split
    train = open_split("data/work/demo", "train")
    pixels = train[0]["pixels"].reshape(224, 224, 3)  # uint8; a copy of one tensor
    # the mapped bytes themselves
    row = train.with_format("arrow")[0]["pixels"].chunk(0).flatten().to_numpy()

`datasets` does not support Arrow's tensor type, so neither `Dataset.from_file` (for streams; a
shard is a file) nor `load_dataset("arrow", ...)` can open a shard. Here it gets the underlying list
of bytes instead. With these features it can also make a dataset in its own cache, which copies all
pixels once:

    load_dataset("arrow", data_files={"train": paths}, features=train.features)

Worker processes of `map(num_proc=...)` receive the pixels of a mapped dataset, but only the path of
one in the cache."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset


def shard_paths(out: str | Path, split: str) -> list[str]:
    names = [
        file["path"] for file in json.loads(Path(out, "shards/manifest.json").read_text())["files"]
    ]
    return [str(Path(out, "shards", name)) for name in names if name.startswith(f"{split}-")]


def open_split(out: str | Path, split: str) -> Dataset:
    shards = pa.concat_tables(
        [pa.ipc.open_file(pa.memory_map(path)).read_all() for path in shard_paths(out, split)]
    )
    pixels = pa.chunked_array([chunk.storage for chunk in shards["pixels"].chunks])
    dataset = Dataset(shards.set_column(shards.schema.get_field_index("pixels"), "pixels", pixels))
    # Without a type, its numpy format makes 64-bit integers of bytes.
    return dataset.with_format("numpy", columns=["pixels"], output_all_columns=True, dtype=np.uint8)
