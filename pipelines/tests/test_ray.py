"""Tests pipelines/ray on a Ray cluster of three nodes, which are local processes."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

# Must be set before importing Ray, which would write a key to the user's home.
os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}

from project import BIN, PIPELINES, RECIPE, Project
from ray.cluster_utils import Cluster

RUN = PIPELINES / "ray/run.py"
STAGES = ["ingest", "resize", "train", "predict", "evaluate"]
SHARES = 4
OBJECT_STORE = {"object_store_memory": 80 << 20}
# Small enough that each share gets a shard.
SMALL = {
    "OSSIFY__TRAIN__EPOCHS": "2",
    "OSSIFY__RESIZE__IMAGES_PER_SHARD": "20",
    "OSSIFY__INGEST__MIN_OBJECTS_PER_CLASS": "4",
}
# The first process that gets here writes once where it runs and its process id, and then hangs.
STAND_STILL = (
    "if mkdir standing; then echo $RAY_RAYLET_PID $$ >standing/new; mv standing/new standing/ids; "
    "exec sleep 600; fi"
)


class Pipeline(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # In /tmp, because the length of a socket's path is limited.
        temporary = tempfile.TemporaryDirectory(
            prefix="ossify-ray-", dir="/tmp", ignore_cleanup_errors=True
        )
        cls.addClassCleanup(temporary.cleanup)
        # Ray always records the running cluster there, and expects the folder to exist.
        Path("/tmp/ray").mkdir(exist_ok=True)
        # Tasks run on the other nodes, because Ray ends if it loses this one.
        cls.cluster = Cluster(
            initialize_head=True,
            head_node_args=OBJECT_STORE | {"num_cpus": 0, "temp_dir": temporary.name},
        )
        cls.addClassCleanup(cls.cluster.shutdown)
        cls.nodes = [cls.cluster.add_node(num_cpus=1, **OBJECT_STORE) for _ in range(2)]
        cls.project = project = Project(**RECIPE | SMALL)
        cls.addClassCleanup(project.close)
        project.draw(200)
        project.copy("dvc/ossify.toml", "ossify.toml")
        for stage in STAGES:
            project.run(
                f"ossify-{stage}",
                "--quiet",
                "--config",
                "ossify.toml",
                "--out",
                "alone",
                "--set",
                "general.threads=1",
            )

    def setUp(self):
        self.out = self.project.root / self.id().rpartition(".")[2]
        self.standing = self.out / "standing/ids"
        self.programs = self.out / "programs"
        self.programs.mkdir(parents=True)
        for stage in STAGES:
            (self.programs / f"ossify-{stage}").symlink_to(BIN / f"ossify-{stage}")

    def wrap(self, stage, script):
        """Runs a script in the test's folder before a stage's $program."""
        wrapper = self.programs / f"ossify-{stage}"
        wrapper.unlink()
        wrapper.write_text(
            f"#!/bin/sh\nprogram={BIN}/{wrapper.name}\nhere=$PWD\ncd {self.out}\n{script}\ncd "
            f'"$here"\nexec "$program" "$@"\n'
        )
        wrapper.chmod(0o755)

    def command(self, *flags):
        flags = (
            "--address",
            self.cluster.address,
            "--bin",
            self.programs,
            "--out",
            self.out / "work",
            *flags,
        )
        return [
            sys.executable,
            RUN,
            "--partitions",
            str(SHARES),
            "--cpus-per-task",
            "1",
            "--config",
            "ossify.toml",
            *flags,
        ]

    def pipeline(self, *flags, code=0):
        return self.project.run(*self.command(*flags), code=code)

    def start(self, *flags):
        """Starts the pipeline in the background; returns the process and a file with its output."""
        said = self.out / "said"
        with open(said, "wb") as file:
            pipeline = subprocess.Popen(
                self.command(*flags),
                cwd=self.project.root,
                env=self.project.environment,
                stdout=file,
                stderr=file,
                # Tests in the background of a shell ignore interrupts, and so would the pipeline.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        self.addCleanup(pipeline.wait)
        self.addCleanup(pipeline.kill)
        return pipeline, said

    def wait(self, condition, what, seconds=180):
        end = time.monotonic() + seconds
        while not condition():
            said = self.out / "said"
            self.assertLess(
                time.monotonic(), end, f"waited in vain for {what}; {said.read_text()[-2000:]}"
            )
            time.sleep(0.1)

    def test_losing_a_node_changes_no_byte_and_a_second_run_recomputes_nothing(self):
        # On its first attempt, a share is cut off in the middle of a shard.
        broken = '(ulimit -f 512; cd "$here"; "$program" "$@"); echo $? >broken'
        self.wrap(
            "resize",
            f'case "$*" in *"--partition 2/{SHARES}"*) if [ ! -e broken ]; then {broken}; fi; '
            f"{STAND_STILL} ;; esac",
        )
        pipeline, said = self.start()
        parts = self.out / f"work/parts/resize/{SHARES}"
        self.wait(
            lambda: self.standing.exists() and list(parts.glob("*/manifest.json")),
            "a share that is done and one that stands still",
        )
        self.assertEqual((self.out / "broken").read_text(), "1\n", "a file was too large")
        raylet, process = map(int, self.standing.read_text().split())
        self.lose_node(raylet)
        self.wait(lambda: pipeline.poll() is not None, "the end")
        self.assertEqual(pipeline.returncode, 0, said.read_text())
        self.assertRegex(
            said.read_text(),
            f"resize 2/{SHARES}: it was lost with its worker or node: .*; attempt 2 of 5 follows "
            f"in 1 s",
        )
        self.assertFalse(Path(f"/proc/{process}").exists(), "the stage of a lost node goes on")
        self.assertEqual(artefacts(self.out / "work"), artefacts(self.project.root / "alone"))

        before = changes(self.out / "work")
        said = self.pipeline()
        for stage in ("ingest", "resize", "predict"):
            self.assertIn(
                f"{stage}: {SHARES}/{SHARES} shares, {SHARES} of them already there", said
            )
            self.assertIn(f"{stage} merge: already there", said)
        for stage in ("train", "evaluate"):
            self.assertIn(f"\n{stage}: already there", said)
        self.assertEqual(changes(self.out / "work"), before)

    def lose_node(self, raylet):
        (node,) = [
            node
            for node in self.nodes
            if raylet in (each.process.pid for each in node.all_processes["raylet"])
        ]
        self.nodes.remove(node)
        self.addCleanup(
            lambda: self.nodes.append(self.cluster.add_node(num_cpus=1, **OBJECT_STORE))
        )
        os.kill(raylet, signal.SIGKILL)
        self.addCleanup(self.cluster.remove_node, node, allow_graceful=False)

    def test_a_gate_that_is_not_met_ends_it_with_3_and_the_sentence(self):
        said = self.pipeline("--set", "ingest.max_findings.coordinate-count=0", code=3)
        self.assertRegex(
            said, "(?m)^error: ingest merge: gate ingest.max_findings.coordinate-count not met: "
        )
        self.assertNotIn("attempt", said)
        self.assertFalse((self.out / "work/parts/resize").exists())

    def test_a_mistake_in_the_configuration_ends_it_with_2_and_is_not_tried_again(self):
        self.wrap("ingest", 'echo "$*" >>calls')
        said = self.pipeline("--set", "train.epoch=3", code=2)
        self.assertRegex(
            said,
            rf"(?m)^error: ingest \d/{SHARES}: --set train.epoch=3: unknown key `train.epoch`; "
            rf"did you mean `train.epochs`\?$",
        )
        self.assertNotIn("attempt", said)
        calls = (self.out / "calls").read_text().splitlines()
        self.assertEqual(len(calls), len(set(calls)))
        self.assertNotIn("--merge", " ".join(calls))

    def test_mistakes_of_the_caller_end_it_with_2_before_anything_runs(self):
        self.assertIn(
            "--bin nowhere has no program ossify-ingest", self.pipeline("--bin", "nowhere", code=2)
        )
        self.assertIn(
            "0 is not a whole number from 1 on", self.pipeline("--partitions", "0", code=2)
        )
        self.assertFalse((self.out / "work").exists())

    def test_what_fails_is_tried_again_with_the_threads_that_it_was_given(self):
        failing = (
            f'case "$*" in *"--partition 2/{SHARES}"*) if mkdir failed; then echo "error: disk" '
            f">&2; exit 1; fi ;; esac"
        )
        self.wrap("ingest", f'echo "$*" >>calls\n{failing}')
        said = self.pipeline("--until", "ingest")
        self.assertRegex(
            said, rf"ingest 2/{SHARES}: it ended with 1 on \S+: disk; attempt 2 of 5 follows in 1 s"
        )
        self.assertIn("\ningest merge: done", said)
        calls = (self.out / "calls").read_text().splitlines()
        self.assertEqual(len(calls), SHARES + 1 + 1)
        self.assertTrue(all("--set=general.threads=1" in call for call in calls), calls)
        self.assertFalse((self.out / "work/parts/resize").exists())

    def test_what_keeps_failing_ends_it_with_1(self):
        self.wrap("ingest", 'case "$*" in *--merge*) kill -KILL $$ ;; esac')
        said = self.pipeline("--retries", "1", code=1)
        self.assertRegex(
            said,
            r"(?m)^error: ingest merge failed 2 times: it was ended by signal 9 on \S+: it said "
            r"nothing$",
        )

    def test_interrupted_it_leaves_no_process_and_the_same_command_goes_on(self):
        self.wrap("ingest", f'case "$*" in *"--partition 2/{SHARES}"*) {STAND_STILL} ;; esac')
        pipeline, said = self.start("--until", "ingest")
        self.wait(self.standing.exists, "a share that stands still")
        pipeline.send_signal(signal.SIGINT)
        self.wait(lambda: pipeline.poll() is not None, "the end")
        self.assertEqual(pipeline.returncode, 130, said.read_text())
        self.assertNotIn("Traceback", said.read_text())
        process = Path("/proc", self.standing.read_text().split()[1])
        self.wait(lambda: not process.exists(), "the stage to end")
        self.assertIn("\ningest merge: done", self.pipeline("--until", "ingest"))

    def test_a_cluster_with_a_gpu_trains_and_predicts_on_it(self):
        node = self.cluster.add_node(num_cpus=1, num_gpus=1, **OBJECT_STORE)
        self.addCleanup(self.cluster.remove_node, node)
        self.cluster.wait_for_nodes()
        # There is no real GPU, so it computes on processors.
        for stage in ("train", "predict"):
            without_device = (
                'for each do shift; case "$each" in --device | cuda:0) ;; *) set -- "$@" "$each" '
                ";; esac; done"
            )
            self.wrap(stage, f'echo "$CUDA_VISIBLE_DEVICES $*" >>{stage}\n{without_device}')
        self.pipeline("--until", "predict")
        called = {
            stage: (self.out / stage).read_text().splitlines() for stage in ("train", "predict")
        }
        self.assertEqual([len(called["train"]), len(called["predict"])], [1, SHARES + 1])
        computing = called["train"] + [call for call in called["predict"] if "--merge" not in call]
        self.assertTrue(all(call.startswith("0 ") for call in computing), called)
        self.assertTrue(
            all("--device cuda:0" in call for call in computing + called["predict"]), called
        )
        self.assertEqual(
            artefacts(self.out / "work", "predictions"),
            artefacts(self.project.root / "alone", "predictions"),
        )


def artefacts(out, *folders):
    """Digests and manifests of published outputs, without times.

    A report's fingerprint depends on the times of training.
    """
    folders = folders or ("tables", "shards", "predictions", "reports")
    files = [
        path
        for folder in folders
        for path in (out / folder).rglob("*")
        if path.is_file() and path.name != ".lock"
    ]
    assert len(files) > 2, files
    found = {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in [*files, *out.glob("runs/*/model.safetensors")]
    }
    manifests = [path for path in files if path.name == "manifest.json"]
    timed = lambda path: (
        ("created_at", "fingerprint") if "reports" in path.parts else ("created_at",)
    )
    return found | {
        str(path.relative_to(out)): json.loads(path.read_text()) | dict.fromkeys(timed(path))
        for path in manifests
    }


def changes(out):
    """Modification time of each file, except locks and `latest`, which every run writes."""
    return {
        path: path.stat().st_mtime_ns
        for path in out.rglob("*")
        if path.is_file() and path.name not in (".lock", "latest")
    }


if __name__ == "__main__":
    unittest.main()
