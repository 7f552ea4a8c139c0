"""Checks a request that changes labels: first the changed labels, then a model trained on them.

    python check_labels.py --base origin/main --baseline latest --summary summary.md \\
        --config conf/labels.toml

Findings on changed lines are annotated, and errors among them fail the check. All other findings
are only counted, and the gates of ossify-ingest apply to them. Then a model is trained and compared
with the baseline, an existing run in the work folder. Arguments that are not listed below are
passed to every stage: --config, --out, --set, --strict.

Exit codes are ossify's: 0 success, 1 failed, 2 wrong usage or configuration, 3 labels or scores
did not pass."""

import argparse
import ast
import hashlib
import html
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path, PurePosixPath

# GitHub shows at most this many annotations of each severity per step.
MAX_ANNOTATIONS = 10
MAX_ROWS = 100
GITHUB_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}
GITLAB_SEVERITIES = {"error": "major", "warning": "minor", "note": "info"}
FAILED, USAGE, NOT_PASSED = 1, 2, 3


class Stop(Exception):
    """Ends the check with this exit code and reason."""

    def __init__(self, code, reason):
        super().__init__(reason)
        self.code = code


class Check:
    """Runs the check, and collects its summary and the reasons for failing."""

    def __init__(self, options, stage_arguments):
        self.options = options
        self.stage_arguments = stage_arguments + (
            ["--dataset", options.dataset] if options.dataset else []
        )
        self.summary = []
        self.reasons = []

    def stage(self, program, *arguments, **how):
        """Runs a stage and returns its summary; unmet gates become reasons for failing."""
        done = self.call(program, *arguments, "--json", **how)
        try:
            outcome = json.loads(done.stdout)
        except ValueError:
            outcome = {}
        if done.returncode not in (0, NOT_PASSED):
            # Any other exit code, such as that of a killed process, is a failure.
            code = done.returncode if done.returncode in (FAILED, USAGE) else FAILED
            raise Stop(
                code,
                f"ossify-{program}: "
                f"{outcome.get('error', f'exit code {done.returncode}; see the log')}",
            )
        for gate in outcome["gates"]:
            self.fail(gate["name"], gate["message"])
        return outcome

    def call(self, program, *arguments, **how):
        name = f"ossify-{program}"
        command = [
            self.options.bin / name if self.options.bin else name,
            *arguments,
            *self.stage_arguments,
        ]
        try:
            return subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", **how)
        except OSError as error:
            raise Stop(
                USAGE,
                f"{name} does not start: {error}; install ossify, or name its folder with --bin",
            ) from error

    def fail(self, title, reason):
        self.reasons.append(reason)
        self.annotate("error", reason, title=title)

    def warn(self, reason):
        self.summary.append(f"**Warning:** {in_line(reason)}\n")
        print(f"warning: {reason}", file=sys.stderr)
        self.annotate("warning", reason)

    def annotate(self, level, message, **properties):
        if not self.options.github:
            return
        escape = lambda text: (
            str(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        )
        parameters = [
            f"{name}={escape(value).replace(':', '%3A').replace(',', '%2C')}"
            for name, value in properties.items()
            if value is not None
        ]
        print(f"::{level} {','.join(parameters)}".rstrip() + f"::{escape(message)}", flush=True)

    def labels(self):
        """Runs ingest with its gates, reports findings, and returns the work folder."""
        # The first call prints the findings; the second reports summary and gates.
        found = self.call("ingest", "--format", "json")
        outcome = self.stage("ingest", stderr=subprocess.DEVNULL)
        findings = [json.loads(line) for line in found.stdout.split("\n") if line]
        changes = Changes(self.options.base, self.dataset()) if self.options.base else None
        touched = [
            finding for finding in findings if changes and changes.touch(finding["location"])
        ]
        self.show(touched, findings, changes)
        if self.options.code_quality:
            self.options.code_quality.write_text(
                json.dumps([code_quality(finding, changes.prefix) for finding in touched], indent=1)
                + "\n"
            )
        errors = [finding for finding in touched if finding["severity"] == "error"]
        if errors:
            location = errors[0]["location"]
            where = ":".join(
                str(part) for part in (changes.prefix / location["path"], location["line"]) if part
            )
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            # Each error already has its annotation.
            self.reasons.append(
                f"this request changes labels that are wrong: {where}: {errors[0]['message']}{more}"
            )
        return Path(outcome["out"])

    def dataset(self):
        return self.options.dataset or Path(
            tomllib.loads(self.call("ingest", "--print-config").stdout)["dataset"]["path"]
        )

    def show(self, touched, findings, changes):
        shown = Counter()
        for finding in touched:
            shown[finding["severity"]] += 1
            if shown[finding["severity"]] <= MAX_ANNOTATIONS:
                location = finding["location"]
                help_line = f"\nhelp: {finding['help']}" if finding["help"] else ""
                where = {
                    "file": changes.prefix / location["path"],
                    "line": location["line"],
                    "col": location["column"],
                    "title": finding["rule"],
                }
                self.annotate(
                    GITHUB_LEVELS[finding["severity"]], finding["message"] + help_line, **where
                )
        self.summary.append("## Labels\n")
        if touched:
            self.summary.append("| where | severity | rule | what |\n|---|---|---|---|")
            for finding in touched[:MAX_ROWS]:
                where = ":".join(
                    str(part)
                    for part in (finding["location"]["path"], finding["location"]["line"])
                    if part
                )
                self.summary.append(
                    "| "
                    + " | ".join(
                        map(
                            in_line,
                            (where, finding["severity"], finding["rule"], finding["message"]),
                        )
                    )
                    + " |"
                )
            self.summary.append(
                f"\nand {len(touched) - MAX_ROWS} more\n" if len(touched) > MAX_ROWS else ""
            )
        here, all_in_all = counted(touched), counted(findings)
        self.summary.append(
            f"On what the request changes: {here}. In the whole dataset: {all_in_all}.\n"
            if changes
            else f"In the whole dataset: {all_in_all}.\n"
        )

    def model(self, out):
        """Trains a model and compares it with the baseline."""
        baseline = self.baseline(out / "runs")
        self.stage("resize")
        trained = self.stage("train")["summary"]
        run = trained["run"]
        is_comparable = self.is_comparable(baseline, trained)
        if is_comparable:
            self.stage("predict", "--set", f"predict.run={baseline['run']}")
        self.stage("predict", "--set", f"predict.run={run}")
        splits = self.stage("evaluate", "--set", f"evaluate.predictions={run}")["summary"]["splits"]
        if is_comparable:
            self.compare(baseline["run"], run)
        for split in splits:
            self.summary.append(
                (out / "reports" / run / split / "summary.md").read_text(encoding="utf-8")
            )

    def baseline(self, runs):
        """Returns the manifest summary of the baseline, read before training, or None."""
        name = self.options.baseline
        if not name:
            return None
        try:
            name = (
                (runs / "latest").read_text(encoding="utf-8").strip() if name == "latest" else name
            )
            return json.loads((runs / name / "manifest.json").read_text(encoding="utf-8"))[
                "summary"
            ]
        except (OSError, ValueError, KeyError) as error:
            if self.options.baseline != "latest":
                raise Stop(
                    USAGE, f"--baseline {name}: {runs / name} is no finished run ({error})"
                ) from error
            self.warn(
                f"no baseline: {runs} has no finished run, so the new model is compared with "
                f"nothing"
            )
            return None

    def is_comparable(self, baseline, trained):
        if baseline is None:
            return False
        if baseline["run"] == trained["run"]:
            self.summary.append(
                f"## Model\n\nLabels, images and recipe are those of the baseline "
                f"{trained['run']}: the model is the same.\n"
            )
            return False
        if baseline.get("class_map") != trained["class_map"]:
            self.warn(
                f"the baseline {baseline['run']} was trained on other classes, so it says nothing "
                f"of the new model"
            )
            return False
        return True

    def compare(self, baseline, run):
        summary = self.stage("evaluate", "compare", baseline, run)["summary"]
        self.summary.append(f"## {run} against the baseline {baseline}\n")
        for split in summary["splits"].values():
            for comparison in split["comparisons"]:
                self.summary.append(
                    in_line(comparison["in_words"])
                    + "\n\n```\n"
                    + "\n".join(comparison["table"])
                    + "\n```\n"
                )

    def finish(self, code):
        reasons = [f"- {in_line(reason)}" for reason in self.reasons]
        head = ["**Not passed:**\n", *reasons, ""] if reasons else ["**Passed.**\n"]
        if self.options.summary:
            # GitHub's summary file of a step may already have content.
            with open(self.options.summary, "a", encoding="utf-8") as file:
                file.write("\n".join(head + self.summary) + "\n")
        for reason in self.reasons:
            print(f"error: {reason}", file=sys.stderr)
        return code


class Changes:
    """The differences between the working tree and the merge base."""

    HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")

    def __init__(self, base, dataset):
        self.base, self.dataset = base, dataset
        top = self.git("rev-parse", "--show-toplevel").decode().rstrip("\n")
        self.prefix = PurePosixPath(dataset.resolve().relative_to(Path(top).resolve()))
        names = self.diff("--name-only", "-z").decode("utf-8", "replace").split("\0")
        self.partners = {partner(name) for name in names if name}
        self.lines = self.changed_lines(
            self.diff(
                "--text",
                "--unified=0",
                "--no-ext-diff",
                "--no-textconv",
                "--dst-prefix=b/",
                "--",
                "*.txt",
                "*.y*ml",
            )
        )

    def git(self, *arguments):
        command = ["git", "-C", self.dataset, "-c", "core.quotePath=true", *arguments]
        try:
            done = subprocess.run(command, capture_output=True)
        except OSError as error:
            raise Stop(USAGE, f"git does not start: {error}") from error
        if done.returncode != 0:
            words = done.stderr.decode("utf-8", "replace").strip()
            raise Stop(
                USAGE,
                f"git does not know what changed in {self.dataset} since {self.base}: {words}; is "
                f"the commit fetched (fetch-depth, GIT_DEPTH)?",
            )
        return done.stdout

    def diff(self, *arguments):
        return self.git(
            "diff",
            "--merge-base",
            self.base,
            "--relative",
            "--no-renames",
            "--no-color",
            *arguments,
        )

    @classmethod
    def changed_lines(cls, patch):
        """Returns the numbers of new and changed lines by file, from a patch without context."""
        lines, current, patch = {}, set(), iter(patch.split(b"\n"))
        for line in patch:
            if line.startswith(b"+++ "):
                current = lines.setdefault(cls.name(line[4:]), set())
            elif hunk := cls.HUNK.match(line):
                removed, start, added = (
                    1 if number is None else int(number) for number in hunk.groups()
                )
                current.update(range(start, start + added))
                # The content of a line may look like a header.
                for _ in range(removed + added):
                    if next(patch, b"").startswith(b"\\"):
                        next(patch, b"")
        return lines

    @staticmethod
    def name(text):
        text = text.rstrip(b"\t")
        # git quotes unusual names like C strings in ASCII, which Python can parse.
        text = ast.literal_eval("b" + text.decode()) if text.startswith(b'"') else text
        return text.removeprefix(b"b/").decode("utf-8", "replace")

    def touch(self, location):
        """Whether a finding concerns a change.

        With a line: whether that line changed. Without: whether the file, its image or its label
        file did.
        """
        if location["line"]:
            return location["line"] in self.lines.get(location["path"], ())
        return partner(location["path"]) in self.partners


def partner(path):
    """A key that an image and its label file have in common."""
    path = PurePosixPath(path)
    return tuple(part for part in path.parent.parts if part not in ("images", "labels")), path.stem


def code_quality(finding, prefix):
    """A finding in the format of GitLab's Code Quality report."""
    location = finding["location"]
    digest = hashlib.sha256(
        json.dumps(
            [finding["rule"], location["path"], location["line"], finding["source"]]
        ).encode()
    )
    return {
        "description": finding["message"],
        "check_name": finding["rule"],
        "fingerprint": digest.hexdigest(),
        "severity": GITLAB_SEVERITIES[finding["severity"]],
        "location": {
            "path": str(prefix / location["path"]),
            "lines": {"begin": location["line"] or 1},
        },
    }


def counted(findings):
    counts = Counter(finding["severity"] for finding in findings)
    return ", ".join(
        f"{counts[severity]} {severity}{'' if counts[severity] == 1 else 's'}"
        for severity in GITHUB_LEVELS
    )


def in_line(text):
    """Escapes text from the request, so that it cannot create a table, a link or HTML."""
    text = re.sub(r"([\\|*`\[\]#])", r"\\\1", html.escape(str(text), quote=False))
    return "".join(character if character.isprintable() else " " for character in text)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--base",
        metavar="COMMIT",
        help="the commit to compare with; without it nothing counts as changed",
    )
    parser.add_argument(
        "--dataset",
        type=Path,
        metavar="DIR",
        help="folder of the dataset [default: that of the configuration]",
    )
    parser.add_argument(
        "--baseline",
        metavar="RUN",
        help='id of the run to compare with, or "latest": the one that is there now; without it '
        "none",
    )
    parser.add_argument("--labels-only", action="store_true", help="does not train a model")
    parser.add_argument(
        "--github",
        action="store_true",
        help="writes annotations as GitHub workflow commands to standard output",
    )
    parser.add_argument(
        "--code-quality",
        type=Path,
        metavar="FILE",
        help="writes annotations as a GitLab Code Quality report",
    )
    parser.add_argument(
        "--summary", type=Path, metavar="FILE", help="appends a summary in Markdown to the file"
    )
    parser.add_argument(
        "--bin",
        type=Path,
        metavar="DIR",
        help="folder of ossify's programs [default: searched on PATH]",
    )
    check = Check(*parser.parse_known_args())
    try:
        out = check.labels()
        # Training on wrong labels would waste time.
        if not check.reasons and not check.options.labels_only:
            check.model(out)
        code = NOT_PASSED if check.reasons else 0
    except Stop as stop:
        check.fail("check_labels", str(stop))
        code = stop.code
    except OSError as error:
        check.fail("check_labels", str(error))
        code = FAILED
    return check.finish(code)


if __name__ == "__main__":
    sys.exit(main())
