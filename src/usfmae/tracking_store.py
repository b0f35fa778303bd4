"""The MLflow store: what one run looks like in it, written through the client API alone.

No user name, host or home folder enters a tag or a parameter, and nothing is pickled.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# Before the import: MLflow starts a thread that reports its use to its makers.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Two lines for each run that ends on a server would fill the logs.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

from mlflow.entities import Dataset, DatasetInput, Metric, Param, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from usfmae.progress import without_home
from usfmae.tracking_address import without_password
from usfmae.tracking_content import Content

#: The kind and, in MLflow 3.17, the address by which the UI shows runs instead of traces.
EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}
PAGE = "/#/experiments/{id}/runs?workflowType=machine_learning"
PARENT = "mlflow.parentRunId"
#: Tag of a run that a training writes while it runs; the run of its record replaces it.
LIVE = "usfmae.live"
#: Days after which a live run without a record is taken for dead; no scheduler lets a job run longer.
LIVE_DAYS = 30
#: Limits of the MLflow server: 1000 entities in one call and 100 parameters among them; characters.
ENTITIES_A_CALL, PARAMS_A_CALL, PARAM_LENGTH, TAG_LENGTH = 1000, 100, 6000, 8000
#: Letters of a digest that MLflow keeps of a dataset.
DIGEST_LENGTH = 36


@dataclass(frozen=True)
class Artifact:
    """A file of a run. `name` is its path inside the run; `copied` says whether its bytes go along."""

    path: Path
    name: str
    size: int  # bytes
    sha256: str
    copied: bool


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder/lock`: two processes that open a new SQLite store at once break each other."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, also after a crash
        yield


class Store:
    """The runs that one folder `results` has in an MLflow store."""

    def __init__(self, results: Path, uri: str | None) -> None:
        """`uri` as MLflow takes it; None is the SQLite store below `results`."""
        folder = results / "mlflow"
        self._uri = uri or f"sqlite:///{folder / 'mlflow.db'}"
        self._artifacts = None if uri else folder / "artifacts"
        # Two checkouts may share a server: each touches the runs of its own folder only.
        self._owner = _owner(results, shared=uri is not None)
        if self._artifacts and _made_elsewhere(folder / "mlflow.db", self._artifacts):
            print(f"{folder}: this store was made in another folder, whose paths it holds; it is built anew")
            for name in ("mlflow.db", "mlflow.db-journal", "mlflow.db-wal", "mlflow.db-shm"):
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(self._artifacts, ignore_errors=True)
        self._client = MlflowClient(self._uri)
        try:
            found = self._client.search_experiments(view_type=ViewType.ALL)
        except MlflowException as error:
            # `from None`: the traceback goes into a log, and MLflow's own error names the whole address.
            raise ConnectionError(
                f"MLflow store {without_password(self._uri)} does not open "
                f"({without_password(str(error))}); start the server, or unset "
                "MLFLOW_TRACKING_URI to use the store below results/"
            ) from None
        self._experiments = {experiment.name: experiment for experiment in found}

    def runs(self, key: str | None = None) -> dict[str, list[Run]]:
        """key → its runs in the store: one, or more where an earlier pass was cut off, or while it trains.
        With a `key`, of that one alone."""
        wanted = f"tags.`usfmae.results` = '{self._owner}'"
        if key is not None:
            wanted += f" and tags.`usfmae.key` = '{key}'"
        ids = [experiment.experiment_id for experiment in self._experiments.values()]
        found: dict[str, list[Run]] = {}
        token: str | None = None
        while ids:
            page = self._client.search_runs(ids, wanted, max_results=1000, page_token=token)
            for run in page:
                found.setdefault(run.data.tags["usfmae.key"], []).append(run)
            token = page.token
            if not token:
                break
        return found

    @staticmethod
    def is_live(run: Run) -> bool:
        """Whether a training writes it, or wrote it in the last days: nothing else can tell that it died."""
        age = time.time() - run.info.start_time / 1000
        return run.data.tags.get(LIVE) == "true" and age < LIVE_DAYS * 24 * 3600

    @staticmethod
    def is_whole(run: Run, digest: str) -> bool:
        """Whether the run was written to its end from files with this digest."""
        return bool(run.info.status == "FINISHED" and run.data.tags.get("usfmae.digest") == digest)

    def write(
        self,
        experiment: str,
        name: str,
        content: Content,
        identity: dict[str, str],
        files: Sequence[Artifact],
        parent: str | None,
    ) -> str:
        """Makes a run and returns its id. Its status becomes FINISHED last, when all of it is there."""
        run_id = self.begin(experiment, name, content, identity | ({PARENT: parent} if parent else {}))
        for file in files:
            if file.copied:
                folder = Path(file.name).parent.as_posix()
                self._client.log_artifact(run_id, str(file.path), None if folder == "." else folder)
        if files:
            listing = {
                file.name: {"bytes": file.size, "sha256": file.sha256, "copied": file.copied}
                for file in files
            }
            self._client.log_dict(run_id, listing, "artifacts.json")
        self.end(run_id, content.end)
        return run_id

    def begin(self, experiment: str, name: str, content: Content, identity: dict[str, str]) -> str:
        """Makes a run that is not ended yet, with the content's tags, parameters and metrics; its id."""
        tags = {
            "mlflow.user": "usfmae",
            "mlflow.source.name": "usfmae",
            "usfmae.results": self._owner,
            **identity,
            **{key: without_home(value)[:TAG_LENGTH] for key, value in content.tags.items()},
        }
        run_id = str(
            self._client.create_run(self._experiment(experiment), content.start, tags, name).info.run_id
        )
        self.add(run_id, content)
        if content.inputs:  # what the UI calls datasets: the manifests and weights that the run read
            read = [
                Dataset(path, sha256[:DIGEST_LENGTH], "local", json.dumps({"uri": path}))
                for path, sha256 in content.inputs.items()
            ]
            self._client.log_inputs(run_id, [DatasetInput(dataset) for dataset in read])
        return run_id

    def add(self, run_id: str, content: Content) -> None:
        """Adds the content's parameters and metrics to a run."""
        params = [
            Param(_name(key), without_home(text)[:PARAM_LENGTH]) for key, text in content.params.items()
        ]
        metrics = [Metric(_name(key), value, at, step) for key, value, step, at in content.metrics]
        # One call for as much as it takes: each opens transactions of its own.
        while params or metrics:
            some, params = params[:PARAMS_A_CALL], params[PARAMS_A_CALL:]
            room = ENTITIES_A_CALL - len(some)
            self._client.log_batch(run_id, metrics[:room], some)
            metrics = metrics[room:]

    def end(self, run_id: str, at: int, status: str = "FINISHED") -> None:
        """`at`: milliseconds since 1970."""
        self._client.set_terminated(run_id, status, at)

    def page(self, experiment: str) -> str:
        """Where the UI shows the runs of an experiment, below the server's address."""
        return PAGE.format(id=self._experiments[experiment].experiment_id)

    def set_parent(self, run: Run, parent: str | None) -> None:
        """Ties a kept fold to a parent that was written anew."""
        if parent and run.data.tags.get(PARENT) != parent:
            self._client.set_tag(run.info.run_id, PARENT, parent)

    def discard(self, run: Run) -> None:
        """Takes a run out of sight; MLflow keeps it in its bin until `mlflow gc`."""
        self._client.set_tag(run.info.run_id, "usfmae.superseded", "true")
        self._client.delete_run(run.info.run_id)

    def _experiment(self, name: str) -> str:
        """Id of the experiment, made where it is missing and restored where somebody deleted it."""
        known = self._experiments.get(name)
        if known is None:
            location = (self._artifacts / name).as_uri() if self._artifacts else None
            try:
                made = self._client.create_experiment(name, location, EXPERIMENT_KIND)
            except MlflowException:  # another process was faster, or it cannot be made at all
                other = self._client.get_experiment_by_name(name)
                if other is None:
                    raise
                made = other.experiment_id
            known = self._experiments[name] = self._client.get_experiment(made)
        if known.lifecycle_stage == "deleted":
            self._client.restore_experiment(known.experiment_id)
            known = self._experiments[name] = self._client.get_experiment(known.experiment_id)
        return str(known.experiment_id)


def _owner(results: Path, *, shared: bool) -> str:
    """Whose runs they are: the folder's. In a shared store another machine may have a folder of this path, so
    a number counts too, drawn once and kept in the folder (`.study`; hidden files are in no run)."""
    number, path = "", results / ".study"
    if shared and not path.exists():
        results.mkdir(parents=True, exist_ok=True)
        drawn = results / f".study-{secrets.token_hex(8)}"
        drawn.write_text(drawn.name, encoding="utf-8")
        with suppress(OSError):  # another process was faster, or the disk has no hard links
            os.link(drawn, path)
        if not path.exists():
            drawn.replace(path)
        drawn.unlink(missing_ok=True)
    if shared:
        number = path.read_text(encoding="utf-8")
    return hashlib.sha256(f"{results}{number}".encode()).hexdigest()[:12]


def _made_elsewhere(database: Path, artifacts: Path) -> bool:
    """Whether the local store keeps the files of an experiment of ours in another folder than `artifacts`.

    Read before MLflow opens it: MLflow keeps what it has opened once, so that nothing could be thrown away.
    """
    if not database.exists():
        return False
    try:
        with closing(sqlite3.connect(database.as_uri() + "?mode=ro", uri=True)) as store:
            locations = store.execute("SELECT name, artifact_location FROM experiments").fetchall()
    except sqlite3.Error:
        return False  # MLflow says better what is wrong with it
    return any(
        found.endswith(f"/mlflow/artifacts/{name}") and not found.startswith(artifacts.as_uri())
        for name, found in locations
    )


def _name(text: str) -> str:
    """A name that MLflow takes: letters, digits, and `_ - . : /` and spaces; at most 250 of them."""
    return re.sub(r"[^\w.\- :/]", "_", text)[:250]
