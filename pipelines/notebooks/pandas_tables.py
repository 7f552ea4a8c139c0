"""Queries the label tables with pandas: python pandas_tables.py [OUT]"""

# %%
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

pd.set_option("display.width", 160, "display.max_columns", 20)

# In a notebook, argv contains the kernel's flags; set the work folder here.
argument = sys.argv[1] if len(sys.argv) > 1 else "-"
OUT = Path("data/work/demo" if argument.startswith("-") else argument)


def table(name):
    # Without nullable types, a null turns an integer column into floats: class_index, line, column.
    return pd.read_parquet(OUT / f"tables/{name}.parquet", dtype_backend="numpy_nullable")


images, objects, issues, classes = (
    table(name) for name in ["images", "objects", "issues", "classes"]
)

# %% Does the ledger match the tables?
summary = json.loads((OUT / "tables/manifest.json").read_text())["summary"]
ledger = pd.DataFrame(summary["ledger"]).T.sort_index()
counted = pd.crosstab(objects["split"], objects["shape"]).reindex(
    index=ledger.index, columns=["box", "polygon"], fill_value=0
)
print(ledger.join(counted.add_suffix("_counted")), end="\n\n")
assert (ledger["lines"] == ledger["boxes"] + ledger["polygons"] + ledger["quarantined"]).all()
assert (ledger[["boxes", "polygons"]].to_numpy() == counted.to_numpy()).all()
filtered = (
    objects["class_index"]
    .isna()
    .groupby(objects["split"])
    .sum()
    .reindex(ledger.index, fill_value=0)
)
assert (filtered == ledger["rare_filtered"]).all()

# %% Class balance: the share of each class within its split. Columns should be similar.
balance = pd.crosstab(objects["class_name"], objects["split"], normalize="columns")
print((balance * 100).round(1).add_suffix(", %"), end="\n\n")

# %% The class table counts the same objects.
recount = pd.crosstab(objects["class_id"], objects["split"])
for split in recount:
    expected = classes.set_index("class_id")[f"{split}_objects"]
    assert (recount[split].reindex(expected.index, fill_value=0) == expected).all(), split

# %% Findings by rule and action.
print(
    issues.groupby(["severity", "rule"]).agg(
        findings=("path", "size"), files=("path", "nunique"), actions=("action", "unique")
    ),
    end="\n\n",
)

# %% Images with the most findings, and their rules. Findings name the label file or the image.
worst = images.nlargest(5, "issue_count")[["image_id", "label_path", "status", "issue_count"]]
found = issues.groupby("path")["rule"].agg(", ".join)
worst["rules"] = worst["label_path"].map(found).fillna(worst["image_id"].map(found))
print(worst.drop(columns="label_path").to_string(index=False), end="\n\n")

# %% Images with several objects, and of how many classes.
per_image = objects.groupby("image_id").agg(
    objects=("line", "size"), classes=("class_name", "nunique")
)
print(per_image.value_counts().rename("images").to_frame(), end="\n\n")
pd.testing.assert_series_equal(
    images.set_index("image_id")["object_count"].astype("int64").sort_index(),
    per_image["objects"].reindex(images["image_id"], fill_value=0).astype("int64").sort_index(),
    check_names=False,
)

# %% Polygons: a value of `vertices` is an array of arrays; stacked, its shape is (vertices, 2).
polygons = objects[objects["shape"] == "polygon"].copy()
polygons["vertices"] = polygons["vertices"].map(np.stack)


def shoelace(vertices):
    x, y = vertices.astype(np.float64).T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


polygons["vertex_count"] = polygons["vertices"].map(len)
# The formula counts an area twice if the outline winds around it twice; the column is at most the
# box.
box = (polygons["xmax"] - polygons["xmin"]) * (polygons["ymax"] - polygons["ymin"])
polygons["difference"] = (
    polygons["vertices"].map(shoelace).clip(upper=box) - polygons["area"]
).abs()
print(
    polygons[["vertex_count", "area", "difference"]]
    .astype(float)
    .describe()
    .loc[["count", "min", "50%", "max"]]
)
assert (polygons["difference"] <= 1e-4).all()
