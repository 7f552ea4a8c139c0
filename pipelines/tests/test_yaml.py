"""Checks the YAML that users copy against the GitHub and GitLab schemas of check-jsonschema."""

import os
import subprocess
import unittest
from pathlib import Path

from project import PIPELINES
from ruamel.yaml import YAML

GITHUB, GITLAB = PIPELINES / "ci/github/labels.yml", PIPELINES / "ci/gitlab/labels.yml"
CHECKER = Path(os.environ["OSSIFY_PYTHON"]).absolute().parent / "check-jsonschema"


class Schemas(unittest.TestCase):
    def validate(self, path, *schema):
        done = subprocess.run([CHECKER, *schema, path], capture_output=True, encoding="utf-8")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_workflow_is_one_of_github(self):
        self.validate(GITHUB, "--builtin-schema", "vendor.github-workflows")

    def test_the_job_is_one_of_gitlab(self):
        self.validate(
            GITLAB, "--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"
        )


class Scripts(unittest.TestCase):
    def test_every_script_is_bash(self):
        yaml = YAML(typ="safe")
        job = yaml.load(GITLAB)["labels"]
        steps = yaml.load(GITHUB)["jobs"]["labels"]["steps"]
        scripts = (
            [step["run"] for step in steps if "run" in step] + job["before_script"] + job["script"]
        )
        self.assertGreater(len(scripts), 5)
        for script in scripts:
            done = subprocess.run(
                ["bash", "-n", "-c", script], capture_output=True, encoding="utf-8"
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""), script)


if __name__ == "__main__":
    unittest.main()
