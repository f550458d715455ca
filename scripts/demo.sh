#!/usr/bin/env bash
# The main job on the embedded model: bring it, extract a vector of sentiment from it, search strengths, and test it beside
# that of a larger model of another family, cut to its width, and beside controls: the negated vector and a random one.
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
step lm-eval-steer extract --model_args pretrained="$model",dtype=float32 --task sentiment_steer --method mean --n 64 \
    --out "$out/own.safetensors"
step lm-eval-steer sweep --model_args pretrained="$model" \
    --arms own="$out/own.safetensors",cut=qwen2.5-coder-0.5b_sentiment --tasks sentiment_steer \
    --dose '[0.001,0.0025,0.005]' --controls random:1,negated --val_limit "$docs" --limit "$docs" \
    --batch_size 64 --output_path "$out/sweep"
step lm-eval-steer leaderboard "$out/sweep"
printf '\nOnce per shell, so that it is found: . .venv/bin/activate\n'
