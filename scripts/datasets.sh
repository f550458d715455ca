#!/usr/bin/env bash
# One child on the paper's datasets: alpha=0 and ALPHA side by side in one pass, then scored arm by arm from the record.
# What is there already is not run again, so a run that was stopped goes on. PROMPTS="text" leaves the chat template out.
#   usage: scripts/datasets.sh MODEL_ARGS OUT DOCS ALPHA TASK=VECTOR...
set -euo pipefail
child=$1 out=$2 docs=$3 alpha=$4
shift 4
export LMEVAL_LOG_LEVEL=${LMEVAL_LOG_LEVEL:-WARNING} TRANSFORMERS_VERBOSITY=error

run() { # alpha, then more arguments of lm_eval
    local model_args="$child,vectors=$vector,record=$out/record,alpha=$1"
    shift
    lm_eval --model steered-hf --model_args "$model_args" --tasks "$task" --limit "$docs" --batch_size 64 "${more[@]}" "$@"
}

for pair in "$@"; do
    task=${pair%%=*} vector=${pair#*=}
    for prompt in ${PROMPTS:-text chat}; do
        more=()
        [ "$prompt" = chat ] && more+=(--apply_chat_template)
        compgen -G "$out/$task-$prompt-$alpha/*/results_*.json" >/dev/null && continue
        printf '\n\033[1m%s, %s prompt, alpha 0 and %s\033[0m\n' "$task" "$prompt" "$alpha"
        run "[0,$alpha]"
        for one in 0 "$alpha"; do run "$one" --log_samples --output_path "$out/$task-$prompt-$one"; done
    done
done
lm-eval-steer leaderboard "$out"
