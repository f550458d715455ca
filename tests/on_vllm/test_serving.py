"""`lm-eval-steer serve`: a real server, real clients, and the numbers of steered-vllm and of the oracle.

One server of SmolLM2 in float32, and one engine of steered-vllm beside it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from lm_eval import simple_evaluate
from openai import BadRequestError, OpenAI
from test_vllm import CORES, WORKER, start, stop
from transformers import AutoModelForCausalLM

from conftest import ROOT
from lm_eval_steer.engines.protocol import Generation, Job
from lm_eval_steer.engines.reference import Reference
from lm_eval_steer.interventions.intervention import Edit, Intervention, intervene
from lm_eval_steer.interventions.plan import SteeringPlan
from lm_eval_steer.vectors.catalog import find_vector
from lm_eval_steer.vectors.vector import SteeringVector

NAMES = ("smollm2_sentiment", "smollm2_arith")
BEGINNING = "The harbour lay quiet in the early light, and nobody had come down to the boats yet. " * 7
PROMPTS = [f"{BEGINNING}Then {who} came and said:" for who in ("the old man", "a child", "Anna", "the captain")]
NEW = 8
ALPHAS = [-4.0, -3.5, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]


@pytest.fixture(scope="module")
def url(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server whose requests are steered by default."""
    folder = tmp_path_factory.mktemp("served")
    for name in (*NAMES, "smollm2_gsm8k_direct_for_qwen2.5-coder-1.5b"):
        shutil.copy(ROOT / "vectors" / f"{name}.safetensors", folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    default = f'{{"vectors": "{NAMES[0]}", "alpha": 2}}'
    command = [sys.executable, "-m", "lm_eval_steer.cli", "serve", "--vectors", str(folder), "--default", default]
    command += [str(smollm2), "--dtype", "float32", "--enforce-eager", "--max-model-len", "1024"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--enable-prompt-tokens-details"]
    command += ["--served-model-name", "smollm2"]
    log = folder / "log"
    environment = os.environ | {"VLLM_CPU_OMP_THREADS_BIND": str(CORES[WORKER % len(CORES)])}
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 900
        while True:
            assert server.poll() is None, log.read_text()[-8000:]
            assert time.monotonic() < deadline, log.read_text()[-8000:]
            try:
                if requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok:
                    break
            except requests.ConnectionError:
                time.sleep(0.2)
        told = log.read_text()
        assert "Requests may be steered with: smollm2_arith, smollm2_sentiment" in told
        assert "Not with smollm2_gsm8k_direct_for_qwen2.5-coder-1.5b: the vector was transferred to" in told
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(30)
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def offline(smollm2: Path) -> Iterator[Any]:
    """steered-vllm on the same model."""
    lm = start(str(smollm2), dtype="float32")
    yield lm
    stop(lm)


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(smollm2, dtype="float32").eval()


def shift(name: str, alpha: float, tokens: str = "all") -> Intervention:
    vector = SteeringVector.load(find_vector(name))
    pairs = zip(vector.layers, vector.directions, strict=True)
    return intervene((Edit(block, "add", v, alpha) for block, v in pairs), tokens=tokens)


def client(url: str) -> OpenAI:
    return OpenAI(base_url=url, api_key="none", max_retries=0)


def write(url: str, prompt: str, **steering: Any) -> tuple[list[int], float, int]:
    """Tokens of a response, the sum of their log-probabilities, and how many of the prompt's the prefix cache held."""
    came = client(url).completions.create(
        model="smollm2",
        prompt=prompt,
        max_tokens=NEW,
        temperature=0,
        logprobs=1,
        extra_body={"return_token_ids": True} | ({"vllm_xargs": steering} if steering else {}),
    )
    (choice,) = came.choices
    assert choice.logprobs is not None
    assert came.usage is not None
    details = came.usage.prompt_tokens_details
    cached = details.cached_tokens if details else None
    return choice.token_ids, sum(one or 0 for one in choice.logprobs.token_logprobs or []), cached or 0


def write_offline(lm: Any, asked: list[tuple[str, Intervention]]) -> list[tuple[list[int], float]]:
    """The same of steered-vllm: tokens, and the sum of their log-probabilities."""
    lm.engine.load([one for _, one in asked])
    told = Generation((), NEW, {"temperature": 0})
    jobs = [Job(place, place, lm.tok_encode(prompt), told) for place, (prompt, _) in enumerate(asked)]
    done = sorted(lm.engine.run(jobs), key=lambda one: one.job.key)
    return [(one.tokens or [], one.logprob or 0.0) for one in done]


def test_sixteen_requests_at_once_each_have_the_text_of_their_own_strength(url: str, offline: Any, model: Any) -> None:
    asked = [(PROMPTS[place % 4], NAMES[place % 2], alpha) for place, alpha in enumerate(ALPHAS)]
    with ThreadPoolExecutor(len(asked)) as pool:
        came = list(pool.map(lambda one: write(url, one[0], vectors=one[1], alpha=one[2]), asked))
    expected = write_offline(offline, [(prompt, shift(name, alpha)) for prompt, name, alpha in asked])
    for (tokens, found, _), (wanted, logprob) in zip(came, expected, strict=True):
        assert tokens == wanted
        assert found == pytest.approx(logprob, abs=2e-3)
    assert len({tuple(tokens) for tokens, *_ in came}) > 8
    for place in (0, 15):  # an oracle that shares nothing with vLLM
        prompt, name, alpha = asked[place]
        written = Reference(model, shift(name, alpha)).generate(offline.tok_encode(prompt), 4)
        assert written.agrees(came[place][0][:4])


def test_the_prefix_cache_never_mixes_steerings(url: str, offline: Any) -> None:
    kinds: list[dict[str, Any]] = [
        {"alpha": 0},
        {"vectors": NAMES[0], "alpha": 3},
        {"vectors": NAMES[0], "alpha": 3.25},
        {"vectors": NAMES[1], "alpha": 3},
        {"vectors": NAMES[0], "alpha": 3, "tokens": "generated"},
        {"vectors": NAMES[0], "alpha": 3, "tokens": "prompt"},
    ]
    prompt = f"Once more. {BEGINNING}And so"
    for text in (prompt, f"{prompt} they went to"):
        asked = [(text, shift(k.get("vectors", NAMES[0]), k["alpha"], k.get("tokens", "all"))) for k in kinds]
        expected = write_offline(offline, asked)
        first = [write(url, text, **kind) for kind in kinds]
        again = [write(url, text, **kind) for kind in kinds]
        for one, other, (wanted, logprob) in zip(first, again, expected, strict=True):
            assert one[0] == other[0] == wanted
            assert one[1] == pytest.approx(logprob, abs=2e-3)
            assert other[1] == pytest.approx(logprob, abs=2e-3)
            assert other[2] > 0
        shared = [kind.get("tokens", "all") == "all" and text != prompt for kind in kinds]
        assert [cached > 0 for *_, cached in first] == shared


def test_what_says_nothing_of_steering_is_steered_by_the_default(url: str, offline: Any) -> None:
    (wanted, _), (plain, _) = write_offline(
        offline, [(PROMPTS[0], shift(NAMES[0], 2)), (PROMPTS[0], shift(NAMES[0], 0))]
    )
    assert write(url, PROMPTS[0])[0] == wanted != plain == write(url, PROMPTS[0], alpha=0)[0]


def test_a_chat_is_steered_at_once_and_in_a_stream(url: str, offline: Any) -> None:
    messages: Any = [{"role": "user", "content": "How was the film?"}]
    prompt = offline.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ((wanted, _),) = write_offline(offline, [(prompt, shift(NAMES[0], -3, "generated"))])
    told: dict[str, Any] = {"model": "smollm2", "messages": messages, "max_tokens": NEW, "temperature": 0}
    extra = {"vllm_xargs": {"vectors": NAMES[0], "alpha": -3, "tokens": "generated"}}
    whole = client(url).chat.completions.create(**told, extra_body=extra)
    pieces = client(url).chat.completions.create(**told, stream=True, extra_body=extra)
    streamed = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    text = offline.tokenizer.decode(wanted, skip_special_tokens=True)
    assert whole.choices[0].message.content == text == streamed


@pytest.mark.parametrize(
    ("steering", "more", "sentence"),
    [
        ({"vectors": "smollm2_sentimen", "alpha": 1}, {}, "names none of this server's vectors (the nearest name is"),
        ({"vectors": "../../etc/passwd", "alpha": 1}, {}, "names none of this server's vectors: use smollm2_arith"),
        ({"vectors": NAMES[0], "alpha": "much"}, {}, "alpha='much' is not understood: use 0.04"),
        ({"vectors": NAMES[0], "alpha": 1e39}, {}, "the largest number in float32 is 3.4e+38"),
        ({"tokens": "some"}, {}, "tokens='some' is not understood: use one of all, prompt, generated, last"),
        ({"strength": 1}, {}, "vllm_xargs has the key 'strength', which nothing reads: use vectors, alpha, tokens"),
        ({"lm_eval_steer": [0, 1, 0, 9]}, {}, "vllm_xargs has the key 'lm_eval_steer', which nothing reads"),
        ({"tokens": "last"}, {"echo": True, "logprobs": 1}, "tokens=last counts from the end of the prompt, and where"),
        ({"alpha": 1}, {"use_beam_search": True, "n": 2}, "a beam search takes no steering of its own"),
        ({"alpha": 1}, {"cache_salt": "lm_eval_steer:0"}, "cache_salt='lm_eval_steer:0' is a name of this server's"),
    ],
)
def test_what_a_request_may_not_ask_for_is_a_400_with_a_sentence(
    url: str, steering: dict[str, Any], more: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        client(url).completions.create(
            model="smollm2", prompt="One", max_tokens=1, extra_body={"vllm_xargs": steering, **more}
        )
    assert refused.value.status_code == 400
    assert sentence in str(refused.value.body)


@pytest.mark.parametrize(
    ("task", "limit", "vectors", "alpha", "told"),
    [
        (
            "sentiment_steer",
            10,
            NAMES[0],
            2,
            {},
        ),  # the server's default, since no key goes with choices
        ("arith_steer", 4, NAMES[1], 1, {"vllm_xargs": {"vectors": NAMES[1], "alpha": 1}}),
    ],
)
def test_local_completions_give_the_scores_of_steered_vllm(
    task: str, limit: int, vectors: str, alpha: float, told: dict[str, Any], url: str, smollm2: Path, offline: Any
) -> None:
    remote = {
        "model": "smollm2",
        "tokenizer": str(smollm2),
        "tokenizer_backend": "huggingface",
        "base_url": f"{url}/completions",
        "num_concurrent": 4,
        "max_length": 1024,
    }
    more: dict[str, Any] = {"tasks": [task], "limit": limit, "bootstrap_iters": 0, "log_samples": True}
    shorter = {"max_gen_toks": 32} if told else {}
    served = simple_evaluate("local-completions", model_args=remote, gen_kwargs=(shorter | told) or None, **more)
    offline.steer(SteeringPlan.build(vectors=vectors, alpha=alpha))
    local = simple_evaluate(offline, gen_kwargs=shorter or None, **more)
    assert len(served["samples"][task]) == limit
    for ours, theirs in zip(served["samples"][task], local["samples"][task], strict=True):
        if told:
            assert ours["resps"] == theirs["resps"]
        else:
            scores, expected = ([float(one[0]) for one in sample["filtered_resps"]] for sample in (ours, theirs))
            assert scores == pytest.approx(expected, abs=1e-3)
    numbers, expected = (
        {name: value for name, value in found["results"][task].items() if isinstance(value, float)}
        for found in (served, local)
    )
    assert numbers == pytest.approx(expected, abs=1e-3)
    assert numbers
