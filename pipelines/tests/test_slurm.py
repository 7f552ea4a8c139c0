"""Tests pipelines/slurm on a cluster of one node in a temporary folder, if Slurm is installed."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from project import PIPELINES, RECIPE, Project, artefacts

SHARES = 3
# Slurm's daemons are only on an administrator's PATH.
DAEMONS_PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])
MISSING = [
    name
    for name in ("munged", "slurmctld", "slurmd", "sbatch")
    if not shutil.which(name, path=DAEMONS_PATH)
]
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# Slurm waits for this long before it starts a job again; its own default is two minutes.
AuthInfo=socket={root}/munge.socket,cred_expire=5
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
# So that a job comes back only where it asks for that.
JobRequeue=0
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_min_interval=0
GresTypes=gpu
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 Gres=gpu:1
PartitionName=usual Nodes=node Default=YES PriorityTier=1
PartitionName=urgent Nodes=node PriorityTier=2
"""


class Cluster:
    """Slurm with one node, this machine, configured with two processors and a GPU."""

    def __init__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="ossify-slurm-")
        self.root = Path(self.temporary.name).resolve()
        self.environment = os.environ | {
            "PATH": DAEMONS_PATH,
            "SLURM_CONF": str(self.root / "slurm.conf"),
        }
        for name in ("state", "spool"):
            (self.root / name).mkdir()
        (self.root / "munge.key").write_bytes(os.urandom(1024))
        (self.root / "munge.key").chmod(0o400)
        user = subprocess.run(
            ["id", "--user", "--name"], capture_output=True, encoding="utf-8", check=True
        ).stdout.strip()
        host = socket.gethostname().split(".")[0]
        (self.root / "slurm.conf").write_text(
            CONFIGURATION.format(root=self.root, user=user, host=host, ports=free_ports(2))
        )
        (self.root / "gres.conf").write_text("NodeName=node Name=gpu File=/dev/null\n")
        self.daemons = []

    def start(self):
        files = {
            "key-file": "munge.key",
            "socket": "munge.socket",
            "pid-file": "munge.pid",
            "seed-file": "munge.seed",
        }
        # Its socket is only for this user, which munged rejects without --force.
        self.daemon(
            "munged",
            "--foreground",
            "--force",
            *(f"--{option}={self.root / file}" for option, file in files.items()),
        )
        self.wait(lambda: (self.root / "munge.socket").exists(), "munged to listen")
        self.daemon("slurmctld", "-D", "-i")
        self.daemon("slurmd", "-D", "-N", "node")
        self.wait(
            lambda: "idle" in self.run("sinfo", "--noheader", "--format=%T", code=None),
            "the node to come up",
        )

    def daemon(self, *command):
        with open(self.root / f"{command[0]}.log", "wb") as log:
            self.daemons.append(
                subprocess.Popen(
                    command, cwd=self.root, env=self.environment, stdout=log, stderr=log
                )
            )

    def wait(self, condition, what, seconds=120):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                logs = "".join(
                    f"\n{path.name}: {path.read_text()[-1500:]}" for path in self.root.glob("*.log")
                )
                raise AssertionError(f"waited {seconds} s in vain for {what}{logs}")
            time.sleep(0.2)

    def run(self, *command, code=0):
        done = subprocess.run(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        if code is not None and done.returncode != code:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}")
        return done.stdout

    def states(self):
        """States of jobs by name; the names of array tasks end in their index."""
        lines = self.run(
            "squeue", "--states=all", "--noheader", "--array", "--format=%j %K %T"
        ).splitlines()
        return {
            name if task == "N/A" else f"{name}-{task}": state
            for name, task, state in map(str.split, lines)
        }

    def finish(self):
        self.wait(
            lambda: not self.run("squeue", "--noheader"), f"the jobs to end: {self.run('squeue')}"
        )
        return self.states()

    def close(self):
        self.run("scancel", "--full", f"--user={os.getuid()}", code=None)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            daemon.wait()
        self.temporary.cleanup()


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@unittest.skipIf(
    MISSING,
    f"Slurm is not installed, {', '.join(MISSING)} missing; on Debian: apt install slurm-wlm munge",
)
class Chain(unittest.TestCase):
    """Each test has its own cluster; all share a dataset and the outputs of a single process."""

    @classmethod
    def setUpClass(cls):
        cls.project = project = Project(
            **RECIPE | {"OSSIFY__TRAIN__EPOCHS": "12", "OSSIFY__GENERAL__THREADS": "1"}
        )
        cls.addClassCleanup(project.close)
        project.draw(120)
        project.copy("dvc/ossify.toml", "ossify.toml")
        for stage in ("ingest", "resize", "train", "predict", "evaluate"):
            project.run(f"ossify-{stage}", "--quiet", "--config", "ossify.toml", "--out", "alone")

    def setUp(self):
        self.cluster = Cluster()
        self.addCleanup(self.cluster.close)
        self.cluster.start()

    def submit(self, *flags, code=0, **environment):
        command = (
            PIPELINES / "slurm/submit.sh",
            str(SHARES),
            "--quiet",
            "--config",
            "ossify.toml",
            *flags,
        )
        return self.project.run(
            *command,
            code=code,
            CPUS="1",
            SLURM_CONF=self.cluster.environment["SLURM_CONF"],
            **environment,
        )

    def log(self, name):
        (path,) = self.project.root.glob(f"logs/ossify-{name}.log")
        return path.read_text()

    def test_the_chain_gives_the_bytes_of_one_process_whatever_befalls_its_tasks(self):
        root, out = self.project.root, self.project.root / "chain"
        # On its first attempt, share 2 is cut off in the middle of a shard, and hangs.
        standing = root / "standing"
        path = self.project.wrap(
            self,
            "resize",
            f"""case "$*" in *"--partition 2/{SHARES}"*)
                if [ ! -e {standing} ]; then
                    (ulimit -f 512; "$program" "$@"); echo $? >{standing}; sleep 600
                fi ;;
            esac""",
        )
        # On its first attempt, training hangs after an epoch, so that it can be pre-empted.
        begun = root / "begun"
        self.project.wrap(
            self,
            "train",
            f"""if [ ! -e {begun} ]; then
                "$program" "$@" &
                until ls {out}/runs/*/metrics.jsonl >/dev/null 2>&1; do sleep 0.01; done
                kill -STOP $!; touch {begun}; sleep 600
            fi""",
        )
        submitted = self.submit("--out", "chain", PATH=path, GPU="train predict")
        ids = {name: job for job, name in map(str.split, submitted.splitlines())}
        asked = dict(
            map(str.split, self.cluster.run("squeue", "--noheader", "--format=%j %b").splitlines())
        )
        self.assertEqual(
            {name for name in asked if asked[name] == "gres:gpu:1"},
            {"ossify-train", "ossify-predict"},
            asked,
        )

        self.cluster.wait(
            lambda: standing.exists() and standing.read_text(), "share 2 of resize to break off"
        )
        self.assertEqual(standing.read_text(), "1\n", "a file was too large")
        self.assertFalse((out / f"parts/resize/{SHARES}/2/manifest.json").exists())
        self.cluster.run("scancel", "--signal=KILL", f"{ids['ossify-resize']}_2.0")

        # Training loses its node to a job of higher priority.
        self.cluster.wait(begun.exists, "the first epoch")
        self.cluster.run(
            "sbatch",
            "--partition=urgent",
            "--exclusive",
            "--output=/dev/null",
            "--job-name=urgent",
            "--wrap=sleep 1",
        )
        states = self.cluster.finish()

        self.assertEqual(set(states.values()), {"COMPLETED"}, states)
        self.assertEqual(len(states), 3 * SHARES + 5 + 1)
        self.assertIn(
            "ossify-resize ended with 137; attempt 2 of 3 follows", self.log("resize-*_2")
        )
        restarts = re.search(
            r"Restarts=(\d+)", self.cluster.run("scontrol", "show", "job", ids["ossify-train"])
        )
        self.assertEqual(restarts[1], "1")
        self.assertIn("predictions/", " ".join(artefacts(out)))
        self.assertEqual(artefacts(out), artefacts(root / "alone"))

    def test_a_mistake_in_the_configuration_cancels_what_follows_and_says_why(self):
        self.submit("--out", "mistaken", "--set", "resize.no_such_key=1")
        states = self.cluster.finish()
        self.assertEqual({states[f"ossify-ingest-{share}"] for share in (1, 2)}, {"FAILED"})
        behind = {
            name: state
            for name, state in states.items()
            if not name.startswith("ossify-ingest-") or name.endswith("merge")
        }
        self.assertEqual(set(behind.values()), {"CANCELLED"}, states)
        said = self.log("ingest-*_1")
        self.assertIn("no_such_key", said)
        self.assertIn(
            "ossify-ingest ended with 2: the configuration or the command is wrong, see above", said
        )
        self.assertNotIn("attempt", said)

    def test_a_gate_that_is_not_met_cancels_what_follows_and_says_why(self):
        self.submit("--out", "gated", "--set", "ingest.max_findings.coordinate-count=0")
        states = self.cluster.finish()
        self.assertEqual(states["ossify-ingest-merge"], "FAILED")
        self.assertEqual(
            {state for name, state in states.items() if "ingest" not in name}, {"CANCELLED"}, states
        )
        said = self.log("ingest-merge-*")
        self.assertIn("gate ingest.max_findings.coordinate-count not met", said)
        self.assertIn(
            "ossify-ingest ended with 3: a gate of the configuration was not met, see above", said
        )

    def test_a_program_that_keeps_failing_ends_the_chain_after_its_retries(self):
        path = self.project.wrap(self, "ingest", 'case "$*" in *--merge*) exit 1 ;; esac')
        self.submit("--out", "failing", PATH=path, RETRIES="1")
        states = self.cluster.finish()
        self.assertEqual(states["ossify-ingest-merge"], "FAILED")
        self.assertEqual(states["ossify-evaluate"], "CANCELLED")
        self.assertIn(
            "ossify-ingest ended with 1: it failed 2 times, see above", self.log("ingest-merge-*")
        )

    def test_where_a_stage_cannot_be_submitted_the_others_are_taken_back(self):
        self.cluster.run("scontrol", "update", "NodeName=node", "State=DRAIN", "Reason=test")
        self.cluster.run("scontrol", "update", "NodeName=node", "Gres=gpu:0")
        said = self.submit("--out", "unsubmitted", code=1, GPU="train")
        self.assertIn(
            "error: a stage could not be submitted; the ones before it are cancelled", said
        )
        states = self.cluster.finish()
        # Slurm keeps a record of what it refused.
        self.assertEqual(states.pop("ossify-train"), "FAILED")
        self.assertIn("ossify-resize-merge", states)
        self.assertEqual(set(states.values()), {"CANCELLED"}, states)


if __name__ == "__main__":
    unittest.main()
