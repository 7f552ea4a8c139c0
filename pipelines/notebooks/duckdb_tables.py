"""Queries the label tables in SQL: python duckdb_tables.py [OUT]"""

# %%
import sys
from pathlib import Path

import duckdb

# In a notebook, argv contains the kernel's flags; set the work folder here.
argument = sys.argv[1] if len(sys.argv) > 1 else "-"
OUT = Path("data/work/demo" if argument.startswith("-") else argument)

db = duckdb.connect()
for table in ["images", "objects", "issues", "classes"]:
    db.read_parquet(str(OUT / f"tables/{table}.parquet")).create_view(table)


def show(question, sql):
    print(question)
    db.sql(sql).show(max_rows=20)


# %% Does the ledger match the tables? DuckDB also reads the manifest.
db.read_json(str(OUT / "tables/manifest.json")).create_view("manifest")
# Splits are keys in the JSON, so each must be named.
db.sql("""
    CREATE VIEW ledger AS
    SELECT split,
           CAST(entry->>'lines' AS BIGINT) AS lines,
           CAST(entry->>'boxes' AS BIGINT) AS boxes,
           CAST(entry->>'polygons' AS BIGINT) AS polygons,
           CAST(entry->>'quarantined' AS BIGINT) AS quarantined
    FROM (SELECT unnest(['train', 'valid', 'test']) AS split,
                 to_json(summary)->'ledger'->split AS entry
          FROM manifest)
    WHERE entry IS NOT NULL
""")
compared = db.sql("""
    SELECT l.*,
           COUNT(*) FILTER (o.shape = 'box') AS boxes_counted,
           COUNT(*) FILTER (o.shape = 'polygon') AS polygons_counted
    FROM ledger AS l LEFT JOIN objects AS o USING (split) GROUP BY ALL ORDER BY split
""")
print("The ledger and the tables")
compared.show()
assert all(
    row[1] == row[2] + row[3] + row[4] and row[2:4] == row[5:7] for row in compared.fetchall()
)

# %%
show(
    "Class balance of each split",
    """
    PIVOT objects ON split USING COUNT(*) GROUP BY class_id, class_name ORDER BY class_id
""",
)

# %%
show(
    "What ingest found, by rule",
    """
    SELECT severity, rule, action, COUNT(*) AS findings, COUNT(DISTINCT path) AS files,
    any_value(message) AS example FROM issues GROUP BY ALL ORDER BY findings DESC, rule LIMIT 10
""",
)

# %%
show(
    "Images with the most findings",
    """
    SELECT image_id, status, issue_count, object_count
    FROM images WHERE issue_count > 0 ORDER BY issue_count DESC, image_id LIMIT 5
""",
)

# %% Radiologists think in pixels rather than shares of the image; the join provides them.
show(
    "The smallest objects, in pixels of the source",
    """
    SELECT class_name, shape, round((xmax - xmin) * width, 1) AS width_px, round((ymax - ymin) *
    height, 1) AS height_px, image_id FROM objects JOIN images USING (image_id) ORDER BY area LIMIT
    5
""",
)

# %% Polygons are lists of [x, y]. This computes the area with the shoelace formula in SQL. The
# formula counts an area twice if the outline winds around it twice; the column is at most the box.
areas = db.sql("""
    SELECT image_id, line, len(vertices) AS vertex_count, area,
           least((xmax - xmin) * (ymax - ymin), abs(list_sum([
               vertices[i][1] * vertices[i % len(vertices) + 1][2]
                   - vertices[i % len(vertices) + 1][1] * vertices[i][2]
               FOR i IN range(1, len(vertices) + 1)])) / 2) AS shoelace
    FROM objects WHERE shape = 'polygon'
""")
db.register("areas", areas)
show(
    "Vertices of polygons, and the difference of their area from the column",
    """
    SELECT COUNT(*) AS polygons, MIN(vertex_count) AS fewest, MEDIAN(vertex_count) AS median,
    MAX(vertex_count) AS most,
           MAX(abs(area - shoelace)) AS largest_difference
    FROM areas
""",
)
assert not db.sql("FROM areas WHERE vertex_count IS NULL OR abs(area - shoelace) > 1e-4").fetchall()

# %%
show(
    "Source images that were exported several times, and their classes",
    """
    SELECT source_stem, COUNT(DISTINCT image_id) AS images, list_sort(list(DISTINCT i.split)) AS
    splits,
           list(DISTINCT class_name) FILTER (class_name IS NOT NULL) AS classes
    FROM images AS i LEFT JOIN objects USING (image_id) GROUP BY source_stem HAVING images > 1 ORDER
    BY images DESC, source_stem LIMIT 5
""",
)
