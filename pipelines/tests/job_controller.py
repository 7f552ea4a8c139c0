"""Replaces kubectl and the Job controller: runs containers as local processes, one by one.

It supports what pipelines/kubernetes uses: suspended and Indexed Jobs, retries for each index,
FailJob rules, and variables in commands. Mounted folders are below CLUSTER, which also stores the
state."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

CLUSTER = Path(os.environ["CLUSTER"])
STATE = CLUSTER / "state.json"


def main(arguments):
    state = json.loads(STATE.read_text()) if STATE.exists() else {}
    match arguments:
        case ["delete", "jobs", *_]:
            state = {}
        case ["apply", "--kustomize", folder]:
            state |= apply(folder)
        case ["patch", "job", name, "--type=merge", '--patch={"spec":{"suspend":false}}']:
            assert state[name]["job"]["spec"]["suspend"], name
            condition, message = run(state[name]["job"])
            state[name] |= {"type": condition, "message": message}
        case ["get", "job", name, output]:
            before = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[
                state[name]["type"]
            ]
            print(
                state[name]["message"]
                if output.endswith(".message}")
                else f"{before} {state[name]['type']}"
            )
        case _:
            raise SystemExit(f"no such call is known here: {arguments}")
    STATE.write_text(json.dumps(state))


def apply(folder):
    rendered = subprocess.run(
        ["kubectl", "kustomize", folder],
        check=True,
        capture_output=True,
        env=os.environ | {"PATH": os.environ["REAL_PATH"]},
    )
    jobs = {}
    for each in YAML(typ="safe").load_all(rendered.stdout):
        if each["kind"] == "Job":
            jobs[each["metadata"]["name"]] = {"job": each}
        elif each["kind"] == "ConfigMap":
            for name, text in each["data"].items():
                (CLUSTER / name).write_text(local(text))
    return jobs


def local(text):
    return text.replace("/data/", f"{CLUSTER}/data/").replace("/etc/ossify/", f"{CLUSTER}/")


def run(job):
    """Runs a Job; returns its final condition and message."""
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    fatal = [
        code
        for rule in spec["podFailurePolicy"]["rules"]
        if rule["action"] == "FailJob"
        for code in rule["onExitCodes"]["values"]
    ]
    indexed = spec.get("completionMode") == "Indexed"
    for index in range(spec.get("completions", 1)):
        variables = {each["name"]: each["value"] for each in container["env"]} | (
            {"JOB_COMPLETION_INDEX": str(index)} if indexed else {}
        )
        command = [
            local(expand(part, variables)) for part in container["command"] + container["args"]
        ]
        for _ in range(1 + spec.get("backoffLimitPerIndex", 6)):
            code = subprocess.run(command, env=os.environ | variables, stdout=sys.stderr).returncode
            if code == 0 or code in fatal:
                break
        if code in fatal:
            return (
                "Failed",
                f"Container {container['name']} failed with exit code {code} matching FailJob rule",
            )
        if code != 0:
            return "Failed", "Job has reached the specified backoff limit"
    return "Complete", ""


def expand(text, variables):
    """Expands $(NAME) as Kubernetes does: unknown names stay, and $$ is a literal $."""
    return re.sub(
        r"\$\$|\$\(([^)]*)\)",
        lambda found: "$" if found[1] is None else variables.get(found[1], found[0]),
        text,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
