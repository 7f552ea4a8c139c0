"""Installs the libtorch that burn-tch expects from PyTorch's Python wheel, without installing
PyTorch.

    python3 scripts/libtorch_install.py cpu|cuda FOLDER

FOLDER/<variant>/torch then holds lib/ and include/, with NVIDIA's libraries in the folder beside
it, where torch's own RPATH looks for them. `complete.json` is written last: a folder without it is
no installation."""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path


def digests(text):
    """SHA-256 of each package's wheel, from a text with both in turn."""
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


# libtorch_cpu.so of the CUDA wheel is linked against NVIDIA's two, even on a machine without a GPU.
CPU_PACKAGES = digests("""
    torch==2.9.0
        51de31219c97c51cf4bf2be94d622e3deb5dcc526c6dc00e97c17eaec0fc1d67
    nvidia-cuda-runtime-cu12==12.8.90
        adade8dcbd0edf427b7204d480d6066d33902cab2a4707dcfc48a2d0fd44ab90
    nvidia-cuda-cupti-cu12==12.8.90
        ea0cb07ebda26bb9b29ba82cda34849e73c166c18162d3913575b0c9db9a6182
""")
CUDA_PACKAGES = CPU_PACKAGES | digests("""
    nvidia-cublas-cu12==12.8.4.1
        8ac4e771d5a348c551b2a426eda6193c19aa630236b418086020df5ba9667142
    nvidia-cuda-nvrtc-cu12==12.8.93
        a7756528852ef889772a84c6cd89d41dfa74667e24cca16bb31f8f061e3e9994
    nvidia-cudnn-cu12==9.10.2.21
        949452be657fa16687d0930933f032835951ef0892b37d2d53824d1a84dc97a8
    nvidia-cufft-cu12==11.3.3.83
        4d2dd21ec0b88cf61b62e6b43564355e5222e4a3fb394cac0db101f2dd0d4f74
    nvidia-cufile-cu12==1.13.1.3
        1d069003be650e131b21c932ec3d8969c1715379251f8d23a1860554b1cb24fc
    nvidia-curand-cu12==10.3.9.90
        b32331d4f4df5d6eefa0554c565b626c7216f87a06a4f56fab27c3b68a830ec9
    nvidia-cusolver-cu12==11.7.3.90
        4376c11ad263152bd50ea295c05370360776f8c3427b30991df774f9fb26c450
    nvidia-cusparse-cu12==12.5.8.93
        1ec05d76bbbd8b61b06a80e1eaf8cf4959c3d4ce8e711b65ebd0443bb0ebb13b
    nvidia-cusparselt-cu12==0.7.1
        f1bb701d6b930d5a7cea44c19ceb973311500847f81b634d802b7b539dc55623
    nvidia-nccl-cu12==2.27.5
        ad730cf15cb5d25fe849c6e6ca9eb5b76db16a80f13f425ac68d8e2e55624457
    nvidia-nvjitlink-cu12==12.8.93
        81ff63371a7ebd6e6451970684f916be2eab07321b73c9d244dc2b4da7f73b88
    nvidia-nvshmem-cu12==3.3.20
        d00f26d3f9b2e3c3065be895e3059d6479ea5c638a3f38c9fec49b1b9dd7c1e5
    nvidia-nvtx-cu12==12.8.90
        5b17e2001cc0d751a5bc2c6ec6d26ad95913324a4adb86788c944f8ce9ba441f
""")
VARIANTS = {"cpu": CPU_PACKAGES, "cuda": CUDA_PACKAGES}
DOWNLOAD_MEGABYTES = {"cpu": 910, "cuda": 3500}
NEEDED_MEGABYTES = {"cpu": 1900, "cuda": 10500}
CPU_LIBRARIES = ["libc10.so", "libtorch_cpu.so", "libgomp.so.1"]
# One wheel file serves whatever Python runs this script: only its libtorch is used.
WHEEL_TAGS = [
    "--python-version",
    "3.11",
    "--implementation",
    "cp",
    "--abi",
    "cp311",
    "--abi",
    "none",
]
for tag in (
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_17",
    "manylinux2014",
    "manylinux_2_12",
    "manylinux2010",
):
    WHEEL_TAGS += ["--platform", f"{tag}_x86_64"]

OTHER_WAYS = """  other ways out:
    set LIBTORCH to a libtorch 2.9 that you have (the folder with lib/ and include/), or
    do without libtorch: make BACKEND=flex ... (pure Rust, nothing to install, slower)"""


class InstallError(Exception):
    """A sentence for the user."""


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
        say("\nstopped; the wheels that are whole are kept for the next run")
        return 130
    except (InstallError, OSError) as error:
        say(f"error: libtorch could not be installed: {error}\n{OTHER_WAYS}")
        return 1
    return 0


def check_machine():
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise InstallError(
            f"this installer serves Linux on x86_64, and this is {system} on {machine}"
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
        # Whole wheels of an interrupted run are kept, all else of it is not.
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
        # The marker must not reach the disk before what it vouches for.
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
    """Path of the wheel with this SHA-256, which is checked here too: it may be an old file."""
    prefix = package.split("==")[0].replace("-", "_") + "-"
    for path in wheels.glob(f"{prefix}*.whl"):
        if sha256(path) == digest:
            return path
        path.unlink()
    requirement = stage / "requirement.txt"
    requirement.write_text(f"{package} --hash=sha256:{digest}\n")
    # pip's temporary files go to the disk that was found large enough, and not to a small /tmp.
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
            f"pip could not download {package} (its words are above): is this machine online, and "
            f"the disk not full?"
        )
    for path in wheels.glob(f"{prefix}*.whl"):
        if sha256(path) == digest:
            return path
    raise InstallError(
        f"the wheel of {package} does not have the SHA-256 {digest}; run again, and do not use "
        f"what came"
    )


class GrowthReport:
    """A line every five seconds that says how much has come."""

    def __init__(self, *folders):
        self.folders = folders
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.report, daemon=True)

    def megabytes(self):
        """Of the largest file: pip copies the whole wheel at the end."""
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
        # extractall takes away `..` and leading slashes.
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
