"""Tests pipelines/dvc with DVC itself: what runs again, and what does not."""

import json
import re
import unittest

from project import RECIPE, Project

STAGES = ["ingest", "resize", "train", "predict", "evaluate"]


class Repro(unittest.TestCase):
    """Each test starts from a repository in which everything has run."""

    @classmethod
    def setUpClass(cls):
        # The epochs are in the conf file, because DVC does not see the environment.
        cls.project = project = Project(
            **{name: value for name, value in RECIPE.items() if name != "OSSIFY__TRAIN__EPOCHS"}
        )
        cls.addClassCleanup(project.close)
        project.draw(40)
        for name in ("dvc.yaml", "ossify.toml", "collect.py"):
            project.copy(f"dvc/{name}", name)
        cls.configure("epochs = 15", "epochs = 2")
        project.run("dvc", "init", "--quiet")
        cls.first = cls.repro()

    @classmethod
    def configure(cls, old, new):
        conf = cls.project.root / "ossify.toml"
        text = conf.read_text()
        assert text.count(old) == 1, f"{old} in {text}"
        conf.write_text(text.replace(old, new))

    @classmethod
    def repro(cls):
        """The stages that ran."""
        return re.findall(r"(?m)^Running stage '(\w+)'", cls.project.run("dvc", "repro"))

    def set_for_this_test(self, old, new):
        self.configure(old, new)
        self.addCleanup(self.repro)
        self.addCleanup(self.configure, new, old)

    def shards(self):
        return {
            path.name: path.stat().st_ino
            for path in (self.project.root / "data/work/shards").glob("*.arrow")
        }

    def scores(self):
        return json.loads((self.project.root / "data/work/scores.json").read_text())

    def test_everything_runs_once(self):
        self.assertEqual(self.first, STAGES)
        self.assertEqual(self.repro(), [])
        self.assertIn("up to date", self.project.run("dvc", "status"))

    def test_dvc_shows_scores_and_curves(self):
        shown = json.loads(self.project.run("dvc", "metrics", "show", "--json"))
        (metrics,) = (file["data"] for file in shown[""]["data"].values())
        self.assertEqual(metrics, self.scores())
        self.assertEqual(sorted(metrics), ["test", "valid"])
        self.project.run("dvc", "plots", "show", "--out", "plots")
        page = (self.project.root / "plots/index.html").read_text()
        for curve in ("train_loss", "valid_accuracy", "valid_mean_iou"):
            self.assertIn(f'"{curve}"', page)

    def test_new_tables_with_the_old_content_run_nothing_behind_them(self):
        manifest = self.project.root / "data/work/tables/manifest.json"
        before = manifest.read_text()
        path, lines = next(iter(self.project.labels("train").items()))
        path.write_bytes(b"\n".join(lines) + b"\n\n")
        # Both read the dataset; resize finds that its shards are up to date.
        self.assertEqual(self.repro(), ["ingest", "resize"])
        self.assertNotEqual(manifest.read_text(), before)
        self.assertEqual(self.repro(), [])

    def test_a_label_change_runs_all_stages_and_rewrites_no_shard(self):
        path, lines = next(iter(self.project.labels("train").items()))
        path.write_bytes(b"\n".join([b"0 0.5 0.5 0.3 0.3", *lines[1:]]) + b"\n")
        shards = self.shards()
        self.assertEqual(self.repro(), STAGES)
        self.assertEqual(self.shards(), shards)
        self.assertEqual(len(shards), 3)

    def test_a_changed_training_key_reruns_training_and_undoing_it_restores_the_scores(self):
        before = self.scores()
        self.configure("epochs = 2", "epochs = 3")
        self.assertEqual(self.repro(), ["train", "predict", "evaluate"])
        self.configure("epochs = 3", "epochs = 2")
        self.repro()
        self.assertEqual(self.scores(), before)
        self.assertEqual(self.repro(), [])

    def test_a_key_of_evaluation_runs_evaluation_alone(self):
        self.set_for_this_test("[evaluate]", "[evaluate]\nmin_ap50 = 0.0")
        self.assertEqual(self.repro(), ["evaluate"])

    def test_a_gate_that_is_not_met_fails_and_nothing_behind_it_runs(self):
        self.set_for_this_test("[ingest]", "[ingest]\nmax_findings.coordinate-count = 0")
        said = self.project.run("dvc", "repro", code=255)
        self.assertIn("gate ingest.max_findings.coordinate-count not met", said)
        self.assertIn("exited with 3", said)
        self.assertNotIn("Running stage 'resize'", said)


if __name__ == "__main__":
    unittest.main()
