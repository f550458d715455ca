#!/usr/bin/env bash
# One child on the paper's datasets and arith: baseline and steered, as text and through the chat template.
# Arms that are there already are not run again, so a run that was stopped goes on.
#   usage: scripts/datasets.sh CHILD OUT DOCS ALPHA TASK=VECTOR...
set -euo pipefail
child=$1 out=$2 docs=$3 alpha=$4
shift 4
export LMEVAL_LOG_LEVEL=${LMEVAL_LOG_LEVEL:-WARNING} TRANSFORMERS_VERBOSITY=error

arm() { # name, then the arguments of lm_eval
    local folder="$out/$1"
    shift
    if compgen -G "$folder/*/results_*.json" >/dev/null; then return; fi
    printf '\n\033[1m$ lm_eval %s --output_path %s\033[0m\n' "$*" "$folder"
    lm_eval "$@" --output_path "$folder"
}

for pair in "$@"; do
    task=${pair%%=*} vector=${pair#*=}
    for prompt in text chat; do
        common=(--tasks "$task" --limit "$docs" --batch_size 16 --log_samples)
        [ "$prompt" = chat ] && common+=(--apply_chat_template)
        arm "$task-$prompt-0" --model hf --model_args "pretrained=$child" "${common[@]}"
        arm "$task-$prompt-$alpha" --model steered-hf \
            --model_args "pretrained=$child,vectors=$vector,alpha=$alpha" "${common[@]}"
    done
done
lm-eval-steer leaderboard "$out"
