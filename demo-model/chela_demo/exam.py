"""The generated exam, from the held-out side of the generator.

    python -m chela_demo.exam write exam/generated.jsonl        300 requests, one a line
    python -m chela_demo.exam score RUN/last.pt --count 500     word for word, without the program
    python -m chela_demo.exam text dialogues.jsonl --count 200  whole dialogues, for `cargo xtask perplexity`

A line has what the folder holds before, the request, the calls that do it with the results that the
real tools give, what the answer must hold, and the files that are different afterwards (null: gone).
`cargo xtask exam` puts the requests to the real agent with the real tools.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from . import data, prompt

COUNT = 300
# So many of one kind at most, so that rare ones have their place.
MOST = 6
# What the real world would answer otherwise than the generator made up.
MADE_UP = {"foreign", "again_other", "fetch_write", "run_write", "yes", "no"}


def usable(made: dict) -> bool:
    turn = made["turns"][0]
    if turn["intent"] in MADE_UP or any(text.startswith("refused") for _, _, text in turn["calls"]):
        return False
    # A note that the program put into the context depends on what it finds.
    return "\nnote in " not in turn["context"]


def item(made: dict, number: int) -> dict:
    turn = made["turns"][0]
    calls = [[name, args] for name, args, _ in turn["calls"]]
    names = {name for name, _ in calls}
    before, after = dict(made["files"]), made["after"]
    real = names <= {"read", "ls", "grep", "glob", "write", "edit"}
    sums = all(name != "exec" or args["command"].startswith(("echo $((", "wc -")) for name, args, _ in turn["calls"])
    must, optional = turn["must"], False
    if turn["intent"] in ("date", "weekday", "time", "year", "month", "where"):
        must = ["{" + turn["intent"] + "}"]
    elif turn["intent"] == "recall":
        optional = bool(must)
        if must:
            before["MEMORY.md"] = "".join(f"- {text}\n" for text in must)
    elif names & {"web_fetch"} or not (real or sums):
        must = []
    changed = {path: after.get(path) for path in sorted(set(made["files"]) | set(after)) if made["files"].get(path) != after.get(path)}
    return {
        "id": f"g{number:03}", "intent": turn["intent"], "request": turn["user"], "files": before, "folders": made["folders"], "calls": calls,
        **({"results": [text for _, _, text in turn["calls"]]} if real and calls else {}),
        **({"callsOptional": True} if optional else {}),
        "answer": turn["answer"], "must": must, "after": changed,
    }  # fmt: skip


def write(path: Path, seed: int) -> None:
    counts: dict[str, int] = {}
    lines: list[str] = []
    index = 0
    while len(lines) < COUNT:
        made = data.dialogue(seed, index, exam=True, turns=1, tools=prompt.TOOLS)
        index += 1
        intent = made["turns"][0]["intent"]
        if len(made["turns"]) != 1 or not usable(made) or counts.get(intent, 0) >= MOST:
            continue
        counts[intent] = counts.get(intent, 0) + 1
        lines.append(json.dumps(item(made, len(lines)), ensure_ascii=False, separators=(",", ":")))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} requests of {len(counts)} kinds from {index} dialogues, {path.stat().st_size:,} bytes")


def text(path: Path, seed: int, count: int) -> None:
    """Dialogues of the held-out side as the model reads and writes them, behind the fixed prompt."""
    prefix = prompt.prefix(prompt.TOOLS)
    made = (data.dialogue(seed, number, exam=True, tools=prompt.TOOLS) for number in range(count))
    lines = [{"prefix": prefix, "text": "".join(piece for piece, _ in prompt.pieces(one))} for one in made]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    print(f"{count} dialogues, {path.stat().st_size:,} bytes")


def score(checkpoint: Path, seed: int, count: int, threads: int) -> None:
    import torch

    from .model import Config, Qwen3
    from .train import Encoder, exact, load, summary

    torch.set_num_threads(threads)
    state = load(checkpoint)
    model = Qwen3(Config(**state["config"]))
    model.load_state_dict(state["model"])
    result = exact(model, Encoder(checkpoint.parent), seed, count, True, "cpu")
    for intent, (whole, number, right, messages) in sorted(result.items(), key=lambda entry: entry[1][0] / entry[1][1]):
        print(f"{intent:16} {whole:4}/{number:<4} messages {right}/{messages}")
    print(summary(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["write", "score", "text"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.what == "write":
        write(args.path, args.seed)
    elif args.what == "text":
        text(args.path, args.seed, args.count)
    else:
        score(args.path, args.seed, args.count, args.threads)


if __name__ == "__main__":
    main()
