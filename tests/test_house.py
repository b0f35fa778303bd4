"""The house: import floors, sizes of files, rules, one environment, and no address of a package host."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "usfmae"
MODULES = {
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SRC.rglob("*.py"))
}
#: Imports run from a higher floor to the same or a lower one.
FLOORS = {
    0: {"settings", "record", "progress", "attempts", "finished"},
    1: {"evaluation", "tracking", "models", "corpus"},
    2: {"report", "explain", "training", "deployment"},
    3: {"cli"},
}


def floor(module: str) -> int:
    """Floor of a module such as `usfmae.corpus.curation.frames`; `tracking_store` belongs to `tracking`."""
    _, part, *_ = module.split(".")
    for number, parts in FLOORS.items():
        if part in parts or part.split("_")[0] in parts:
            return number
    raise AssertionError(f"{module} stands on no floor: give it one in the design, then in FLOORS")


def imported(path: Path, *, at_start: bool = False) -> set[str]:
    """Names of all modules that a file imports; `at_start`: those that importing the file imports."""
    names = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by the full name"
            names.add(str(node.module))
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        deferred = ast.FunctionDef | ast.AsyncFunctionDef
        for child in ast.iter_child_nodes(node):
            if not (at_start and isinstance(child, deferred)):
                visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return names


def test_imports_run_down_the_floors() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        for name in imported(path) & MODULES.keys() - {"usfmae"}
        if module != "usfmae" and floor(name) > floor(module)
    ]
    assert not wrong


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {
        module: imported(path, at_start=True) & MODULES.keys() - {module} for module, path in MODULES.items()
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_the_package_works_without_snakemake() -> None:
    using = [m for m, path in MODULES.items() if any(n.split(".")[0] == "snakemake" for n in imported(path))]
    assert not using


def test_light_modules_do_not_import_heavy_packages() -> None:
    """Snakemake loads the settings and the listing of a folder at each start, in each job."""
    heavy = {"torch", "timm", "mlflow", "matplotlib", "sklearn", "statsmodels"}
    for start in ("usfmae.settings", "usfmae.record", "usfmae.progress", "usfmae.corpus.download.fetch"):
        seen, waiting = set(), {start}
        while waiting:
            module = waiting.pop()
            seen.add(module)
            names = imported(MODULES[module], at_start=True)
            assert not {name.split(".")[0] for name in names} & heavy, f"{start} through {module}"
            waiting |= (names & MODULES.keys()) - seen


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_a_file_has_at_most_300_lines() -> None:
    assert not {module: length(path) for module, path in MODULES.items() if length(path) > 300}


def test_common_smk_has_at_most_150_lines() -> None:
    assert length(ROOT / "workflow/rules/common.smk") <= 150


def rules() -> dict[str, str]:
    """Text of each rule of the workflow, by name."""
    found = {}
    for file in [ROOT / "Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]:
        blocks = re.split(r"^(?=\S)", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for block in blocks:
            if named := re.match(r"(?:rule|checkpoint) (\w+)", block):
                found[named[1]] = block
    return found


#: Targets that make no result and run whenever they are asked for.
ACTIONS = ("verify", "retry", "pin")
DOORS = {name: text for name, text in rules().items() if re.search(r"^    script:", text, re.MULTILINE)}


def test_every_stage_is_a_target_and_its_rules_are_found() -> None:
    stages = {
        "all", "download", "corpus", "pretrain", "finetune", "statistics", "explain", "report", "track"
    }  # fmt: skip
    assert stages <= rules().keys()
    assert len(DOORS) >= 10


@pytest.mark.parametrize("name", DOORS)
def test_a_rule_with_a_script_says_what_a_scheduler_and_a_person_need(name: str) -> None:
    directives = set(re.findall(r"^    (\w+):", DOORS[name], flags=re.MULTILINE))
    assert {"log", "conda", "resources", "message", "script"} <= directives
    assert {"mem_mb", "runtime"} <= set(re.findall(r"^        (\w+)=", DOORS[name], flags=re.MULTILINE))
    if name not in ACTIONS:
        assert {"output", "benchmark"} <= directives
        assert "version=STAGE_VERSION[" in DOORS[name]


def test_every_script_is_the_door_of_a_rule_and_writes_its_log() -> None:
    used = {re.search(r'"\.\./scripts/(\w+\.py)"', text)[1] for text in DOORS.values()}  # type: ignore[index]
    there = sorted(path.name for path in (ROOT / "workflow/scripts").glob("*.py"))
    assert sorted(used) == there
    for name in there:
        text = (ROOT / "workflow/scripts" / name).read_text(encoding="utf-8")
        # Downloads run on the login node, where a rule's own retries are right.
        attempt = "" if name.startswith("fetch_") else ', snakemake.resources.get("attempt", 1)'
        assert f"with logged(snakemake.log[0]{attempt}):" in text, name


def pinned(lock: str) -> dict[str, set[str]]:
    """Versions of each package in a lock file, by its normal name."""
    pins: dict[str, set[str]] = {}
    text = (ROOT / "envs" / lock).read_text(encoding="utf-8")
    for name, version in re.findall(r"^([\w.-]+)(?:\[.*?\])?==(\S+)", text, flags=re.MULTILINE):
        pins.setdefault(re.sub(r"[-_.]+", "-", name).lower(), set()).add(version)
    return pins


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DIRECT = [Requirement(text) for text in PROJECT["dependencies"]]
TEST_ONLY = [Requirement(text) for text in PROJECT["optional-dependencies"]["test"]]


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_the_lock_pins_every_dependency_at_a_version_that_is_allowed(requirement: Requirement) -> None:
    versions = pinned("requirements.lock")[requirement.name.lower()]
    assert all(requirement.specifier.contains(version) for version in versions)


def test_the_tests_run_on_what_the_workflow_runs_on() -> None:
    runs, tests = pinned("requirements.lock"), pinned("requirements-test.lock")
    assert {name: tests.get(name) for name in runs} == runs
    for requirement in TEST_ONLY:
        assert all(map(requirement.specifier.contains, tests[requirement.name.lower()]))


def test_every_pin_has_hashes() -> None:
    for lock in ("requirements.lock", "requirements-test.lock"):
        text = (ROOT / "envs" / lock).read_text(encoding="utf-8")
        for block in re.split(r"^(?=[\w.-]+(?:\[.*?\])?==)", text, flags=re.MULTILINE)[1:]:
            assert "--hash=sha256:" in block, block.splitlines()[0]


def test_conda_and_apptainer_install_that_lock_on_one_python() -> None:
    environment = yaml.safe_load((ROOT / "envs/usfmae.yaml").read_text(encoding="utf-8"))
    image = (ROOT / "envs/usfmae.def").read_text(encoding="utf-8")
    by_conda = (ROOT / "envs/usfmae.post-deploy.sh").read_text(encoding="utf-8")
    assert hashlib.sha256((ROOT / "envs/requirements.lock").read_bytes()).hexdigest() in by_conda
    for recipe in (by_conda, image):
        assert re.search(
            r"pip install .*--require-hashes -r \S*envs/requirements\.lock$", recipe, re.MULTILINE
        )
        # The lock is the whole environment: no other line installs packages.
        installed = [line for line in recipe.splitlines() if re.search(r"pip install", line)]
        assert len(installed) == 2
        assert all("--no-deps" in line for line in installed)
    assert {re.split(r"[=<>]", package)[0] for package in environment["dependencies"]} == {"python", "pip"}
    (python,) = (p for p in environment["dependencies"] if p.startswith("python="))
    version = python.removeprefix("python=")
    assert f"From: python:{version}-" in image
    assert SpecifierSet(PROJECT["requires-python"]).contains(Version(f"{version}.0"))


def test_no_tracked_file_names_a_package_host() -> None:
    """Registries are the user's to choose: an address of one machine's mirror must not travel."""
    hosts = ["py" + "pi.", "pythonhosted" + ".org", "npm" + "js.", "deb" + "ian.org", "/sim" + "ple/"]
    address = re.compile("|".join(rf"://\S*{re.escape(host)}" for host in hosts))
    option = re.compile("(?:--index-" + "url|--extra-index-" + "url|index-" + "url *=)")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    found = []
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if name and path.is_file() and path.suffix not in (".png", ".pdf"):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            found += [
                f"{name}:{n}"
                for n, line in enumerate(lines, 1)
                if address.search(line) or option.search(line)
            ]
    assert not found


def test_the_docs_say_why_each_dependency_is_there() -> None:
    text = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8").lower()
    unexplained = [r.name for r in [*DIRECT, *TEST_ONLY] if not re.search(rf"\b{re.escape(r.name)}\b", text)]
    assert not unexplained


PROFILES = ("default", "gpu", "slurm")


@pytest.mark.parametrize("name", ["slurm", "gpu"])
def test_a_profile_names_rules_that_exist_and_every_one_that_trains(name: str) -> None:
    profile = yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text(encoding="utf-8"))
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk"))
    rules = set(re.findall(r"^(?:rule|checkpoint) (\w+):", text, flags=re.MULTILINE))
    named = profile["set-resources"].keys() | profile["set-threads"].keys()
    assert named <= rules
    assert {"pretrain_encoder", "pretrain_fold", "finetune_fold", "explain_model"} <= named


def test_every_rule_that_gets_a_gpu_on_a_cluster_looks_whether_it_has_it() -> None:
    """In its script, or in the training that the script starts with the number."""
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    given = {rule for rule, resources in profile["set-resources"].items() if "gpu" in resources}
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk"))
    scripts = dict(re.findall(r"^rule (\w+):.*?\.\./scripts/(\w+\.py)", text, flags=re.MULTILINE | re.DOTALL))
    read = {rule: (ROOT / "workflow/scripts" / scripts[rule]).read_text(encoding="utf-8") for rule in given}
    asks = re.compile(r'^ +[^#\n]*resources\.get\("gpu", 0\)', re.MULTILINE)
    looking = {rule for rule, script in read.items() if asks.search(script)}
    assert given == looking and len(given) == 7


def test_what_breaks_on_clusters_is_not_in_the_profiles_or_rules() -> None:
    """The measured traps: retries of a rule burn its allocation, USR1 kills Snakemake and not the training,
    profiles/default wins over --profile, and --profile slurm looks in ./slurm alone."""
    assert (ROOT / "slurm").resolve() == ROOT / "profiles/slurm"
    read = {name: (ROOT / f"profiles/{name}/config.yaml").read_text(encoding="utf-8") for name in PROFILES}
    keys = {name: set(yaml.safe_load(text)) for name, text in read.items()}
    assert not keys["default"] & (keys["slurm"] | keys["gpu"])
    assert "--signal=TERM@" in read["slurm"] and "--signal=USR1" not in "".join(read.values())
    assert not re.search(r"^\s+(tasks|gres):", read["slurm"], re.MULTILINE)
    trained = [text for name, text in DOORS.items() if not name.startswith("fetch_")]
    assert not [text for text in trained if re.search(r"^\s+retries:", text, re.MULTILINE)]


def test_snakemake_s_handlers_stand_in_one_file() -> None:
    """Of two handlers of a kind Snakemake runs the last alone."""
    files = [ROOT / "Snakefile", *sorted((ROOT / "workflow").rglob("*.smk"))]
    handlers = [(line, file.name) for file in files for line in file.read_text().splitlines()]
    found = sorted(each for each in handlers if re.fullmatch(r"on(start|success|error):", each[0]))
    assert found == [(f"on{kind}:", "hooks.smk") for kind in ("error", "start", "success")]
