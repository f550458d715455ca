"""The child process of `_equality.py`: compares expressions line by line and may be killed at any of them.

Reads `[gold, answer, seconds of processor time]` as JSON and writes 1 or 0. It is run as a script, so that it imports
math-verify and nothing of this package.
"""

import json
import logging
import sys
import time

from math_verify import parse, verify

try:
    import resource
except ImportError:  # Windows: the parent's clock is the only limit there
    resource = None  # type: ignore[assignment]


def main() -> None:
    logging.disable()  # math-verify warns that it runs without its own alarm, which only works in main threads
    answers, sys.stdout = sys.stdout, sys.stderr
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        gold, answer, seconds = json.loads(line)
        if resource is not None:
            # The kernel ends the process, even inside one long multiplication, and a busy machine does not count.
            soft = int(time.process_time()) + 1 + seconds
            resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        parsed = [parse(f"${text}$", parsing_timeout=None) for text in (gold, answer)]
        print(int(verify(*parsed, timeout_seconds=None)), file=answers, flush=True)


if __name__ == "__main__":
    main()
