"""Tests pipelines/kubernetes against the schemas of Kubernetes and Argo, and runs its commands as
local processes.

No cluster is needed or contacted: `kubectl kustomize` works alone, and job_controller.py runs the
Jobs."""

import copy
import os
import shutil
import subprocess
import sys
import unittest

import kubernetes_validate
from hera.workflows.models import Workflow
from project import PIPELINES, RECIPE, Project, artefacts
from ruamel.yaml import YAML

FOLDER = PIPELINES / "kubernetes"
STAGES = ["ingest", "resize", "train", "predict", "evaluate"]
NEEDS_KUBECTL = unittest.skipUnless(
    shutil.which("kubectl"), "kubectl is not installed, which puts the Jobs together"
)
# The first version with retries per index without a feature gate, and the newest known version.
VERSIONS = ["1.29", kubernetes_validate.latest_version()]


def objects():
    rendered = subprocess.run(
        ["kubectl", "kustomize", FOLDER], capture_output=True, encoding="utf-8", check=True
    ).stdout
    return {
        f"{each['kind']}/{each['metadata']['name']}": each
        for each in YAML(typ="safe").load_all(rendered)
    }


def workflow():
    return YAML(typ="safe").load(FOLDER / "workflow.yaml")


def containers_of_workflow():
    return {
        each["name"]: each["container"]
        for each in workflow()["spec"]["templates"]
        if "container" in each
    }


@NEEDS_KUBECTL
class Jobs(unittest.TestCase):
    def setUp(self):
        self.objects = objects()
        self.jobs = {
            name.removeprefix("Job/ossify-"): each["spec"]
            for name, each in self.objects.items()
            if name.startswith("Job/")
        }

    def test_every_object_is_one_of_kubernetes(self):
        self.assertEqual(len(self.objects), 10)
        for name, each in self.objects.items():
            for version in VERSIONS:
                with self.subTest(name, version=version):
                    kubernetes_validate.validate(each, version, strict=True)

    def test_the_schema_knows_a_field_that_is_misspelt(self):
        job = self.objects["Job/ossify-ingest"]
        job["spec"]["backoffLimitPerIndices"] = job["spec"].pop("backoffLimitPerIndex")
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(job, VERSIONS[0], strict=True)

    def test_there_is_an_index_for_each_share(self):
        for name, job in self.jobs.items():
            with self.subTest(name):
                self.assertEqual("completions" in job, name in ("ingest", "resize", "predict"))
                (shares,) = (
                    int(each["value"]) for each in job["template"]["spec"]["containers"][0]["env"]
                )
                self.assertEqual(job.get("completions", shares), shares)

    def test_every_pod_is_locked_down_and_training_alone_has_a_gpu(self):
        for name, job in self.jobs.items():
            with self.subTest(name):
                pod = job["template"]["spec"]
                (container,) = pod["containers"]
                self.assertIs(pod["securityContext"]["runAsNonRoot"], True)
                self.assertIs(container["securityContext"]["readOnlyRootFilesystem"], True)
                self.assertEqual(container["securityContext"]["capabilities"], {"drop": ["ALL"]})
                self.assertEqual(
                    "nvidia.com/gpu" in container["resources"]["limits"], name == "train"
                )
                self.assertRegex(
                    container["image"],
                    rf"^registry\.example\.org/ossify-{name.removesuffix('-merge')}:[0-9.]+$",
                )


class ArgoWorkflow(unittest.TestCase):
    def read(self, document):
        """Parses it with Argo's models, which drop unknown fields."""
        return Workflow.model_validate(document).model_dump(
            by_alias=True, exclude_unset=True, mode="json"
        )

    def test_it_is_one_of_argo(self):
        self.assertEqual(self.read(workflow()), workflow())

    def test_the_models_know_a_field_that_is_misspelt(self):
        document = copy.deepcopy(workflow())
        document["spec"]["paralellism"] = document["spec"].pop("parallelism")
        self.assertNotEqual(self.read(document), document)

    def steps(self):
        (chain,) = (each["steps"] for each in workflow()["spec"]["templates"] if "steps" in each)
        return [step for (step,) in chain]

    def test_the_steps_are_the_stages_in_order_each_with_its_merge(self):
        self.assertEqual(
            [step["name"] for step in self.steps()],
            [
                "ingest",
                "ingest-merge",
                "resize",
                "resize-merge",
                "train",
                "predict",
                "predict-merge",
                "evaluate",
            ],
        )
        for step in self.steps():
            with self.subTest(step["name"]):
                inputs = {
                    each["name"]: each["value"]
                    for each in step.get("arguments", {"parameters": []})["parameters"]
                }
                shares = "{{workflow.parameters.shares}}"
                match step["name"].split("-"):
                    case ["train" | "evaluate" as stage]:
                        self.assertEqual((step["template"], inputs), (stage, {}))
                    case [stage]:
                        self.assertEqual(
                            inputs, {"stage": stage, "part": f"--partition={{{{item}}}}/{shares}"}
                        )
                        self.assertEqual(step["withSequence"], {"start": "1", "end": shares})
                    case [stage, "merge"]:
                        self.assertEqual(inputs, {"stage": stage, "part": f"--merge={shares}"})
                        self.assertNotIn("withSequence", step)

    def test_every_program_is_tried_again_but_for_the_codes_that_stay(self):
        for each in workflow()["spec"]["templates"]:
            with self.subTest(each["name"]):
                self.assertEqual(
                    each.get("retryStrategy", {}).get("expression"),
                    'lastRetry.exitCode not in ["2", "3"]' if "container" in each else None,
                )

    @NEEDS_KUBECTL
    def test_its_containers_are_those_of_the_jobs(self):
        rendered = objects()
        for template, container in containers_of_workflow().items():
            with self.subTest(template):
                pod = rendered[f"Job/ossify-{'ingest' if template == 'part' else template}"][
                    "spec"
                ]["template"]["spec"]
                (job,) = pod["containers"]
                self.assertEqual(workflow()["spec"]["securityContext"], pod["securityContext"])
                self.assertEqual(
                    workflow()["spec"]["volumes"],
                    sorted(pod["volumes"], key=lambda volume: volume["name"], reverse=True),
                )
                for field in ("securityContext", "volumeMounts"):
                    self.assertEqual(container[field], job[field])
                self.assertEqual(
                    [part for part in container["args"] if "part" not in part], job["args"]
                )
                limits = {name: str(value) for name, value in job["resources"]["limits"].items()}
                self.assertEqual(
                    (container["resources"]["requests"], container["resources"]["limits"]),
                    (job["resources"]["requests"], limits),
                )


@NEEDS_KUBECTL
class Run(unittest.TestCase):
    """Tests run.sh with a kubectl that runs the Jobs locally."""

    @classmethod
    def setUpClass(cls):
        cls.project = project = Project(
            **RECIPE | {"OSSIFY__TRAIN__EPOCHS": "1", "OSSIFY__GENERAL__THREADS": "1", "POLL": "0"}
        )
        cls.addClassCleanup(project.close)
        programs = project.root / "programs"
        programs.mkdir()
        (programs / "kubectl").write_text(
            f'#!/bin/sh\nexec {sys.executable} -B {PIPELINES / "tests/job_controller.py"} "$@"\n'
        )
        (programs / "kubectl").chmod(0o755)
        path = project.environment["PATH"]
        project.environment |= {
            "CLUSTER": str(project.root),
            "REAL_PATH": path,
            "PATH": os.pathsep.join([str(programs), path]),
        }
        project.draw(60)

    def test_the_jobs_give_the_bytes_of_one_process_though_a_share_is_lost(self):
        root = self.project.root
        lost = root / "lost"
        path = self.project.wrap(
            self,
            "resize",
            f'case "$*" in *"--partition 3/8"*) if [ ! -e {lost} ]; then touch {lost}; (ulimit -f '
            f'512; "$program" "$@"); kill -KILL $$; fi ;; esac',
        )
        said = self.project.run(FOLDER / "run.sh", PATH=path)
        self.assertTrue(lost.exists(), said)
        self.assertIn("report in", said)
        for stage in STAGES:
            self.project.run(
                f"ossify-{stage}", "--quiet", "--config", "ossify.toml", "--out", "alone"
            )
        self.assertIn("predictions/", " ".join(artefacts(root / "alone")))
        self.assertEqual(artefacts(root / "data/work"), artefacts(root / "alone"))

    def test_a_mistake_in_the_configuration_ends_the_chain_at_once_and_says_why(self):
        said = self.project.run(FOLDER / "run.sh", code=1, OSSIFY__RESIZE__NO_SUCH_KEY="1")
        self.assertEqual(said.count("no_such_key"), 1, said)
        self.assertIn(
            "error: ossify-ingest failed, and the following Jobs will not run: Container ossify "
            "failed with exit code 2",
            said,
        )


if __name__ == "__main__":
    unittest.main()
