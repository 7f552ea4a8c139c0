"""Label tables and tensor shards with pyarrow: python pyarrow_tables.py [OUT]"""

# %%
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

# In a notebook, argv contains the kernel's flags; set the work folder here.
argument = sys.argv[1] if len(sys.argv) > 1 else "-"
OUT = Path("data/work/demo" if argument.startswith("-") else argument)

# %% The manifest is written last, so a folder without it is incomplete. It lists the number of rows
# of each table.
manifest = json.loads((OUT / "tables/manifest.json").read_text())
for entry in manifest["files"]:
    if entry["path"].endswith(".parquet"):
        rows = pq.read_metadata(OUT / "tables" / entry["path"]).num_rows
        print(f"{entry['path']:<20} {rows:>8} rows")
        assert rows == entry["rows"], entry

# %% Column projection and predicate push-down: only two columns are read, and only the row groups
# that contain rows of train.
objects = ds.dataset(OUT / "tables/objects.parquet")
train = objects.to_table(columns=["image_id", "class_name"], filter=ds.field("split") == "train")
balance = train.group_by("class_name").aggregate(
    [("class_name", "count"), ("image_id", "count_distinct")]
)
print("\nClass balance in train")
for row in balance.sort_by(
    [("class_name_count", "descending"), ("class_name", "ascending")]
).to_pylist():
    print(
        f"{row['class_name']:<20} {row['class_name_count']:>8} objects in "
        f"{row['image_id_count_distinct']} images"
    )

# %% Filters skip row groups by their smallest and largest values. Rows are ordered by split, so a
# filter by split touches few row groups of a large table. Long strings are truncated; null columns
# have no such values.
file = pq.ParquetFile(OUT / "tables/objects.parquet")
print("\nRow groups of objects")
for number in range(file.num_row_groups):
    group = file.metadata.row_group(number)
    for column in map(group.column, range(group.num_columns)):
        if column.path_in_schema in ("split", "line", "class_id"):
            smallest, largest = str(column.statistics.min), str(column.statistics.max)
            print(
                f"{number}: {column.path_in_schema:<12} {smallest:>8} to {largest:<8} "
                f"{column.total_compressed_size} bytes"
            )

# %% Nested lists are flat in memory: one array of floats, and the start of each polygon. The
# shoelace formula runs on all polygons at once, without a Python loop.
polygons = objects.to_table(
    columns=["vertices", "area", "xmin", "ymin", "xmax", "ymax"],
    filter=ds.field("shape") == "polygon",
).combine_chunks()
if polygons.num_rows:
    vertices = polygons["vertices"].chunk(0)
    counts = pc.list_value_length(vertices).to_numpy()
    x, y = vertices.flatten().flatten().to_numpy().reshape(-1, 2).astype(np.float64).T
    starts = np.cumsum(counts) - counts
    following = np.arange(1, len(x) + 1)
    following[starts + counts - 1] = starts
    shoelace = np.abs(np.add.reduceat(x * y[following] - x[following] * y, starts)) / 2
    xmin, ymin, xmax, ymax, area = (
        polygons[name].to_numpy() for name in ["xmin", "ymin", "xmax", "ymax", "area"]
    )
    # The formula counts an area twice if the outline winds around it twice; the column is at most
    # the box.
    difference = np.abs(np.minimum(shoelace, (xmax - xmin) * (ymax - ymin)) - area)
    print(
        f"\n{len(counts)} polygons of {counts.min()} to {counts.max()} vertices; areas differ by "
        f"at most {difference.max():.1e}"
    )
    assert difference.max() <= 1e-4

# %% Shards are memory-mapped Arrow files: opening one of gigabytes takes no time and no memory.
shards = sorted((OUT / "shards").glob("*.arrow"))
if not shards:
    print("\nNo shards; make resize writes them")
for path in shards:
    mapped = pa.memory_map(str(path))
    reader = pa.ipc.open_file(mapped)
    before = pa.total_allocated_bytes()
    for batch in map(reader.get_batch, range(reader.num_record_batches)):
        # The extension type gives the shape [images, height, width, channels] without a copy.
        pixels = batch["pixels"].to_numpy_ndarray()
        assert (
            pixels.dtype == np.uint8
            and pixels.shape[0] == batch.num_rows
            and not pixels.flags.owndata
        )
    print(
        f"\n{path.name}: {reader.num_record_batches} batches of {batch.schema.field('pixels').type}"
    )
    print(
        f"last batch {pixels.shape}, mean {pixels.mean():.1f}; {mapped.size()} bytes mapped, "
        f"{pa.total_allocated_bytes() - before} allocated"
    )
    assert pa.total_allocated_bytes() - before < pixels[0].nbytes, "pixels were copied"

# %% A box in pixels of the tensor: the transform of the image is stored beside its pixels.
if shards:
    row = batch.slice(0, 1).drop_columns("pixels").to_pylist()[0]
    for box in objects.to_table(
        columns=["class_name", "xmin", "ymin"], filter=ds.field("image_id") == row["image_id"]
    ).to_pylist():
        left, top = (
            box[f"{axis}min"] * row[side] * row[f"scale_{axis}"] + row[f"offset_{axis}"]
            for axis, side in [("x", "width"), ("y", "height")]
        )
        print(f"{box['class_name']} begins at pixel {left:.1f}, {top:.1f} of {row['image_id']}")
