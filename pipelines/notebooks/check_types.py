"""Checks that every tool reads the tables with the types of the contract: python check_types.py OUT

Prints one line per difference; exit code 1 if there are any."""

import json
import math
import sys
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

# Column, type, and ? if it can be null. This deliberately repeats crates/contract.
IMAGES = """
    image_id string, split string, label_path string?, width int32, height int32, channels int8,
    format string, bytes int64, exif_orientation int8, source_stem string, status string,
    object_count int32, issue_count int32
"""
OBJECTS = """
    image_id string, split string, line int32, class_id int16, class_name string, class_index
    int16?, shape string, vertices points?, xmin float32, ymin float32, xmax float32, ymax
    float32, area float32, repaired bool
"""
ISSUES = """
    split string, path string, line int32?, column int32?, rule string, severity string, action
    string, message string, text string?
"""
CLASSES = """
    class_id int16, class_name string, class_index int16?, train_objects int64, valid_objects
    int64, test_objects int64, train_images int64, valid_images int64, test_images int64, kept
    bool, reason string?
"""
FINGERPRINTS = """
    image_id string, split string, bytes_xxh3 uint64, pixels_xxh3 uint64, perceptual_hash uint64,
    brightness float32, contrast float32, leak_group int32?
"""
LEAKS = """
    leak_group int32, tier string, image_id string, split string, other_image_id string,
    other_split string, hash_distance int32, correlation float32?, rotation_degrees float32?,
    mirrored bool
"""
PREDICTIONS = """
    image_id string, split string, rank int32, class_index int16, class_name string, score
    float32, probabilities floats, xmin float32, ymin float32, xmax float32, ymax float32
"""
IMAGE_PREDICTIONS = """
    image_id string, split string, score float32?, class_scores floats, detections int32
"""
SHARD = """
    image_id string, pixels tensor, width int32, height int32, scale_x float32, scale_y float32,
    offset_x float32, offset_y float32
"""

FLOATS = pa.list_(pa.field("item", pa.float32(), nullable=False))
POINTS = pa.list_(
    pa.field("item", pa.list_(pa.field("item", pa.float32(), nullable=False), 2), nullable=False)
)
# Type names of the contract, pyarrow, DuckDB, polars and pandas (with nullable types).
TYPES = {
    "string": (pa.string(), "VARCHAR", pl.String, "string"),
    "bool": (pa.bool_(), "BOOLEAN", pl.Boolean, "boolean"),
    "int8": (pa.int8(), "TINYINT", pl.Int8, "Int8"),
    "int16": (pa.int16(), "SMALLINT", pl.Int16, "Int16"),
    "int32": (pa.int32(), "INTEGER", pl.Int32, "Int32"),
    "int64": (pa.int64(), "BIGINT", pl.Int64, "Int64"),
    "uint64": (pa.uint64(), "UBIGINT", pl.UInt64, "UInt64"),
    "float32": (pa.float32(), "FLOAT", pl.Float32, "Float32"),
    "floats": (FLOATS, "FLOAT[]", pl.List(pl.Float32), "object"),
    "points": (POINTS, "FLOAT[][]", pl.List(pl.Array(pl.Float32, 2)), "object"),
}

differences = []


def differ(sentence):
    # Errors of libraries can have several lines.
    differences.append(" ".join(str(sentence).split()))


def columns_of(contract):
    for column in contract.split(","):
        name, kind = column.split()
        yield name, kind.rstrip("?"), kind.endswith("?")


def check_names(where, expected, found):
    missing, surplus = (
        [n for n in expected if n not in found],
        [n for n in found if n not in expected],
    )
    for name in missing:
        differ(f"{where}: column {name} is missing")
    for name in surplus:
        differ(f"{where}: column {name} is not in the contract")
    if not missing and not surplus and expected != found:
        differ(
            f"{where}: columns are in the order {', '.join(found)}; the contract says "
            f"{', '.join(expected)}"
        )


# Each tool reads a table and returns types by column, and for each column its nulls and a sum:
# of numbers, of numbers within lists, or of the characters of texts.


def with_pyarrow(path):
    table = pq.read_table(path)

    def measure(column):
        nulls = column.null_count
        while pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            column = pc.list_flatten(column)
        numbers = pc.utf8_length(column) if pa.types.is_string(column.type) else column
        return nulls, pc.sum(numbers.cast(pa.float64(), safe=False), min_count=0).as_py()

    return (
        {f.name: f.type for f in table.schema},
        table.num_rows,
        {n: measure(table[n]) for n in table.column_names},
    )


def with_duckdb(path):
    relation = duckdb.read_parquet(str(path))
    types = dict(zip(relation.columns, map(str, relation.types)))

    def measure(name):
        column, kind = f'"{name}"', types[name]
        number = {
            "FLOAT[]": f"list_sum({column}::DOUBLE[])",
            "FLOAT[][]": f"list_sum(flatten({column})::DOUBLE[])",
            "VARCHAR": f"length({column})",
        }
        number = number.get(
            kind, f"CAST({column} AS DOUBLE)" if kind != "BOOLEAN" else f"{column}::INT"
        )
        return relation.aggregate(
            f"count(*) - count({column}), coalesce(sum({number}), 0)"
        ).fetchall()[0]

    return types, len(relation), {name: measure(name) for name in types}


def with_polars(path):
    frame = pl.read_parquet(path)

    def measure(column):
        nulls = column.null_count()
        while isinstance(column.dtype, (pl.List, pl.Array)):
            column = column.drop_nulls().explode()
        numbers = column.str.len_chars() if column.dtype == pl.String else column
        return nulls, numbers.cast(pl.Float64).sum()

    return dict(frame.schema), frame.height, {column.name: measure(column) for column in frame}


def with_pandas(path):
    frame = pd.read_parquet(path, dtype_backend="numpy_nullable")

    def total(cell):
        return float(cell) if not hasattr(cell, "__len__") else sum(map(total, cell))

    def measure(column):
        if column.dtype == object:
            numbers = column.dropna().map(total)
        else:
            numbers = column.str.len() if pd.api.types.is_string_dtype(column.dtype) else column
        return int(column.isna().sum()), numbers.astype("Float64").sum()

    return (
        {n: str(t) for n, t in frame.dtypes.items()},
        len(frame),
        {n: measure(frame[n]) for n in frame},
    )


TOOLS = {
    "pyarrow": with_pyarrow,
    "DuckDB": with_duckdb,
    "polars": with_polars,
    "pandas": with_pandas,
}


def check_tools(where, path, contract, listed_rows):
    """Checks names, order, types and values in each tool; returns whether all could read it."""
    seen = {}
    for tool, read in TOOLS.items():
        try:
            seen[tool] = read(path)
        except Exception as error:
            differ(f"{where}: {tool} cannot read it: {error}")
    if len(seen) < len(TOOLS):
        return False
    expected = [name for name, _, _ in columns_of(contract)]
    first = next(iter(seen))
    first_types, _, first_measures = seen[first]
    check_names(where, expected, list(first_types))
    for tool, (types, _, _) in seen.items():
        if list(types) != list(first_types):
            differ(
                f"{where}: {tool} reads the columns {', '.join(types)}; {first} reads "
                f"{', '.join(first_types)}"
            )
    for name, kind, _ in columns_of(contract):
        found = {
            tool: (types[name], TYPES[kind][place])
            for place, (tool, (types, _, _)) in enumerate(seen.items())
            if name in types
        }
        wrong = [
            f"{tool} reads {is_now}, not {should_be}"
            for tool, (is_now, should_be) in found.items()
            if is_now != should_be
        ]
        if wrong:
            differ(f"{where}: {name} is {kind} in the contract; {'; '.join(wrong)}")
    if any(rows != listed_rows for _, rows, _ in seen.values()):
        counts = ", ".join(f"{tool} {rows}" for tool, (_, rows, _) in seen.items())
        differ(f"{where}: the manifest lists {listed_rows} rows; read are {counts}")
    for tool, (_, _, measures) in seen.items():
        for name, (nulls, total) in measures.items():
            first_nulls, first_total = first_measures.get(name, (nulls, total))
            if nulls != first_nulls or not math.isclose(
                total, first_total, rel_tol=1e-9, abs_tol=1e-9
            ):
                differ(
                    f"{where}: {tool} reads {name} with {nulls} nulls and sum {total}; {first} "
                    f"with {first_nulls} and {first_total}"
                )
    return True


def check_file(where, path, contract):
    """Checks the metadata: nullability, version, compression, statistics and page index."""
    with pq.ParquetFile(path) as file:
        metadata, schema = file.metadata, file.schema_arrow
    for name, _, nullable in columns_of(contract):
        if name in schema.names and schema.field(name).nullable != nullable:
            differ(
                f"{where}: {name} is {'not nullable' if nullable else 'nullable'}; the contract "
                f"says the opposite"
            )
    # The version that last changed the table.
    expected = "3" if contract == IMAGE_PREDICTIONS else "2"
    version = (metadata.metadata or {}).get(b"ossify.schema_version", b"absent").decode()
    if version != expected:
        differ(f"{where}: ossify.schema_version is {version}; the contract says {expected}")
    # With DuckDB, because pyarrow ignores the minima of floats that are declared to be in IEEE 754
    # total order.
    ranges = duckdb.execute(
        "SELECT row_group_id, column_id, stats_min_value, stats_max_value, stats_null_count FROM "
        "parquet_metadata(?)",
        [str(path)],
    ).fetchall()
    ranges = {(group, column): rest for group, column, *rest in ranges}
    for group in range(metadata.num_row_groups):
        if not metadata.row_group(group).num_rows:
            continue
        faults = {
            "are not compressed with zstd": [],
            "have no page index": [],
            "have no statistics": [],
        }
        without_zstd, without_index, without_statistics = faults.values()
        for number, chunk in enumerate(
            map(metadata.row_group(group).column, range(metadata.num_columns))
        ):
            name = chunk.path_in_schema.split(".")[0]
            if chunk.compression != "ZSTD":
                without_zstd.append(name)
            if not (chunk.has_offset_index and chunk.has_column_index):
                without_index.append(name)
            smallest, largest, nulls = ranges[group, number]
            # A column of nulls has no minimum, and the metadata says that it only has nulls.
            if nulls is None or (nulls < chunk.num_values and None in (smallest, largest)):
                without_statistics.append(name)
        for fault, names in faults.items():
            if names:
                differ(f"{where}: in row group {group} these {fault}: {', '.join(names)}")


def check_shard(where, path, listed_rows, tensor):
    with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as shard:
        schema, rows = (
            shard.schema,
            sum(shard.get_batch(n).num_rows for n in range(shard.num_record_batches)),
        )
    check_names(where, [name for name, _, _ in columns_of(SHARD)], schema.names)
    shape = [tensor["height"], tensor["width"], tensor["channels"]]
    types = {kind: arrow for kind, (arrow, *_) in TYPES.items()} | {
        "tensor": pa.fixed_shape_tensor(pa.uint8(), shape, dim_names=["H", "W", "C"])
    }
    for name, kind, nullable in columns_of(SHARD):
        if name not in schema.names:
            continue
        field = schema.field(name)
        if field.type != types[kind]:
            differ(f"{where}: {name} is {field.type}; the contract says {types[kind]}")
        if field.nullable != nullable:
            differ(
                f"{where}: {name} is {'not nullable' if nullable else 'nullable'}; the contract "
                f"says the opposite"
            )
    if rows != listed_rows:
        differ(f"{where}: {rows} rows; the manifest lists {listed_rows}")


def contract_of(folder, file):
    tables = {
        "images": IMAGES,
        "objects": OBJECTS,
        "issues": ISSUES,
        "classes": CLASSES,
        "fingerprints": FINGERPRINTS,
        "leaks": LEAKS,
    }
    if "predictions" in folder.parts:
        return IMAGE_PREDICTIONS if file.endswith(".images.parquet") else PREDICTIONS
    return tables.get(Path(file).stem)


def check_folder(out, folder, required):
    """Checks the files that the manifest lists, and that the required ones are among them."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        return differ(f"{folder}: no readable manifest.json: {error}")
    listed = {file["path"]: file for file in manifest["files"]}
    for path in required:
        if path not in listed:
            differ(f"{folder}: the manifest does not list {path}")
    for path, entry in listed.items():
        where = (folder / path).relative_to(out)
        try:
            if not (folder / path).exists():
                differ(f"{where}: the manifest lists it, and it is not there")
            elif path.endswith(".parquet") and (
                contract := contract_of(folder.relative_to(out), path)
            ):
                if check_tools(where, folder / path, contract, entry["rows"]):
                    check_file(where, folder / path, contract)
            elif path.endswith(".arrow"):
                check_shard(where, folder / path, entry["rows"], manifest["summary"]["tensor"])
        except Exception as error:
            differ(f"{where}: {error}")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python check_types.py OUT")
    out = Path(sys.argv[1])
    check_folder(
        out,
        out / "tables",
        [f"{name}.parquet" for name in ["images", "objects", "issues", "classes"]],
    )
    if (out / "shards/manifest.json").exists():
        check_folder(
            out, out / "shards", [f"{name}.parquet" for name in ["fingerprints", "leaks", "issues"]]
        )
    for manifest in sorted(out.glob("predictions/*/manifest.json")):
        check_folder(out, manifest.parent, [])
    print(
        "\n".join(differences)
        or f"{out}: names, types and values are the contract's with all four tools"
    )
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
