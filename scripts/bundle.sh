#!/usr/bin/env bash
# The commands of a bundle, on a machine without a network. Each ends after SECONDS, with what is finished by then.
#   run.sh unpack [SECONDS]       take the parts that have arrived; when none is missing, unpack and install
#   run.sh tests [SECONDS]        what this machine can run, the tests for GPUs, and unit tests of code that a GPU runs
#   run.sh benchmark [SECONDS]    config/benchmark-gpu.yaml
#   run.sh study [SECONDS]        config/gpu.yaml
# Variables: PYTHON (the Python that has torch), WORK (folder for code and studies), RESULTS (folder for what to copy
# back), CONFIG (another configuration for benchmark or study). docs/gpu-without-network.md explains them.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHON=${PYTHON:-python3}
WORK=$(realpath "${WORK:-$here}")
RESULTS=$(realpath "${RESULTS:-$WORK/results}")
code=$WORK/wbcsr
export here WORK code CONFIG=${CONFIG:-}
# The ImageNet weights are a package, which pip finds in this folder.
export PIP_NO_INDEX=1 PIP_FIND_LINKS=$code/wheelhouse/weights PATH=$code/.venv-site/bin:$PATH

unpack() {
    "$PYTHON" "$here/bundle.py" unpack "$here" "$WORK"
    make --directory "$code" setup-site PYTHON="$PYTHON"
}

# The doctor runs beside the tests, because its checks take minutes.
tests() {
    flow "" --force doctor >doctor.txt 2>&1 &
    cd "$code"
    status=0
    pytest --durations 15 tests/gpu || status=1
    pytest --durations 15 --numprocesses auto tests/unit/test_{engines,gate,memory,pixels,predict,train,upscaler}.py || status=1
    wait
    exit $status
}

benchmark() {
    flow "${CONFIG:-config/benchmark-gpu.yaml}" -- results/benchmark/batches.csv
}

# A job of this study is short and keeps neither a GPU nor two cores busy, so several share the GPU.
study() {
    local jobs=$((($(nproc) + 1) / 2))
    flow "${CONFIG:-config/gpu.yaml}" --resources gpu="$jobs" --default-resources jobs_per_gpu="$jobs" \
        --set-threads train_classifier=2 compile_classifier=2 check_classifier=2 predict=2
}

# flow CONFIG …: run Snakemake for this folder, with the data of the bundle. Snakemake's own lock would remain after a
# run that was killed at its limit, and refuse the next one.
flow() {
    local folder=$PWD config=$1
    shift
    ln -sfn "$code/data" "$folder/data"
    cp "$code/commit.txt" "$folder"
    exec 9>"$folder/.lock"
    flock --nonblock 9 || { echo "error: $folder: another run.sh uses this folder; wait, or stop it" >&2; exit 1; }
    cd "$code"
    snakemake --nolock --profile profiles/local-gpu ${config:+--configfile "$config"} --directory "$folder" "$@"
}

# within SECONDS PATTERN …: run a command in its folder and in this time, then pack its files that match the patterns.
within() {
    if [[ $verb != unpack && ! -e $code/.venv-site/installed ]]; then
        echo "error: $code: nothing is installed; run first: $0 unpack" >&2
        exit 1
    fi
    local folder=$WORK/studies/$verb
    mkdir -p "$folder"
    cd "$folder"
    export -f unpack tests benchmark study flow
    "$PYTHON" "$here/bundle.py" run "$1" "$RESULTS/$verb.log" "$RESULTS/$verb.zip" "$folder" \
        --keep commit.txt "${@:2}" 'logs/**/*' 'benchmarks/**/*' '.snakemake/log/*' -- bash -euo pipefail -c "$verb"
}

verb=${1:-}
case $verb in
    unpack) within "${2:-300}" ;;
    tests) within "${2:-300}" doctor.txt results/doctor.json ;;
    benchmark) within "${2:-240}" 'results/benchmark/*' ;;
    study)
        within "${2:-420}" 'results/report/*' 'results/tables/*' 'results/predictions/**/*.csv' 'results/runs/**/history.csv' \
            'results/*/*.csv' 'results/engines/**/*.json' 'results/**/*provenance.json' 'results/figures/*.png'
        ;;
    *)
        sed -n '2,8s/^# //p' "$0" >&2
        exit 1
        ;;
esac
