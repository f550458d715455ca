"""Every causal family that transformers has: does `steered-hf` give on it what the oracle gives?

    python benchmarks/families.py [--device cuda] [family ...]

makes a tiny random model of each family, steers it, and compares text and log-likelihoods of a padded batch at two
strengths with engines/reference.py, which runs one request at a time without padding or cache. Prompts differ in
length, and half of them share a beginning. Prints a Markdown table; families of which no tiny model can be made are
named.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from lm_eval_steer.engines.protocol import Generation, Job
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.errors import SteeringError
from lm_eval_steer.models.hf import SteeredHF

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import models
from conftest import make_vector

ALPHA = 3.0
SHARED = list(range(100, 124))
OWN = [[65, 66, 67, 68, 69, 70, 71], [72, 73, 74], [80, 81, 82, 83, 84]]
PROMPTS = [*OWN, *(SHARED + own for own in OWN)]
CONTINUATIONS = [[90, 91], [92, 93, 94]]
NEW_TOKENS = 8
MOST_PARAMETERS = 30_000_000

_GROUPED = {"num_key_value_heads": 2, "intermediate_size": 48}
_HEADS = {"num_key_value_heads": 4, "head_dim": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8}
_LATENT = _HEADS | {"kv_lora_rank": 16, "q_lora_rank": 16}
_EXPERTS = {
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk"), 2),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "first_k_dense_replace"), 1),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
}
_LINEAR = {
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}
_WINDOWS = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 16}
_ATTEMPTS = [
    _GROUPED | _EXPERTS | _WINDOWS | {"head_dim": 8},
    _GROUPED | _EXPERTS | _WINDOWS | _LATENT,
    _GROUPED | _EXPERTS | _LINEAR | {"head_dim": 8},
    _GROUPED | _EXPERTS | _LATENT,
    _GROUPED,
    {},
]
"""Settings that one family or the other needs to be tiny."""
_KINDS = ("layer_types", "sliding_window")
"""Of these, a family is given only those that it knows: a cache makes windows of them, whoever asks for them."""
_OWN = {
    "rwkv": {"attention_hidden_size": 32, "context_length": 128},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 2, "state_size": 8},
    "recurrent_gemma": {"lru_width": 32, "attention_window_size": 16},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8},
    "bamba": {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "attn_layer_indices": [1]},
    "falcon_h1": {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_d_ssm": 64},
    "dory": {"n_input_layers": 1, "n_recurrent_layers": 1, "n_output_layers": 1, "n_recurrent_loops": 2},
    "gemma3n_text": {"vocab_size_per_layer_input": 259, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0}
    | {"activation_sparsity_pattern": None, "laurel_rank": 4},
    "gemma4_text": {"vocab_size_per_layer_input": 259, "hidden_size_per_layer_input": 8, "global_head_dim": 8}
    | {"num_kv_shared_layers": 1},
    "gptj": {"rotary_dim": 4},
    "granitemoehybrid": {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8}
    | {"layer_types": ["mamba", "attention", "mamba"], "shared_intermediate_size": 32},
    "codegen": {"rotary_dim": 4},
    "gpt_neo": {"num_layers": 3, "num_heads": 4, "attention_types": [[["local", "global", "local"], 1]]}
    | {"window_size": 8},
}


def make(family: str) -> PreTrainedModel:
    """A tiny random model, if possible one that `_keeps_its_word`.

    Raises:
        ValueError: with the last reason why none could be made.
    """
    kind: Any = CONFIG_MAPPING[family]
    reason: Exception | None = None
    spare: PreTrainedModel | None = None
    for attempt in _ATTEMPTS:
        try:
            known = vars(kind())
            own = {name: value for name, value in attempt.items() if name in known or name not in _KINDS}
            config = kind(**(models.COMMON | own | _OWN.get(family, {})))
            if config.get_text_config() is not config or getattr(config, "hidden_size", None) != models.WIDTH:
                raise ValueError("its configuration takes no width")
            with torch.device("meta"):
                size = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())
            if size > MOST_PARAMETERS:
                raise ValueError(f"these settings leave it {size / 1e6:.0f} million parameters")
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(config).eval()
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    torch.nn.init.normal_(parameter, std=0.25)
            model.generation_config.pad_token_id = 258
            if _keeps_its_word(model):
                return model
            spare = model
        except Exception as error:  # whatever three libraries make of settings that do not fit
            reason = error
    if spare is not None:
        return spare
    raise ValueError(str(reason).strip().split("\n")[0])


@torch.no_grad()
def _keeps_its_word(model: Any) -> bool:
    """Whether transformers' `generate` writes what passes without a cache give. Moshi does not in a tiny window."""
    ids = torch.tensor([PROMPTS[-1]])
    asked = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 4, "do_sample": False}
    text = model.generate(input_ids=ids, **asked)[0]
    wanted = [model(input_ids=text[None, :end]).logits[0, -1].argmax() for end in range(ids.shape[1], len(text))]
    return text[ids.shape[1] :].tolist() == torch.stack(wanted).tolist()


def differences(model: PreTrainedModel, tokens: str, record: str) -> tuple[int, float, str]:
    """Texts that differ from the oracle's, the largest difference of a log-likelihood, and how rows were run."""
    lm = SteeredHF(
        model,
        tokenizer=models.make_tokenizer(),
        batch_size=4,
        max_length=256,
        vectors=make_vector(),
        alpha=[0.0, ALPHA],
        tokens=tokens,
        record=record,
    )
    child = lm.plan.fit(models.DEPTH, models.WIDTH)
    assert child is not None
    oracles = [Reference(model, one) for one in lm.plan.interventions(models.DEPTH, child)]
    engine: Any = lm.engine
    engine.batch_size = 4
    generation = Generation((), NEW_TOKENS, {"do_sample": False})
    jobs = [Job(None, number, prompt, generation) for prompt, number in product(PROMPTS, (0, 1))]
    ends = [lm.eot_token_id]
    wrong = sum(
        not oracles[done.job.intervention].generate(done.job.prompt, NEW_TOKENS, ends).agrees(done.tokens)
        for done in engine.run(jobs)
    )
    scored = [
        Job(None, number, pairs=((prompt, continuation),))
        for prompt, continuation, number in product(PROMPTS, CONTINUATIONS, (0, 1))
    ]
    off = max(
        abs(oracles[done.job.intervention].score(*done.job.pairs[0])[0] - done.scores[0][0])
        for done in engine.run(scored)
    )
    return wrong, off, " ".join(engine._told)


def table(families: list[str], device: str, counts: Counter[str]) -> Iterator[str]:
    """The table, a family at a time."""
    for family in families:
        try:
            model: Any = make(family)
        except ValueError as error:
            counts["without a tiny model"] += 1
            yield f"| {family} | no tiny model | {error} |"
            continue
        try:
            with tempfile.TemporaryDirectory() as record:
                found = [differences(model.to(device), tokens, record) for tokens in ("all", "generated")]
        except SteeringError as error:
            counts["refused"] += 1
            yield f"| {family} | refused | {error} |"
            continue
        wrong, off, way = sum(one[0] for one in found), max(one[1] for one in found), found[0][2]
        verdict = "equal" if wrong == 0 and off < 1e-3 else "DIFFERENT"
        counts[verdict] += 1
        yield f"| {family} | {verdict} | {wrong} of {2 * 2 * len(PROMPTS)} texts, {off:.0e}. {way} |"


def main() -> None:
    """Compare all families, or some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) & set(CONFIG_MAPPING))
    parser.add_argument("families", nargs="*", default=every, metavar="family")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    counts = Counter[str]()
    print("| family | against the oracle | differences; way |\n|---|---|---|")
    for row in table(args.families, args.device, counts):
        print(row, flush=True)
    print("\n" + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
