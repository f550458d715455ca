#!/usr/bin/env bash
# The main job on the embedded model: bring it, extract a vector, search its strength, test it against no steering and a
# random vector, compare.
set -euo pipefail
cd "$(dirname "$0")/.."
export LMEVAL_LOG_LEVEL=${LMEVAL_LOG_LEVEL:-WARNING} HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
model=models/smollm2
out=demo
docs=${DOCS:-40}

step() {
    printf '\n\033[1m$ %s\033[0m\n' "$*"
    "$@"
}

rm -rf "$out"
step lm-eval-steer model smollm2 "$model"
step lm-eval-steer extract --model_args pretrained="$model",dtype=float32 --task arith_steer --n 64 \
    --out "$out/smollm2_arith.safetensors"
step lm-eval-steer sweep --model_args pretrained="$model",vectors="$out/smollm2_arith.safetensors" \
    --tasks arith_steer --alpha '[0.04,1,3]' --controls random:1 --val_limit "$docs" --limit "$docs" \
    --batch_size 64 --output_path "$out/sweep"
step lm-eval-steer leaderboard "$out/sweep"
printf '\nOnce per shell, so that it is found: . .venv/bin/activate\n'
