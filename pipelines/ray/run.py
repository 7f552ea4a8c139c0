"""Runs the stages on a Ray cluster; stages that can be divided run as many tasks at once.

    python pipelines/ray/run.py --partitions 64 --config conf/mine.toml \\
        --dataset /shared/dataset --out /shared/work

Run it on a node of the cluster, in a folder that exists on all nodes, like the dataset and the work
folder. Tasks that fail or lose their node are retried after a pause; if a stage ends with exit code
2 or 3, everything stops. Running the same command again resumes, because stages recognise existing
outputs.

Exit codes are ossify's: 0 success, 1 failed, 2 wrong usage or configuration, 3 a gate was not met.
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.exceptions import RayError

STAGES = ["ingest", "resize", "train", "predict", "evaluate"]
DIVIDED = {"ingest", "resize", "predict"}
USES_GPU = {"train", "predict"}
FAILED, USAGE, GATE, INTERRUPTED = 1, 2, 3, 130
LONGEST_PAUSE_SECS = 60.0
SECS_BETWEEN_LINES = 5.0
STOPPING_SECS = 30.0


class Stop(Exception):
    """Ends the pipeline with an exit code and a message."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Ended:
    """How a stage's process ended."""

    code: int
    words: str
    is_current: bool = False


@ray.remote(max_retries=0, scheduling_strategy="SPREAD")
def run_stage(
    command: list[str], folder: str, settings: dict[str, str], is_streamed: bool
) -> Ended:
    """Runs a stage on the node to which Ray assigned the task.

    If `is_streamed`, its output is forwarded to the caller's terminal through Ray.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("OSSIFY__")
    } | settings
    node, raylet = socket.gethostname(), os.getppid()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=out,
                stderr=None if is_streamed else errors,
            )
        except OSError as error:
            return Ended(
                FAILED,
                f"{command[0]} does not start on {node}: {error}; install ossify on every node, "
                f"or name its folder with --bin",
            )
        try:
            while process.poll() is None:
                # Ray lost this node and has given the share to another one.
                if os.getppid() != raylet:
                    process.kill()
                    os._exit(FAILED)
                # Not process.wait(), which Ray could not interrupt to cancel the task.
                time.sleep(0.02)
        finally:
            process.kill()
        out.seek(0)
        errors.seek(0)
        return ended(process.returncode, out.read(), errors.read(), node)


def ended(code: int, out: bytes, errors: bytes, node: str) -> Ended:
    try:
        summary = json.loads(out)
    except ValueError:
        summary = {}
    gates = [f"gate {gate['name']} not met: {gate['message']}" for gate in summary.get("gates", [])]
    words = (
        summary.get("error")
        or "\n".join(gates)
        or errors.decode("utf-8", "replace")[-2000:].strip().removeprefix("error: ")
    )
    ending = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
    return Ended(
        code,
        words if code in (USAGE, GATE) else f"it {ending} on {node}: {words or 'it said nothing'}",
        summary.get("status") == "current",
    )


class Pipeline:
    """The stages, one after the other, on the cluster that Ray is connected to."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        # Stages run as if they ran here; Ray's workers otherwise have the folder and environment in
        # which their node was started.
        self.folder = os.getcwd()
        self.settings = {
            name: value for name, value in os.environ.items() if name.startswith("OSSIFY__")
        }
        has_gpu = ray.cluster_resources().get("GPU", 0) >= 1
        self.running: set[ray.ObjectRef] = set()
        self.gpus = int(has_gpu) if options.gpus is None else options.gpus

    async def run(self) -> None:
        for stage in STAGES[: STAGES.index(self.options.until) + 1]:
            if stage in DIVIDED:
                await self.run_shares(stage)
                await self.run_one(f"{stage} merge", stage, "--merge", str(self.options.partitions))
            else:
                await self.run_one(stage, stage)

    async def run_shares(self, stage: str) -> None:
        total, cpus, gpus = self.options.partitions, self.options.cpus_per_task, self.gpus_of(stage)
        if largest_node(gpus) < cpus:
            say(
                f"{stage}: no node has {cpus} processors{' and a GPU' if gpus else ''} now; the "
                f"shares wait for one"
            )
        shares = [
            self.attempts(
                f"{stage} {share}/{total}", stage, ["--partition", f"{share}/{total}"], cpus, gpus
            )
            for share in range(1, total + 1)
        ]
        start = said = time.monotonic()
        current = 0
        for done, share in enumerate(asyncio.as_completed(shares), 1):
            current += (await share).is_current
            now = time.monotonic()
            if done == total or now - said >= SECS_BETWEEN_LINES:
                said = now
                say(
                    f"{stage}: {done}/{total} shares, {current} of them already there, "
                    f"{done / max(now - start, 1e-3):.2g} a second"
                )

    async def run_one(self, name: str, stage: str, *flags: str) -> None:
        """Runs an undivided stage on all processors of a node; merges (`flags`) need no GPU."""
        start = time.monotonic()
        gpus = 0 if flags else self.gpus_of(stage)
        done = await self.attempts(
            name,
            stage,
            flags,
            self.options.cpus or largest_node(gpus) or self.options.cpus_per_task,
            gpus,
        )
        say(
            f"{name}: {'already there' if done.is_current else 'done'}, "
            f"{time.monotonic() - start:.1f} s"
        )

    def gpus_of(self, stage: str) -> int:
        return self.gpus if stage in USES_GPU else 0

    async def attempts(
        self, name: str, stage: str, flags: Sequence[str], cpus: int, gpus: int
    ) -> Ended:
        """Runs a stage until it succeeds, or ends the pipeline."""
        options = self.options
        # A merge needs the configuration of its shares, which includes the device.
        device = ["--device", "cuda:0"] if self.gpus_of(stage) else []
        is_streamed = stage == "train"
        command = [
            program(stage, options.bin),
            "--json",
            *options.stage_flags,
            f"--set=general.threads={cpus}",
            *device,
            *flags,
        ]
        task = run_stage.options(name=name, num_cpus=cpus, num_gpus=gpus)
        for attempt in range(options.retries + 1):
            result = await self.outcome(
                task.remote(
                    command if is_streamed else [*command, "--quiet"],
                    self.folder,
                    self.settings,
                    is_streamed,
                )
            )
            if result.code == 0:
                return result
            if result.code in (USAGE, GATE):
                raise Stop(result.code, f"{name}: {result.words}")
            if attempt < options.retries:
                pause = min(2.0**attempt, LONGEST_PAUSE_SECS)
                say(
                    f"{name}: {result.words}; attempt {attempt + 2} of {options.retries + 1} "
                    f"follows in {pause:.0f} s"
                )
                await asyncio.sleep(pause)
        raise Stop(FAILED, f"{name} failed {options.retries + 1} times: {result.words}")

    async def outcome(self, task: ray.ObjectRef) -> Ended:
        self.running.add(task)
        try:
            result = await task
        except RayError as error:
            result = Ended(
                FAILED, f"it was lost with its worker or node: {str(error).strip().splitlines()[0]}"
            )
        # stop() cleans up after an interruption.
        self.running.discard(task)
        return result

    def stop(self) -> None:
        """Cancels tasks and waits, because Ray 2.60 crashes if one ends while Ray disconnects."""
        for task in self.running:
            ray.cancel(task)
        if self.running:
            ray.wait(list(self.running), num_returns=len(self.running), timeout=STOPPING_SECS)


def largest_node(gpus: int) -> int:
    """The largest number of processors of any node with this many GPUs; 0 if there is none."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return max((int(node.get("CPU", 0)) for node in nodes if node.get("GPU", 0) >= gpus), default=0)


def program(stage: str, folder: Path | None) -> str:
    return str(folder.absolute() / f"ossify-{stage}") if folder else f"ossify-{stage}"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def place(text: str) -> str:
    """An absolute path, which must exist on all nodes; URLs are not changed."""
    return text if "://" in text else str(Path(text).absolute())


def at_least(least: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least} on")
        return int(text)

    return count


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--partitions",
        type=at_least(1),
        metavar="N",
        default=16,
        help="shares of ingest, resize and predict [default: 16]",
    )
    parser.add_argument("--config", type=place, metavar="FILE", help="the conf file")
    parser.add_argument(
        "--dataset",
        type=place,
        metavar="DIR",
        help="folder or URL of the dataset [default: that of the configuration]",
    )
    parser.add_argument(
        "--out",
        type=place,
        metavar="DIR",
        help="folder or URL of the work folder [default: data/work/<name of the conf file>]",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="sets one key for all stages; may be repeated",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="any error in the data causes exit code 3",
    )
    parser.add_argument(
        "--until",
        choices=STAGES,
        default=STAGES[-1],
        help="the last stage to run [default: evaluate]",
    )
    parser.add_argument(
        "--cpus-per-task",
        type=at_least(1),
        metavar="N",
        default=4,
        help="processors and threads of a share [default: 4]",
    )
    parser.add_argument(
        "--cpus",
        type=at_least(1),
        metavar="N",
        help="processors of a merge, of training and evaluation; without it those of the largest "
        "node",
    )
    parser.add_argument(
        "--gpus",
        type=int,
        choices=(0, 1),
        help="GPUs for training and for a share of prediction [default: 1 if the cluster has any]",
    )
    parser.add_argument(
        "--retries",
        type=at_least(0),
        metavar="N",
        default=4,
        help="retries of a task that failed or lost its node [default: 4]",
    )
    parser.add_argument(
        "--bin",
        type=Path,
        metavar="DIR",
        help="folder of ossify's programs [default: searched on each node's PATH]",
    )
    parser.add_argument(
        "--address",
        help="of the cluster, as for ray.init; without it RAY_ADDRESS, a Ray that runs here, or "
        "one for this run alone",
    )
    options = parser.parse_args()
    paths = {"--config": options.config, "--dataset": options.dataset, "--out": options.out}
    given = [f"{flag}={path}" for flag, path in paths.items() if path]
    options.stage_flags = [
        *given,
        *(f"--set={assignment}" for assignment in options.set),
        *(["--strict"] if options.strict else []),
    ]
    for stage in STAGES if options.bin else []:
        if not shutil.which(program(stage, options.bin)):
            parser.error(f"--bin {options.bin} has no program ossify-{stage}")
    return options


def main() -> int:
    options = arguments()
    try:
        ray.init(address=options.address, logging_level="WARNING")
    except (ConnectionError, ValueError) as error:
        say(
            f"error: Ray does not answer at {options.address or 'RAY_ADDRESS'}: {error}; is this "
            f"a node of the cluster?"
        )
        return USAGE
    pipeline = Pipeline(options)
    try:
        asyncio.run(pipeline.run())
    except Stop as stop:
        say(f"error: {stop}")
        return stop.code
    except KeyboardInterrupt:
        say("interrupted; run the same command again to resume")
        return INTERRUPTED
    finally:
        pipeline.stop()
        ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
