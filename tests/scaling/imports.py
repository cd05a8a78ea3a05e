"""The processor time and memory that the script of each rule needs for its imports: `python tests/scaling/imports.py`.

Imports in other modules that are made only when a function is called do not count.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"
LARGE = ["torch", "torchvision", "sklearn", "statsmodels", "scipy", "skimage", "matplotlib", "cv2", "pandas"]
CODE = """
import sys, time
started = time.process_time()
{imports}
seconds = time.process_time() - started
import resource
large = [name for name in {large} if name in sys.modules]
print(f"{{seconds:.1f}} s, {{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}} MiB:", *large)
"""

for script in sorted(SCRIPTS.glob("*.py")):
    nodes = ast.walk(ast.parse(script.read_text()))
    imports = "\n".join(ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))
    code = CODE.format(imports=imports, large=LARGE)
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    print(f"{script.stem}: {answer.strip()}", flush=True)
