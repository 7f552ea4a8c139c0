"""A repository with a drawn dataset in a temporary folder, to test the files that users copy."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PIPELINES = Path(__file__).resolve().parent.parent
BIN = Path(os.environ["OSSIFY_BIN"]).resolve()
# A small recipe; the faults that the phantom plants must not fail the run.
RECIPE = {
    "OSSIFY__INGEST__MAX_QUARANTINED_SHARE": "1",
    "OSSIFY__TRAIN__EPOCHS": "16",
    "OSSIFY__TRAIN__MODEL__INPUT_PX": "56",
    "OSSIFY__EVALUATE__OVERLAYS": "0",
}
IDENTITY = {
    f"GIT_{who}_{what}": "test@example.org"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}


def artefacts(out):
    """Bytes of all tables, tensors and weights; manifests and metrics contain times."""
    paths = [
        path for path in out.rglob("*") if path.suffix in (".parquet", ".arrow", ".safetensors")
    ]
    # Parts and checkpoints are by-products.
    kept = [
        path for path in paths if not {"parts", "checkpoints"} & set(path.relative_to(out).parts)
    ]
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept
    }


class Project:
    """Runs commands in the folder, with the programs and Python's environment on the PATH."""

    def __init__(self, **environment):
        self.temporary = tempfile.TemporaryDirectory(prefix="ossify-pipelines-")
        self.root = Path(self.temporary.name).resolve()
        python = Path(os.environ["OSSIFY_PYTHON"]).absolute().parent
        path = os.pathsep.join([str(BIN), str(python), os.environ["PATH"]])
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GIT_", "OSSIFY__"))
        }
        self.environment = (
            inherited
            | {"PATH": path, "GIT_CONFIG_GLOBAL": os.devnull, "DVC_NO_ANALYTICS": "1"}
            | IDENTITY
            | environment
        )
        self.git("init", "--quiet", "--initial-branch", "main")

    def draw(self, images):
        self.run("ossify-phantom", "--quiet", "--dataset", "data/dataset", "--images", str(images))

    def run(self, *command, code=0, **environment):
        """Runs a command, checks its exit code and returns standard output and error together."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        if code is not None and done.returncode != code:
            raise AssertionError(
                f"{' '.join(map(str, command))} ended with {done.returncode}, not "
                f"{code}:\n...{done.stdout[-2000:]}"
            )
        return done.stdout

    def wrap(self, test, stage, script):
        """Runs a script before a stage's $program in this test; returns a PATH with the wrapper."""
        folder = self.root / "wrapped"
        if not folder.exists():
            folder.mkdir()
            test.addCleanup(shutil.rmtree, folder)
        wrapper = folder / f"ossify-{stage}"
        wrapper.write_text(
            f'#!/bin/sh\nprogram={BIN}/{wrapper.name}\n{script}\nexec "$program" "$@"\n'
        )
        wrapper.chmod(0o755)
        return os.pathsep.join([str(folder), self.environment["PATH"]])

    def git(self, *arguments):
        return self.run("git", *arguments)

    def commit(self, message="change"):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def copy(self, source, target):
        target = self.root / target
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(PIPELINES / source, target))

    def labels(self, split):
        """Lines of each label file of a split that is neither empty nor faulty."""
        dataset = self.root / "data/dataset"
        faulty = {
            Path(fault["path"]).stem
            for fault in json.loads((dataset / "planted.json").read_text())["faults"]
        }
        files = sorted((dataset / split / "labels").glob("*.txt"))
        return {
            path: lines
            for path in files
            if path.stem not in faulty and (lines := path.read_bytes().splitlines())
        }

    def close(self):
        self.temporary.cleanup()
