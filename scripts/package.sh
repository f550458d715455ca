#!/usr/bin/env bash
# What would be published, in dist/, and whether it works: the source distribution has every file of the repository, both
# pass twine's check, and the wheel, in an empty environment and outside of the repository, has its commands, tasks, models and
# vectors, and steers a small model.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH

step() {
    printf '\n\033[1m%s\033[0m\n' "$*"
}

environment() { # environment FOLDER WHAT...: a new one with these packages
    "$python" -m venv "$1"
    "$1/bin/python" -m pip install --disable-pip-version-check --no-compile -q -c constraints.txt "${@:2}"
}

step "Source distribution and wheel"
environment "$work/tools" build twine
rm -rf dist
"$work/tools/bin/python" -m build --outdir dist . >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
"$work/tools/bin/python" -m twine check --strict dist/*
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' lm_eval_steer/__init__.py)
sdist=dist/lm_eval_steer-$version.tar.gz wheel=dist/lm_eval_steer-$version-py3-none-any.whl
ls -l "$sdist" "$wheel"

step "The source distribution against the repository: what only one of them has"
diff <(git ls-files | LC_ALL=C sort) \
    <(tar tzf "$sdist" | sed "s|^lm_eval_steer-$version/||" | grep -vE '/$|^$|^PKG-INFO$|\.egg-info/' | LC_ALL=C sort)

step "The wheel in an empty environment"
environment "$work/env" "$wheel"
export PATH="$work/env/bin:$PATH" HF_HUB_OFFLINE=1 LMEVAL_LOG_LEVEL=WARNING TRANSFORMERS_VERBOSITY=error
mkdir "$work/elsewhere"
cd "$work/elsewhere"
test "$(lm-eval-steer --version)" = "lm_eval_steer $version"
python - "$work/env" "$root/vectors" <<'PYTHON'
import sys
from pathlib import Path

import lm_eval_steer
from lm_eval.api.registry import get_model
from lm_eval_steer.vectors.catalog import shipped_names

environment, vectors = sys.argv[1:]
assert lm_eval_steer.__file__.startswith(environment), f"imported from {lm_eval_steer.__file__}"
missing = {path.stem for path in Path(vectors).glob("*.safetensors")} - set(shipped_names())
assert not missing, f"the wheel lacks the vectors {missing}"
print("steered-hf is", get_model("steered-hf").__module__, "and", len(shipped_names()), "vectors are shipped")
PYTHON
lm_eval ls tasks >tasks.txt
for task in $(sed -n 's/^task: *//p' "$root"/tasks/*/*_steer*.yaml); do
    grep -qE "(^|[^[:alnum:]_])$task([^[:alnum:]_]|\$)" tasks.txt || { echo "lm_eval ls tasks lacks $task"; exit 1; }
done
lm-eval-steer vectors show smollm2_sentiment >shown.txt
sed -n 1,6p shown.txt
lm-eval-steer model smollm2 smollm2
lm_eval --model steered-hf --tasks sentiment_steer --limit 8 --batch_size 8 \
    --model_args pretrained=smollm2,dtype=float32,vectors=smollm2_sentiment,dose=0.01
printf '\n%s and %s are good.\n' "$sdist" "$wheel"
