"""Plugins in the shape of the reference, as a user had them with version 0.1.0."""

import subprocess


class PlainBackend:
    def run(self, model_run, workspace_dir=None, label="x"):
        return subprocess.run(["sh", "model.sh"], cwd=workspace_dir).returncode == 0


class PlainProcessor:
    def process(self, model_run, factor=1):
        return {"success": True, "message": "done", "metrics": {"factor": factor}}
