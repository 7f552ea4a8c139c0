"""Checks that other libraries read the same bytes from the shards:

    check_readers.py [--need LIBRARY]... WORK_FOLDER...

Reads every tensor with pyarrow, PyTorch (see shards.py) and Hugging Face datasets (see
hugging_face.py), and compares XXH3 of its bytes with the one in the shard's footer. A library that
is not installed is skipped with a message, unless `--need` names it. On systems with
/proc/self/maps, it also checks that nothing was copied."""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

Row = tuple[str, str]  # image_id, XXH3 of the tensor
PROCESS_MAPS = Path("/proc/self/maps")


def row_of(image_id: str, pixels: np.ndarray) -> Row:
    assert pixels.dtype == np.uint8, pixels.dtype
    return image_id, xxhash.xxh3_64_hexdigest(np.ascontiguousarray(pixels))


def lies_in(file: Path, address: int) -> bool:
    """Whether the address is inside a mapping of the file; assumed true without /proc."""
    if not PROCESS_MAPS.exists():
        return True
    for line in PROCESS_MAPS.read_text().splitlines():
        start, end = (int(border, 16) for border in line.split()[0].split("-"))
        if start <= address < end:
            return line.endswith(str(file.resolve()))
    return False


def shards_of(out: Path) -> dict[str, list[Path]]:
    """The shards of each split, in order."""
    names = [
        file["path"]
        for file in json.loads((out / "shards/manifest.json").read_text())["files"]
        if file["path"].endswith(".arrow")
    ]
    splits = dict.fromkeys(name.split("-")[0] for name in names)
    return {
        split: [out / "shards" / name for name in names if name.startswith(f"{split}-")]
        for split in splits
    }


def is_compressed(shard: Path) -> bool:
    """An uncompressed shard is longer than its pixels."""
    reader = pa.ipc.open_file(pa.memory_map(str(shard)))
    rows = sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
    return shard.stat().st_size < rows * reader.schema.field("pixels").type.storage_type.list_size


def check_not_copied(shard: Path, address: int, library: str) -> None:
    assert lies_in(shard, address) or is_compressed(shard), f"{shard}: {library} copied pixels"


def read_with_pyarrow(shard: Path) -> Iterator[Row]:
    reader = pa.ipc.open_file(pa.memory_map(str(shard)))
    for batch in map(reader.get_batch, range(reader.num_record_batches)):
        pixels = batch["pixels"].to_numpy_ndarray()
        check_not_copied(shard, pixels.ctypes.data, "pyarrow")
        yield from map(row_of, batch["image_id"].to_pylist(), pixels)


def check_footer(shard: Path, rows: list[Row]) -> bool:
    """Compares with the hashes of the footer, if it has any."""
    written = (pa.ipc.open_file(pa.memory_map(str(shard))).metadata or {}).get(
        b"ossify.tensor_xxh3"
    )
    assert written is None or written.decode() == "".join(digest for _, digest in rows), (
        f"{shard}: other tensors than the footer says"
    )
    return written is not None


def check_pytorch(out: Path, expected: dict[str, list[Row]]) -> str:
    import torch
    from shards import Shards, collate

    splits = {split: Shards(out, split) for split in expected}
    for split, dataset in splits.items():
        check_boxes(out, split, dataset)
        # Backwards, to test random access.
        rows = [
            row_of(target["image_id"], pixels.numpy())
            for pixels, target in map(dataset.__getitem__, range(len(dataset) - 1, -1, -1))
        ]
        assert rows[::-1] == expected[split], f"{out}: PyTorch reads other tensors of {split}"
    everything = [row for rows in expected.values() for row in rows]
    for workers, start_method in [(0, None), (2, "fork"), (2, "spawn")]:
        loader = torch.utils.data.DataLoader(
            torch.utils.data.ConcatDataset(splits.values()),
            batch_size=16,
            num_workers=workers,
            multiprocessing_context=start_method,
            collate_fn=collate,
        )
        rows = [
            row_of(target["image_id"], pixels.numpy())
            for batch in loader
            for pixels, target in zip(*batch)
        ]
        assert rows == everything, (
            f"{out}: a DataLoader with {workers} workers by {start_method} reads other tensors"
        )

    split, dataset = next(iter(splits.items()))
    shard = shards_of(out)[split][0]
    before = xxhash.xxh3_64_hexdigest(shard.read_bytes())
    pixels, _ = dataset[0]
    check_not_copied(shard, pixels.data_ptr(), "PyTorch")
    pixels.bitwise_not_()
    assert xxhash.xxh3_64_hexdigest(shard.read_bytes()) == before, (
        f"{shard}: writing into a tensor changed the file"
    )
    return "without workers, with 2 forked and with 2 spawned ones, and the boxes are in place"


def check_boxes(out: Path, split: str, dataset) -> None:
    """Compares the boxes with the formula in crates/contract/src/transform.rs, one by one."""
    shards = [
        pa.ipc.open_file(pa.memory_map(str(shard))).read_all() for shard in shards_of(out)[split]
    ]
    head_of = {
        head["image_id"]: head
        for head in pa.concat_tables(shards).drop_columns("pixels").to_pylist()
    }
    expected = {image_id: [] for image_id in head_of}
    for object_ in pq.read_table(out / "tables/objects.parquet").to_pylist():
        head = head_of.get(object_["image_id"])
        if head is not None and object_["class_index"] is not None:
            corners = [
                object_[f"{axis}{end}"] * head[side] * head[f"scale_{axis}"]
                + head[f"offset_{axis}"]
                for end in ("min", "max")
                for axis, side in (("x", "width"), ("y", "height"))
            ]
            expected[object_["image_id"]].append([*corners, object_["class_index"]])
    for _, target in map(dataset.__getitem__, range(len(dataset))):
        wanted = np.array(expected[target["image_id"]]).reshape(-1, 5)
        assert target["classes"].tolist() == wanted[:, 4].tolist(), target
        assert (
            target["boxes"].shape == (len(wanted), 4)
            and np.abs(target["boxes"].numpy() - wanted[:, :4]).max(initial=0) < 1e-3
        ), target


def check_datasets(out: Path, expected: dict[str, list[Row]]) -> str:
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is fetched from the hub
    import datasets
    from hugging_face import open_split, shard_paths

    datasets.disable_progress_bars()
    for split, wanted in expected.items():
        mapped = open_split(out, split)
        address = mapped.with_format("arrow")[0]["pixels"].chunk(0).flatten().buffers()[1].address
        check_not_copied(shards_of(out)[split][0], address, "datasets")
        with tempfile.TemporaryDirectory() as cache:
            cached = datasets.load_dataset(
                "arrow",
                data_files=shard_paths(out, split),
                features=mapped.features,
                split="train",
                cache_dir=cache,
            )
            for dataset in (mapped, cached.with_format(**mapped.format)):
                assert [row_of(row["image_id"], row["pixels"]) for row in dataset] == wanted, (
                    f"{out}: datasets reads other tensors of {split}"
                )
    return "as they lie, and from its own cache"


READERS = {"torch": check_pytorch, "datasets": check_datasets}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="WORK_FOLDER")
    parser.add_argument(
        "--need",
        action="append",
        default=[],
        choices=READERS,
        help="a library that must not be left out",
    )
    arguments = parser.parse_args()
    if not PROCESS_MAPS.exists():
        print("copies go unnoticed: this system has no /proc/self/maps", file=sys.stderr)
    for out in arguments.folders:
        expected, hashed = {}, []
        for split, shards in shards_of(out).items():
            rows_of = {shard: list(read_with_pyarrow(shard)) for shard in shards}
            hashed += [check_footer(shard, rows) for shard, rows in rows_of.items()]
            expected[split] = [row for rows in rows_of.values() for row in rows]
        footers = "as their footers say" if all(hashed) else "without hashes in their footers"
        packed = "compressed" if is_compressed(shards[0]) else "mapped without a copy"
        print(
            f"{out}: pyarrow reads {sum(map(len, expected.values()))} tensors of {len(hashed)} "
            f"shards, {footers}, {packed}",
            file=sys.stderr,
        )
        for library, check in READERS.items():
            if importlib.util.find_spec(library):
                print(f"{out}: {library} reads the same, {check(out, expected)}", file=sys.stderr)
            elif library in arguments.need:
                sys.exit(f"error: {library} is not installed")
            else:
                print(f"{out}: {library} left out: not installed", file=sys.stderr)


if __name__ == "__main__":
    main()
