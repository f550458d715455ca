#!/usr/bin/env bash
# The main job on the embedded model: bring it, extract a vector, evaluate without and with steering, compare.
set -euo pipefail
cd "$(dirname "$0")/.."
export LMEVAL_LOG_LEVEL=${LMEVAL_LOG_LEVEL:-WARNING} HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
model=models/smollm2
out=demo
docs=${DOCS:-64}

step() {
    printf '\n\033[1m$ %s\033[0m\n' "$*"
    "$@"
}

rm -rf "$out"
step lm-eval-steer model smollm2 "$model"
step lm-eval-steer extract --model_args pretrained="$model",dtype=float32 --task arith_steer --n 64 \
    --out "$out/smollm2_arith.safetensors"
common=(--tasks arith_steer --limit "$docs" --batch_size 16 --log_samples)
step lm_eval --model hf --model_args pretrained="$model" "${common[@]}" --output_path "$out/baseline"
for alpha in 0.04 3; do
    step lm_eval --model steered-hf \
        --model_args pretrained="$model",vectors="$out/smollm2_arith.safetensors",alpha="$alpha" \
        "${common[@]}" --output_path "$out/alpha_$alpha"
done
step lm-eval-steer leaderboard "$out"
