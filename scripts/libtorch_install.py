"""Installs the libtorch that burn-tch needs from PyTorch's wheel, without installing PyTorch.

    python3 scripts/libtorch_install.py cpu|cuda FOLDER

FOLDER/<variant>/torch then holds lib/ and include/, with NVIDIA's libraries in the folder beside
it, where torch's own RPATH looks for them. `complete.json` is written last: a folder without it is
not a complete installation."""

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path


def read_packages(*names):
    """SHA-256 of each package's wheel, from pip requirement files beside this script."""
    text = "".join(Path(__file__).with_name(name).read_text() for name in names)
    return dict(re.findall(r"^(\S+==\S+) \\\n +--hash=sha256:([0-9a-f]{64})$", text, re.MULTILINE))


VARIANTS = {
    "cpu": read_packages("libtorch-cpu.txt"),
    "cuda": read_packages("libtorch-cpu.txt", "libtorch-cuda.txt"),
}
DOWNLOAD_MEGABYTES = {"cpu": 910, "cuda": 3500}
NEEDED_MEGABYTES = {"cpu": 1900, "cuda": 10500}
CPU_LIBRARIES = ["libc10.so", "libtorch_cpu.so", "libgomp.so.1"]
# The same wheel serves every Python that runs this script, because only its libtorch is used.
PLATFORMS = ["_2_28", "_2_27", "_2_17", "2014", "_2_12", "2010"]
WHEEL_TAGS = [
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--abi=none",
    *(f"--platform=manylinux{name}_x86_64" for name in PLATFORMS),
]

OTHER_WAYS = """  other ways out:
    set LIBTORCH to a libtorch 2.9 that you have (the folder with lib/ and include/), or
    do without libtorch: make BACKEND=flex ... (pure Rust, nothing to install, slower)"""


class InstallError(Exception):
    """A message for the user."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in VARIANTS:
        say(__doc__)
        return 2
    variant, folder = sys.argv[1], Path(sys.argv[2]).absolute()
    try:
        check_machine()
        install(variant, folder)
    except KeyboardInterrupt:
        say("\nstopped; complete wheels are kept for the next run")
        return 130
    except (InstallError, OSError) as error:
        say(f"error: libtorch could not be installed: {error}\n{OTHER_WAYS}")
        return 1
    return 0


def check_machine():
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise InstallError(
            f"this installer supports Linux on x86_64, and this is {system} on {machine}"
        )
    pip = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True)
    if pip.returncode != 0:
        raise InstallError(
            f"{sys.executable} has no pip; install it (on Debian and Ubuntu: apt install "
            f"python3-pip), then run again"
        )


def install(variant, folder):
    final, stage = folder / variant, folder / f".{variant}.partial"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f".{variant}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is installing libtorch here; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if (final / "complete.json").exists():
            return
        packages = VARIANTS[variant]
        wheels = stage / "wheels"
        # Complete wheels of an interrupted run are kept; everything else is removed.
        for left in stage.iterdir() if stage.exists() else []:
            if left != wheels:
                shutil.rmtree(left, ignore_errors=True)
        wheels.mkdir(parents=True, exist_ok=True)
        check_space(variant, folder)
        what = "the CPU build" if variant == "cpu" else "the build with CUDA"
        say(
            f"installing libtorch 2.9.0, {what}: {DOWNLOAD_MEGABYTES[variant]} MB to download, "
            f"half a minute to ten minutes, once"
        )
        start = time.monotonic()
        paths = [download(package, digest, wheels, stage) for package, digest in packages.items()]
        say("  unpacking")
        unpacked = stage / "unpacked"
        for path in paths:
            unpack(variant, path, unpacked)
        if variant == "cpu":
            (unpacked / "torch/lib/libtorch.so").symlink_to("libtorch_cpu.so")
        # The marker must not reach the disk before the files.
        os.sync()
        marker = {"libtorch": "2.9.0", "variant": variant, "packages": packages}
        (unpacked / "complete.json").write_text(json.dumps(marker, indent=2) + "\n")
        if final.exists():
            shutil.rmtree(final)
        unpacked.rename(final)
        os.sync()
        shutil.rmtree(stage)
        say(f"  libtorch is in {final} ({time.monotonic() - start:.0f} s)")


def check_space(variant, folder):
    free = shutil.disk_usage(folder).free // 1_000_000
    if free < NEEDED_MEGABYTES[variant]:
        raise InstallError(
            f"{folder} has {free} MB of free space, and {NEEDED_MEGABYTES[variant]} MB are needed "
            f"on the way; free some, or name another folder with OSSIFY_LIBTORCH_DIR"
        )


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def download(package, digest, wheels, stage):
    """Returns the path of the wheel with this SHA-256, which may be there from an earlier run."""
    prefix = package.split("==")[0].replace("-", "_") + "-"
    for path in wheels.glob(f"{prefix}*.whl"):
        if sha256(path) == digest:
            return path
        path.unlink()
    requirement = stage / "requirement.txt"
    requirement.write_text(f"{package} --hash=sha256:{digest}\n")
    # pip's temporary files go to the disk whose space was checked, not to a possibly small /tmp.
    temporary = stage / "tmp"
    temporary.mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-cache-dir",
        "--require-hashes",
        "--only-binary=:all:",
    ]
    command += ["--dest", str(wheels), "-r", str(requirement), *WHEEL_TAGS]
    environment = os.environ | {
        "TMPDIR": str(temporary),
        "PIP_REQUIRE_VIRTUALENV": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    say(f"  {package}")
    if sys.stderr.isatty():
        outcome = subprocess.run(command, env=environment, stdout=sys.stderr)
    else:
        with GrowthReport(temporary, wheels):
            outcome = subprocess.run(command, env=environment, capture_output=True, text=True)
        if outcome.returncode != 0:
            say(outcome.stdout + outcome.stderr)
    if outcome.returncode != 0:
        raise InstallError(
            f"pip could not download {package} (see its output above): is this machine online, and "
            f"is there space on the disk?"
        )
    for path in wheels.glob(f"{prefix}*.whl"):
        if sha256(path) == digest:
            return path
    raise InstallError(
        f"the wheel of {package} does not have the SHA-256 {digest}; do not use "
        f"it, and run this again"
    )


class GrowthReport:
    """Prints every five seconds how much has been downloaded."""

    def __init__(self, *folders):
        self.folders = folders
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.report, daemon=True)

    def megabytes(self):
        """Size of the largest file, because pip copies the whole wheel at the end."""
        size = 0
        for folder in self.folders:
            for parent, _, names in os.walk(folder):
                for name in names:
                    try:
                        size = max(size, os.path.getsize(os.path.join(parent, name)))
                    except OSError:
                        pass  # pip has just moved it
        return size // 1_000_000

    def report(self):
        while not self.over.wait(5):
            say(f"    {self.megabytes()} MB")

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def unpack(variant, wheel, target):
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if is_wanted(variant, name)]
        # extractall removes `..` and leading slashes.
        archive.extractall(target, names)


def is_wanted(variant, name):
    if name.startswith("torch/include/"):
        return True
    if name.startswith("torch/lib/"):
        library = name.removeprefix("torch/lib/")
        return (
            library in CPU_LIBRARIES
            if variant == "cpu"
            else ".so" in library and "python" not in library
        )
    return (
        name.startswith("nvidia/")
        and "/lib/" in name
        and (variant == "cuda" or name.rsplit("/", 1)[1] in ("libcudart.so.12", "libcupti.so.12"))
    )


if __name__ == "__main__":
    sys.exit(main())
