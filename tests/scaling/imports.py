"""What the starts of jobs cost: `python tests/scaling/imports.py [--repository FOLDER] [CONFIG …]`.

For the script of each rule, and for a process that it starts for one step of its work, this prints the processor time
and memory until the work begins: the start of Python, Snakemake's own imports, and those of the script. For each
configuration, it then prints the number of jobs (`snakemake --dry-run`), and their seconds in total. FOLDER is another
clone to measure. Imports in other modules that are made only when a function is called do not count.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

LARGE = ["torch", "torchvision", "sklearn", "statsmodels", "scipy", "skimage", "matplotlib", "cv2", "pandas"]
CODE = """
{imports}
import resource, sys, time
large = [name for name in {large} if name in sys.modules]
print(f"{{time.process_time():.1f}} s, {{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}} MiB:", *large)
"""


def imports_of(tree: ast.AST) -> list[str]:
    return [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def processes(script: Path) -> dict[str, list[str]]:
    """The processes of a job without a compiled engine, with their imports: its script, and its first step if any."""
    tree = ast.parse(script.read_text())
    found = {script.stem: ["import pickle", "from snakemake import script", *imports_of(tree)]}
    step = re.search(r"run_step\((\w+)", script.read_text())
    if step:
        origin = next(
            node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and step[1] in [alias.name for alias in node.names]
        )
        module = ast.parse((script.parent / f"{origin.replace('.', '/')}.py").read_text())
        (function,) = (node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == step[1])
        found[f"{script.stem}, its step"] = ["import wbcsr.isolated", f"import {origin}", *imports_of(function)]
    return found


def answer_of(command: list[str], repository: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(repository / "scripts")}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@cache
def seconds_of(script: Path) -> float:
    """The seconds of all processes of a job; prints those of each process."""
    total = 0.0
    for name, imports in processes(script).items():
        code = CODE.format(imports="\n".join(imports), large=LARGE)
        answer = answer_of([sys.executable, "-c", code], script.parents[1])
        print(f"{name}: {answer}", flush=True)
        total += float(answer.split()[0])
    return total


def jobs_of(config: str, repository: Path) -> dict[str, int]:
    """The number of jobs of each rule."""
    with tempfile.TemporaryDirectory() as folder:
        # The table of sources that a configuration may need.
        (Path(folder) / "data").mkdir()
        (Path(folder) / "data" / "sources.csv").touch()
        snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(repository / "Snakefile"), "--cores", "8"]
        options = ["--configfile", config, "--directory", folder, "--dry-run", "--quiet", "rules"]
        plan = answer_of([*snakemake, *options], repository)
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", plan.partition("total")[0], re.MULTILINE))
    return {rule: int(number) for rule, number in jobs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", nargs="*", metavar="CONFIG")
    parser.add_argument("--repository", type=Path, default=Path(__file__).parents[2])
    given = parser.parse_args()
    repository = given.repository.resolve()
    scripts = {script.stem: script for script in sorted((repository / "scripts").glob("*.py"))}
    rules = "\n".join(path.read_text() for path in (repository / "rules").glob("*.smk"))
    on_gpu = {name for name, body in re.findall(r"rule (\w+):\n((?:    .*\n|\n)+)", rules) if "        gpu=" in body}
    for config in given.configs:
        jobs = {rule: number for rule, number in jobs_of(config, repository).items() if rule in scripts}
        seconds = {rule: number * seconds_of(scripts[rule]) for rule, number in jobs.items()}
        print(f"\n{config}")
        for rule in sorted(jobs, key=lambda rule: -seconds[rule]):
            print(f"{rule}: {jobs[rule]} jobs, {seconds[rule]:.1f} s", "(GPU)" if rule in on_gpu else "")
        for which, chosen in (("all", jobs.keys()), ("with a GPU", jobs.keys() & on_gpu)):
            print(f"{which}: {sum(jobs[rule] for rule in chosen)} jobs, {sum(seconds[rule] for rule in chosen):.0f} s")
        print(flush=True)
    for script in scripts.values() if not given.configs else ():
        seconds_of(script)


if __name__ == "__main__":
    main()
