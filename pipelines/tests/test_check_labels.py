"""Tests check_labels.py on requests in a repository, alone and as GitHub and GitLab call it."""

import json
import re
import shutil
import sys
import unittest

from project import BIN, PIPELINES, RECIPE, Project
from ruamel.yaml import YAML

sys.path.insert(0, str(PIPELINES / "ci"))
from check_labels import Changes, partner

SCRIPT = PIPELINES / "ci/check_labels.py"


class Requests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.project = project = Project(**RECIPE)
        cls.addClassCleanup(project.close)
        project.draw(100)
        conf = project.copy("ci/labels.toml", "conf/labels.toml")
        # The phantom contains a truncated image.
        conf.write_text(conf.read_text().replace("image-unreadable = 0", "image-unreadable = 1"))
        (project.root / ".gitignore").write_text(
            "/data/work\n/.ossify*\n/summary.md\n/code-quality.json\n"
        )
        project.commit("dataset")
        # Like the job of the default branch.
        cls.check()
        cls.kept = project.root / ".ossify-runs"
        shutil.copytree(project.root / "data/work/labels/runs", cls.kept)
        cls.baseline = (cls.kept / "latest").read_text().strip()

    def setUp(self):
        """Resets to a request without commits, on a machine that only has the baseline."""
        self.project.git("checkout", "--quiet", "--force", "-B", "request", "main")
        shutil.rmtree(self.project.root / "data/work")
        shutil.copytree(self.kept, self.project.root / "data/work/labels/runs")
        for name in ("summary.md", "code-quality.json"):
            (self.project.root / name).unlink(missing_ok=True)

    @classmethod
    def check(cls, *arguments, code=0):
        common = [
            "--bin",
            BIN,
            "--config",
            "conf/labels.toml",
            "--out",
            "data/work/labels",
            "--github",
            "--summary",
            "summary.md",
        ]
        return cls.project.run(sys.executable, SCRIPT, "--quiet", *common, *arguments, code=code)

    def request(self, *arguments, code=0):
        return self.check(
            "--base",
            "main",
            "--baseline",
            "latest",
            "--code-quality",
            "code-quality.json",
            *arguments,
            code=code,
        )

    def summary(self):
        return (self.project.root / "summary.md").read_text()

    def break_line(self):
        """Breaks the second line of a label file; returns the file's path as in a diff."""
        path, lines = next(
            (path, lines) for path, lines in self.project.labels("train").items() if len(lines) > 1
        )
        lines[1] = b"2 1.3 0.5 0.2 0.1"
        path.write_bytes(b"\n".join(lines) + b"\n")
        self.project.commit()
        return path.relative_to(self.project.root)

    def test_a_bad_line_fails_with_one_annotation_on_it_and_nothing_is_trained(self):
        path = self.break_line()
        said = self.request(code=3)
        self.assertEqual(len(annotations(said)), 1, said)
        self.assertIn(
            f"::error file={path},line=2,col=3,title=coordinate-out-of-range::x centre 1.3 is not "
            f"within",
            said,
        )
        self.assertIn(
            f"error: this request changes labels that are wrong: {path}:2: x centre 1.3", said
        )
        (only,) = json.loads((self.project.root / "code-quality.json").read_text())
        self.assertEqual(
            (only["location"], only["severity"]),
            ({"path": str(path), "lines": {"begin": 2}}, "major"),
        )
        self.assertRegex(
            self.summary(),
            r"(?s)\*\*Not passed:\*\*.*1 error, 0 warnings, 0 notes\. In the whole dataset: 2\d "
            r"errors",
        )
        self.assertEqual(
            (self.project.root / "data/work/labels/runs/latest").read_text().strip(), self.baseline
        )

    def test_a_good_change_passes_and_is_compared(self):
        # Labels of the test split do not affect training, so the model is the same on every
        # machine.
        path, lines = next(iter(self.project.labels("test").items()))
        path.write_bytes(b"\n".join(lines[:-1]) + b"\n")
        self.project.commit()
        said = self.request()
        self.assertEqual(annotations(said), [], said)
        self.assertTrue(self.summary().startswith("**Passed.**"))
        self.assertRegex(
            self.summary(),
            f"(?s)against the baseline {self.baseline}.*holds the same predictions as.*## "
            f"Evaluation of",
        )
        self.assertEqual(json.loads((self.project.root / "code-quality.json").read_text()), [])

    def test_labels_that_make_the_model_worse_fail_with_the_sentence(self):
        for path, lines in self.project.labels("train").items():
            turned = [
                b"%d %s" % ((int(line.split()[0]) + 1) % 7, line.split(maxsplit=1)[1])
                for line in lines
            ]
            path.write_bytes(b"\n".join(turned) + b"\n")
        self.project.commit()
        said = self.request("--set", "evaluate.drop_test=measured", code=3)
        sentence = (
            rf"the image accuracy of \S+ on the valid split is [\d.]+, [\d.]+ below that of "
            rf"{self.baseline}"
        )
        self.assertRegex(said, f"(?m)^::error title=evaluate.max_drop.accuracy::{sentence}")
        self.assertRegex(self.summary(), rf"(?s)\*\*Not passed:\*\*\n\n- {sentence}")

    def test_mistakes_of_the_caller_are_exit_code_2(self):
        self.break_line()
        self.assertIn("train.epochs", self.request("--set", "train.epoch=3", code=2))
        self.assertIn(
            "error: git does not know what changed in data/dataset since nowhere",
            self.check("--base", "nowhere", code=2),
        )
        self.assertIn("ossify-ingest does not start", self.check("--bin", "nowhere", code=2))
        self.assertIn("--baseline gone", self.check("--baseline", "gone", code=2))
        self.assertIn("unexpected argument '--sumary'", self.check("--sumary", "x", code=2))
        self.assertIn("ossify-ingest: ", self.summary())

    def test_gates_over_the_whole_dataset_fail_a_request_that_changes_nothing(self):
        said = self.request("--dataset", self.project.root / "data/dataset", "--strict", code=3)
        self.assertEqual(
            [line.split("::")[1] for line in annotations(said)], ["error title=--strict"], said
        )

    def test_an_image_whose_label_file_goes_is_annotated_and_without_a_baseline_a_warning_says_so(
        self,
    ):
        path = next(iter(self.project.labels("train")))
        path.unlink()
        self.project.commit()
        shutil.rmtree(self.project.root / "data/work/labels/runs")
        missing, baseline = annotations(self.request("--set", "train.epochs=1"))
        self.assertRegex(
            missing,
            f"^::warning file=data/dataset/train/images/{path.stem}.[a-z]+,title=label-missing::",
        )
        self.assertIn("::warning::no baseline:", baseline)

    def test_a_baseline_of_other_classes_is_not_compared(self):
        said = self.request("--set", "ingest.min_objects_per_class=5", "--set", "train.epochs=1")
        self.assertIn("was trained on other classes", said)

    def test_the_step_of_github_does_the_same(self):
        path = self.break_line()
        self.project.git("checkout", "--quiet", "main")
        self.project.git("merge", "--quiet", "--no-ff", "--no-edit", "request")
        self.addCleanup(self.project.git, "reset", "--quiet", "--hard", "HEAD^1")
        workflow = YAML(typ="safe").load(PIPELINES / "ci/github/labels.yml")
        (step,) = [
            step
            for step in workflow["jobs"]["labels"]["steps"]
            if step["name"] == "Check the labels"
        ]
        environment = workflow["env"] | {"GITHUB_STEP_SUMMARY": "summary.md"}
        said = self.as_a_job(step["run"], ".ossify", code=3, BASE="HEAD^1", **environment)
        self.assertIn(f"::error file={path},line=2,", said)
        self.assertIn("Not passed", self.summary())
        self.as_a_job(step["run"], ".ossify", BASE="", **environment)

    def test_the_script_of_gitlab_does_the_same(self):
        path = self.break_line()
        self.project.git("config", "remote.origin.url", ".")
        job = YAML(typ="safe").load(PIPELINES / "ci/gitlab/labels.yml")["labels"]
        environment = {name: str(value) for name, value in job["variables"].items()}
        (script,) = job["script"]
        self.as_a_job(
            script,
            ".ossify-source",
            code=3,
            CI_MERGE_REQUEST_TARGET_BRANCH_NAME="main",
            **environment,
        )
        (only,) = json.loads((self.project.root / "code-quality.json").read_text())
        self.assertEqual(only["location"]["path"], str(path))
        self.project.git("checkout", "--quiet", "main")
        self.as_a_job(script, ".ossify-source", **environment)
        self.assertTrue(list(self.project.root.glob(job["artifacts"]["reports"]["junit"])))

    def as_a_job(self, script, source, code=0, **environment):
        for folder, target in ((".ossify/bin", BIN), (f"{source}/pipelines", PIPELINES)):
            link = self.project.root / folder
            link.parent.mkdir(exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(target)
        return self.project.run(
            "bash", "-e", "-o", "pipefail", "-c", script, code=code, **environment
        )


class ChangedLines(unittest.TestCase):
    def test_lines_are_found_whatever_names_and_lines_hold(self):
        project = Project()
        self.addCleanup(project.close)
        folder = project.root / "data"
        folder.mkdir()
        odd = 'bröken "x"\t1.txt'
        before = {
            odd: "a\nb\nc\n",
            "spaced name.txt": "a\nb",
            "bytes.txt": b"\xff\0a\nb\n",
            "gone.txt": "a\n",
            "same.txt": "a\n",
        }
        after = {
            odd: "a\n++ b/same.txt\n@@ -1 +1 @@\nb\nd\n",
            "spaced name.txt": "a\nc",
            "bytes.txt": b"\xff\0a\nc\n",
            "new.txt": "a\nb\n",
        }
        write = lambda files: [
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
            for name, text in files.items()
        ]
        write(before)
        project.commit()
        project.git("checkout", "--quiet", "-b", "request")
        (folder / "gone.txt").unlink()
        write(after)
        project.commit()
        # Later changes of the base do not belong to the request.
        project.git("checkout", "--quiet", "main")
        write({"same.txt": "changed\n"})
        project.commit()
        project.git("checkout", "--quiet", "request")
        changes = Changes("main", folder)
        lines = {name: sorted(numbers) for name, numbers in changes.lines.items() if numbers}
        self.assertEqual(
            lines, {odd: [2, 3, 5], "spaced name.txt": [2], "bytes.txt": [2], "new.txt": [1, 2]}
        )
        self.assertEqual(str(changes.prefix), "data")
        self.assertEqual(
            changes.partners, {partner(name) for name in {*before, *after} - {"same.txt"}}
        )

    def test_an_image_and_its_label_file_are_partners(self):
        for image, label in (
            ("train/images/a.b.jpg", "train/labels/a.b.txt"),
            ("images/train/a.png", "labels/train/a.txt"),
        ):
            self.assertEqual(partner(image), partner(label))
        self.assertNotEqual(partner("train/images/a.jpg"), partner("valid/labels/a.txt"))


def annotations(said):
    return re.findall(r"(?m)^::.*$", said)


if __name__ == "__main__":
    unittest.main()
