"""`mlflow models serve` on an export: an image goes in over HTTP, the run's probabilities come back."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from exported_study import make_study


def test_an_export_is_served_without_pickle_and_gives_the_runs_probabilities(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    study.export(study.exported)
    wanted = study.predictions("test").iloc[0]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(study.exported)]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = os.environ | {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    log = tmp_path / "serve.log"
    with log.open("w") as file:
        # In a session of its own, because the server starts workers that outlive it.
        server = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=file, stderr=file, start_new_session=True
        )
        try:
            until = time.monotonic() + 120
            while True:
                assert server.poll() is None and time.monotonic() < until, log.read_text()
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.5)
            image = base64.b64encode(Path(wanted["path"]).read_bytes()).decode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/invocations",
                data=json.dumps({"dataframe_records": [{"name": "scan.png", "image": image}]}).encode(),
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                (row,) = json.loads(answer.read())["predictions"]
        finally:
            os.killpg(server.pid, 15)
            server.wait(timeout=30)
    assert row["path"] == "scan.png" and row["problem"] is None
    for name in ("probability_lower", "probability_upper"):
        assert row[name] == pytest.approx(wanted[name], abs=1e-5)
