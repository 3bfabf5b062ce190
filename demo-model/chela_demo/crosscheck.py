"""The same greedy answers from several servers.

    python -m chela_demo.crosscheck TOKENIZER_FOLDER http://127.0.0.1:8000/v1 http://127.0.0.1:8080/v1 ...

Puts 50 prompts of the exam to `/v1/completions` of each server as token ids, greedily, with the two
likeliest tokens of each place. Every server is compared with the first: the texts are equal, or at
the first difference the first server holds the two candidates for nearly as likely (within 0.05).
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from pathlib import Path

from tokenizers import Tokenizer

from . import data, prompt

CLOSE = 0.05


def prompts(tokenizer: Tokenizer, count: int) -> list[list[int]]:
    """Beginnings of dialogues: before the first call, or before what follows a result."""
    out = []
    for index in range(count):
        made = data.dialogue(1, index, exam=True, turns=1, tools=prompt.TOOLS)
        text = prompt.prefix(made["tools"])
        places = []
        for part, ours in prompt.pieces(made):
            if ours:
                places.append(text)
            text += part
        out.append(tokenizer.encode(places[index % len(places)], add_special_tokens=False).ids)
    return out


def model_of(base: str) -> str:
    with urllib.request.urlopen(f"{base}/models") as response:
        return json.load(response)["data"][0]["id"]


def complete(base: str, model: str, tokens: list[int], length: int) -> list[tuple[str, dict[str, float]]]:
    """The tokens of an answer, each with the logarithms of the likeliest."""
    body = {"model": model, "prompt": tokens, "max_tokens": length, "temperature": 0, "logprobs": 5}
    request = urllib.request.Request(f"{base}/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request) as response:
        found = json.load(response)["choices"][0]["logprobs"]
    if "content" in found:  # llama.cpp, which writes the end of a message as an empty text
        name = lambda entry: entry["token"] or "<|im_end|>"
        return [(name(at), {name(top): top["logprob"] for top in at["top_logprobs"]}) for at in found["content"]]
    return list(zip(found["tokens"], found["top_logprobs"]))


def compare(first: list, other: list) -> tuple[bool, float | None]:
    """Whether the texts are equal, and else how far apart the first server holds the candidates."""
    for (token, tops), (theirs, _) in zip(first, other):
        if token != theirs:
            return False, tops[token] - tops[theirs] if theirs in tops else None
    return True, 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("servers", nargs="+")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=48)
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.folder / "tokenizer.json"))
    asked = prompts(tokenizer, args.count)
    answers = []
    for base in args.servers:
        model = model_of(base)
        answers.append([complete(base, model, tokens, args.tokens) for tokens in asked])
    for base, theirs in zip(args.servers[1:], answers[1:]):
        results = [compare(first, other) for first, other in zip(answers[0], theirs)]
        equal = sum(same for same, _ in results)
        apart = [gap for same, gap in results if not same]
        far = [gap for gap in apart if gap is None or gap > CLOSE]
        print(f"{base}: {equal}/{len(results)} equal; gaps at the first difference {apart}; {len(far)} over {CLOSE}")


if __name__ == "__main__":
    main()
