"""Measures what shares cost and gain: scale.py RELEASE_FOLDER LABELS IMAGES OUT [RUNS]

LABELS is a dataset for ingest and IMAGES one for resize, both drawn by `ossify-phantom`. Each stage
runs undivided, and in shares with two workers of one thread each, whose parts are merged. Two
workers are compared with one worker whose share is the whole, so the work of a merge, such as the
search for leaks, is in neither. Every merged output is compared byte for byte with the undivided
one. A worker is a whole process. Reports medians of RUNS (3); writes OUT/scale.json."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

release, labels, images = (Path(argument).absolute() for argument in sys.argv[1:4])
out = Path(sys.argv[4]).absolute()
runs = int(sys.argv[5]) if len(sys.argv) > 5 else 3
SHARES = [1, 2, 16]
peak_mib: dict[str, int] = {}


def run(
    stage: str, dataset: Path, work: Path, *more: str, threads: int = 1, what: str = ""
) -> float:
    """Times a process of the stage, in seconds."""
    command = [
        release / f"ossify-{stage}",
        "--dataset",
        dataset,
        "--out",
        work,
        "--quiet",
        "--set",
        f"general.threads={threads}",
        *more,
    ]
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{' '.join(map(str, command))} failed")
    peak_mib[what] = max(peak_mib.get(what, 0), usage.ru_maxrss // 1024)
    return time.perf_counter() - start


def published(folder: Path) -> dict[str, bytes | dict]:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("created_at")
    return {"manifest": manifest} | {file["path"]: file["xxh3"] for file in manifest["files"]}


def verify(one: Path, other: Path) -> None:
    if published(one) != published(other):
        sys.exit(f"{one} and {other} differ")
    for file in published(one)["manifest"]["files"]:
        if (
            subprocess.run(
                ["cmp", "--quiet", one / file["path"], other / file["path"]], check=False
            ).returncode
            != 0
        ):
            sys.exit(f"{one / file['path']} and {other / file['path']} differ")


def measure(stage: str, folder: str, dataset: Path, count: int) -> dict:
    seconds: dict[str, list[float]] = {}

    def note(what: str, value: float) -> None:
        seconds.setdefault(what, []).append(value)

    whole = out / f"{stage}-whole"
    for _ in range(runs):
        for threads in (1, 2):
            note(
                f"whole, {threads} thread{'s' if threads > 1 else ''}",
                run(stage, dataset, whole, "--force", threads=threads, what=f"{stage} whole"),
            )
        for shares in SHARES:
            work = out / f"{stage}-{shares}"
            if stage == "resize" and not (work / "tables").exists():
                shutil.copytree(whole / "tables", work / "tables")

            def share(number: int, work: Path = work, shares: int = shares) -> float:
                return run(
                    stage,
                    dataset,
                    work,
                    "--force",
                    "--partition",
                    f"{number}/{shares}",
                    what=f"{stage} part of {shares}",
                )

            start = time.perf_counter()
            with ThreadPoolExecutor(2) as workers:
                each = statistics.mean(workers.map(share, range(1, shares + 1)))
            total = time.perf_counter() - start
            if shares == 1:
                note("1 share, one worker", total)
            else:
                note(f"{shares} shares, each", each)
                note(f"{shares} shares, two workers", total)
            note(
                f"{shares} share{'s' if shares > 1 else ''}, merge",
                run(
                    stage,
                    dataset,
                    work,
                    "--force",
                    "--merge",
                    str(shares),
                    threads=2,
                    what=f"{stage} merge of {shares}",
                ),
            )
            verify(whole / folder, work / folder)
    medians = {what: round(statistics.median(values), 3) for what, values in seconds.items()}
    one, two = medians["1 share, one worker"], medians["2 shares, two workers"]
    return {
        "stage": stage,
        "count": count,
        "secs": medians,
        "two_workers_to_one": round(one / two, 2),
    }


def images_of(tables: Path) -> int:
    return next(
        file["rows"]
        for file in json.loads((tables / "manifest.json").read_text())["files"]
        if file["path"] == "images.parquet"
    )


run("ingest", labels, out / "ingest-whole", threads=2)
run("ingest", images, out / "resize-whole", threads=2)
found = [measure("ingest", "tables", labels, images_of(out / "ingest-whole/tables"))]
found.append(measure("resize", "shards", images, images_of(out / "resize-whole/tables")))
for stage in found:
    print(
        f"{stage['stage']}: {stage['count']} images, two workers to one "
        f"{stage['two_workers_to_one']}"
    )
    for what, secs in stage["secs"].items():
        print(f"  {what:28} {secs:9.3f} s  {secs / stage['count'] * 1e6:9.1f} s a million")
print("peak MiB:", json.dumps({what: mib for what, mib in peak_mib.items() if what}))
(out / "scale.json").write_text(
    json.dumps({"stages": found, "peak_mib": peak_mib}, indent=1) + "\n"
)
