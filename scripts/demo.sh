#!/usr/bin/env bash
# The main job on the embedded model, twice. Sentiment: bring the model, extract a vector from it, search strengths, and test
# it beside what a larger model of another family knows of sentiment, carried over by a fitted map and by the paper's cut, and
# beside controls: a random vector, and a map of texts that were paired at random. Then a behaviour in what a model writes:
# does a vector make it work out its answer first? The vectors of that are shipped (docs/RESULTS.md).
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
parent=qwen2.5-coder-0.5b_sentiment
step lm-eval-steer sweep --model_args pretrained="$model" \
    --arms own="$out/own.safetensors",mapped="${parent}_for_smollm2",cut="$parent" --tasks sentiment_steer \
    --dose '[0.0025,0.005,0.01]' --controls random:1,map-shuffled:1 --val_limit "$docs" --limit "$docs" \
    --batch_size 64 --output_path "$out/sentiment"
parent=qwen2.5-coder-0.5b_gsm8k_direct
step lm-eval-steer sweep --model_args pretrained="$model",tokens=last \
    --arms own=smollm2_gsm8k_direct,mapped="${parent}_for_smollm2",cut="$parent" --tasks arith_direct_steer \
    --metric reasons --dose '[0.1,0.2]' --controls random:1,map-shuffled:1 --votes none --val_limit "${FEW:-24}" \
    --limit "${FEW:-24}" --batch_size 64 --output_path "$out/reasons"
step lm-eval-steer leaderboard "$out"
printf '\nOnce per shell, so that it is found: . .venv/bin/activate\n'
