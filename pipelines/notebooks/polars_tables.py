"""Queries the label tables with polars: python polars_tables.py [OUT]"""

# %%
import json
import sys
from pathlib import Path

import polars as pl

pl.Config.set_tbl_hide_dataframe_shape(True).set_tbl_rows(20).set_tbl_cols(12).set_fmt_str_lengths(
    60
).set_tbl_width_chars(160)

# In a notebook, argv contains the kernel's flags; set the work folder here.
argument = sys.argv[1] if len(sys.argv) > 1 else "-"
OUT = Path("data/work/demo" if argument.startswith("-") else argument)

# Lazy scans: a query only reads the columns and row groups that it needs.
images, objects, issues = (
    pl.scan_parquet(OUT / f"tables/{name}.parquet") for name in ["images", "objects", "issues"]
)


def show(question, query):
    print(question, query.collect(), sep="\n")


# %% Does the ledger match the tables?
summary = json.loads((OUT / "tables/manifest.json").read_text())["summary"]
ledger = pl.DataFrame([{"split": split, **counts} for split, counts in summary["ledger"].items()])
counted = objects.group_by("split").agg(
    boxes_counted=(pl.col("shape") == "box").sum(),
    polygons_counted=(pl.col("shape") == "polygon").sum(),
    filtered_counted=pl.col("class_index").is_null().sum(),
)
compared = ledger.join(counted.collect(), on="split", how="left").fill_null(0)
print("The ledger and the tables", compared, sep="\n")
assert compared.select(
    (
        (pl.col("lines") == pl.col("boxes") + pl.col("polygons") + pl.col("quarantined"))
        & (pl.col("boxes") == pl.col("boxes_counted"))
        & (pl.col("polygons") == pl.col("polygons_counted"))
        & (pl.col("rare_filtered") == pl.col("filtered_counted"))
    ).all()
).item()

# %% A window function computes the share of each class without a second query and a join.
balance = objects.group_by("split", "class_name").len("objects")
show(
    "Class balance of each split",
    balance.with_columns(
        share=(pl.col("objects") / pl.col("objects").sum().over("split")).round(3),
    ).sort("split", "objects", "class_name", descending=[False, True, False]),
)

# %%
show(
    "What ingest found, by rule",
    issues.group_by("rule", "severity", "action")
    .agg(
        findings=pl.len(),
        files=pl.col("path").n_unique(),
    )
    .sort("findings", "rule", descending=[True, False]),
)

# %% A thousandth of the image is about 7 x 7 pixels of a 224 x 224 tensor: little to learn from.
show(
    "Tiny boxes, with their size in a 224 x 224 tensor",
    objects.filter(pl.col("area") < 0.001)
    .select(
        "class_name",
        width_px=((pl.col("xmax") - pl.col("xmin")) * 224).round(1),
        height_px=((pl.col("ymax") - pl.col("ymin")) * 224).round(1),
        image_id="image_id",
    )
    .sort("width_px")
    .head(10),
)

# %% Polygons: List(Array(Float32, 2)), exploded to one row per vertex. The next vertex is a shift
# within the object. The formula counts an area twice if the outline winds around it twice; the
# column is at most the box.
x, y = (
    pl.col("vertices").arr.get(0).cast(pl.Float64),
    pl.col("vertices").arr.get(1).cast(pl.Float64),
)
after = lambda column: column.shift(-1).fill_null(column.first())
areas = (
    objects.filter(pl.col("shape") == "polygon")
    .select(
        "image_id",
        "line",
        "area",
        "vertices",
        box=(pl.col("xmax") - pl.col("xmin")) * (pl.col("ymax") - pl.col("ymin")),
    )
    .explode("vertices")
    .group_by(
        "image_id",
        "line",
    )
    .agg(
        vertex_count=pl.len(),
        area=pl.col("area").first(),
        shoelace=pl.min_horizontal(
            (x * after(y) - after(x) * y).sum().abs() / 2, pl.col("box").first()
        ),
    )
    .with_columns(difference=(pl.col("shoelace") - pl.col("area")).abs())
    .collect()
)
print(
    "Polygons with the most vertices",
    areas.sort("vertex_count", "image_id", descending=[True, False]).head(5),
    sep="\n",
)
assert areas.select((pl.col("difference") <= 1e-4).all()).item()

# %% A patient's picture in two splits is a leak that no score reveals. Equal stems are a hint, not
# proof.
show(
    "Source stems in several splits, and their classes",
    images.join(objects, on="image_id", how="left")
    .group_by("source_stem")
    .agg(
        images=pl.col("image_id").n_unique(),
        splits=pl.col("split").unique().sort(),
        classes=pl.col("class_name").drop_nulls().unique().sort(),
    )
    .filter(pl.col("splits").list.len() > 1)
    .sort("images", "source_stem", descending=[True, False])
    .head(5),
)
