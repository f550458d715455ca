"""The generative tasks under the harness's API model class, against a server of this test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from lm_eval import simple_evaluate

from data import manager, provided
from lm_eval_steer.extraction.pairs import load_task

TASKS = ("gsm8k_steer", "arc_challenge_steer", "math_steer", "math500_steer")


@pytest.fixture(scope="module", autouse=True)
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with provided(tmp_path_factory.mktemp("data")):
        yield


class Server(HTTPServer):
    """Answers completions by what their prompts end in, and keeps what it was asked."""

    replies: dict[str, str]
    asked: list[dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if isinstance(payload["prompt"], str):
            payload["prompt"] = [payload["prompt"]]
        self.server.asked.append(payload)
        texts = [
            next(r for end, r in self.server.replies.items() if prompt.endswith(end)) for prompt in payload["prompt"]
        ]
        choices = [{"index": i, "text": text, "finish_reason": "stop"} for i, text in enumerate(texts)]
        body = json.dumps({"choices": choices}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the screen."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", TASKS)
def test_one_right_and_one_wrong(server: Server, name: str) -> None:
    task = load_task(name)
    first, second = list(task.eval_docs)[:2]
    server.replies = {
        task.doc_to_text(first): rf" So it is \boxed{{{task.doc_to_target(first)}}}",
        task.doc_to_text(second): r" So it is \boxed{7777}",
    }
    out = simple_evaluate(
        model="local-completions",
        model_args={
            "model": "any",
            "base_url": f"http://127.0.0.1:{server.server_port}/v1/completions",
            "tokenizer_backend": None,
            "tokenized_requests": False,
        },
        tasks=[name],
        task_manager=manager(),
        limit=2,
        bootstrap_iters=0,
    )
    assert [sample["exact_match"] for sample in out["samples"][name]] == [1.0, 0.0]
    prompts = [prompt for payload in server.asked for prompt in payload["prompt"]]
    assert sorted(prompts) == sorted(task.fewshot_context(doc, num_fewshot=5) for doc in (first, second))
    for payload in server.asked:
        assert payload["max_tokens"] == task.config.metadata["new_token_limit"]
        assert payload["temperature"] == 0
        assert set(payload["stop"]) >= {"\nQ:", "</s>", "<|im_end|>"}
        assert len(payload["stop"]) <= 4
