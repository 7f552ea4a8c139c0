"""Tests the text of pipelines/docker, with hadolint and for required content; builds nothing."""

import os
import re
import subprocess
import tomllib
import unittest
from pathlib import Path

from project import PIPELINES

DOCKERFILE = PIPELINES / "docker/Dockerfile"
HADOLINT = Path(os.environ["OSSIFY_PYTHON"]).absolute().parent / "hadolint"
STAGES = ["ingest", "resize", "train", "predict", "evaluate"]


class Images(unittest.TestCase):
    def setUp(self):
        self.text = DOCKERFILE.read_text()
        parts = re.split(r"(?m)^FROM (\S+) AS (\S+)\n", self.text)[1:]
        self.bases = dict(zip(parts[1::3], parts[0::3]))
        self.instructions = dict(zip(parts[1::3], parts[2::3]))

    def chain(self, image):
        """The instructions of an image and of its base images."""
        return (
            self.chain(self.bases[image]) if self.bases[image] in self.bases else ""
        ) + self.instructions[image]

    def test_hadolint_has_nothing_to_say(self):
        done = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, encoding="utf-8")
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def test_hadolint_knows_a_dockerfile_that_is_wrong(self):
        done = subprocess.run(
            [HADOLINT, "-"],
            input=self.text.replace("USER 65532:65532", "USSER 65532"),
            capture_output=True,
            encoding="utf-8",
        )
        self.assertNotEqual(done.returncode, 0)

    def test_every_stage_has_an_image_that_holds_its_program_and_runs_it_as_nobody_in_particular(
        self,
    ):
        for stage in STAGES:
            with self.subTest(stage):
                chain = self.chain(stage)
                self.assertEqual(
                    re.findall(r"COPY --from=\S+ /programs/(\S+) /usr/local/bin/", chain),
                    [f"ossify-{stage}"],
                )
                self.assertEqual(re.findall(r'ENTRYPOINT \["(.*)"\]', chain), [f"ossify-{stage}"])
                self.assertEqual(re.findall(r"USER (.*)", chain), ["65532:65532"])
                self.assertEqual("libtorch" in chain, stage in ("train", "predict"))

    def test_the_compiler_is_the_one_that_the_repository_asks_for(self):
        channel = tomllib.loads((PIPELINES.parent / "rust-toolchain.toml").read_text())[
            "toolchain"
        ]["channel"]
        tag = re.search(r"rust:([0-9.]+)-slim", self.text)[1]
        self.assertEqual(tag.split("."), channel.split(".")[: tag.count(".") + 1])

    def test_what_is_compiled_is_let_through_and_nothing_that_is_built_or_downloaded(self):
        lines = (PIPELINES / "docker/Dockerfile.dockerignore").read_text().splitlines()
        rules = [line for line in lines if line and not line.startswith("#")]
        self.assertEqual(rules[0], "*")
        allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
        for path in allowed:
            self.assertTrue(list(PIPELINES.parent.glob(path)), path)
        members = tomllib.loads((PIPELINES.parent / "Cargo.toml").read_text())["workspace"][
            "members"
        ]
        self.assertLessEqual(
            {member.split("/")[0] for member in members} | {"Cargo.lock", "Cargo.toml", ".cargo"},
            allowed,
        )


if __name__ == "__main__":
    unittest.main()
