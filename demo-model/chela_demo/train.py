"""The trainer.

    python -m chela_demo.train RUN --size 3m --steps 3000

RUN holds the tokenizer, the checkpoints and a log. The same command goes on where a run was broken
off; a larger `--steps` trains on. The learning rate is constant and falls to zero over the last
`--cooldown` steps; the checkpoint before them is kept, so that a finished run can be continued.

Stages: `--short` steps with single requests, up to step `--alone` dialogues; then dialogues behind the
fixed prompt, up to step `--by-turns` in every other shard only, as the prompt costs time. One set in `--long-every` of
those behind the prompt stands in long rows, several behind one another. Positions in
long rows skip ahead between dialogues, up to the window, so that every distance is seen at the cost of short rows
(PoSE: Zhu et al., 2023, arXiv:2309.10400).
"""

from __future__ import annotations

import argparse
import json
import random
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from . import data, prompt, tokenizer
from .model import SIZES, Config, Qwen3, config_dict
from .optim import Muon

# What a token counts that the model does not have to write itself.
OTHERS = 0.1
# Tokens of a long row.
LONG = 1_500
# Requests that are answered from the context.
CONTEXT = {"date", "weekday", "time", "year", "month", "where"}


class Encoder:
    def __init__(self, path: Path):
        self.tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        self.size = self.tokenizer.get_vocab_size()

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def dialogue(self, made: dict) -> tuple[list[int], list[float]]:
        """Tokens and what each counts when it is predicted."""
        ids: list[int] = []
        weights: list[float] = []
        for text, ours in prompt.pieces(made):
            piece = self.ids(text)
            ids += piece
            weights += [1.0 if ours else OTHERS] * len(piece)
        return ids, weights


@dataclass(frozen=True)
class Stage:
    """What the rows of a step are."""

    with_prefix: bool = True
    # Single requests, mostly without the lines of context that they do not need.
    short: bool = False
    # Of so many sets of dialogues one stands in long rows; 0 for none.
    long_every: int = 0


def encoded_group(encoder: Encoder, seed: int, number: int, stage: Stage) -> tuple[list[int], list]:
    """The prefix and the dialogues of one set of tools."""
    rng = random.Random(f"{seed}/group/{number}")
    start = number * data.GROUP
    made = [data.dialogue(seed, start + at, turns=1 if stage.short else None) for at in range(data.GROUP)]
    if stage.short:
        for one in made:
            without_context(one, rng)
    return encoder.ids(prompt.prefix(made[0]["tools"])), [encoder.dialogue(one) for one in made]


@dataclass(frozen=True)
class Row:
    """Tokens, what each counts, and where each stands behind the prefix."""

    ids: list[int]
    weights: list[float]
    places: list[int]


def cut(groups: list, seed: int, number: int, budget: int, stage: Stage, window: int) -> list:
    """The batches of one shard: each a prefix or none, and rows of at most `budget` tokens in all."""
    rng = random.Random(f"{seed}/batches/{number}")
    if not stage.with_prefix:
        groups = [(None, [member for _, members in groups for member in members])]
    out = []
    for at, (prefix, members) in enumerate(groups):
        members = [member for member in members if len(member[0]) <= budget]
        if stage.long_every and at % stage.long_every == 0:
            rows = joined(members, window - len(prefix), rng)
        else:
            rows = [Row(ids, weights, list(range(len(ids)))) for ids, weights in members]
        rows.sort(key=lambda row: len(row.ids) + rng.random())
        batch: list = []
        for row in rows + [None]:
            if batch and (row is None or (len(batch) + 1) * len(row.ids) > budget):
                out.append((prefix, batch))
                batch = []
            batch.append(row)
    rng.shuffle(out)
    return out


class Feed:
    """The batch of each step, made by number, so that a run that goes on sees what it would have seen.
    Worker processes make the next shard while this one is used."""

    # Steps of a shard.
    STEPS = 64

    def __init__(self, args, encoder: Encoder):
        self.args, self.encoder = args, encoder
        self.pool = ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) if args.workers else None
        self.number = -1
        self.batches: list = []
        self.coming: dict[int, list] = {}

    def batch(self, step: int):
        if step // self.STEPS != self.number:
            self.number = step // self.STEPS
            groups = self._groups(self.number)
            if self.pool:
                self.coming = {self.number + 1: self._ask(self.number + 1)}
            stage = stage_of(self.args, self.number * self.STEPS)
            self.batches = cut(groups, self.args.seed, self.number, self.args.tokens, stage, SIZES[self.args.size].window)
        return self.batches[step % self.STEPS % len(self.batches)]

    def _numbers(self, number: int) -> tuple[range, Stage]:
        stage = stage_of(self.args, number * self.STEPS)
        # Enough that no batch comes twice.
        count = max(8, self.STEPS * self.args.tokens // (data.GROUP * (90 if stage.short else 220)))
        return range(number * count, (number + 1) * count), stage

    def _ask(self, number: int) -> list:
        numbers, stage = self._numbers(number)
        return [self.pool.submit(encoded_group, self.encoder, self.args.seed, group, stage) for group in numbers]

    def _groups(self, number: int) -> list:
        if self.pool:
            return [future.result() for future in self.coming.get(number) or self._ask(number)]
        numbers, stage = self._numbers(number)
        return [encoded_group(self.encoder, self.args.seed, group, stage) for group in numbers]


def without_context(made: dict, rng) -> None:
    turn = made["turns"][0]
    if turn["intent"] not in CONTEXT and "note in " not in turn["context"] and rng.random() < 0.75:
        turn["context"] = ""


def joined(members: list, room: int, rng) -> list[Row]:
    """Dialogues behind one another in long rows; in half of them the places skip ahead, up to `room`."""
    rows: list[list] = [[]]
    for member in members:
        if rows[-1] and sum(len(ids) for ids, _ in rows[-1]) + len(member[0]) > LONG:
            rows.append([])
        rows[-1].append(member)
    out = []
    for row in rows:
        ids = [token for member in row for token in member[0]]
        spare = max(0, room - len(ids)) if rng.random() < 0.5 else 0
        skips = sorted(rng.randint(0, spare) for _ in row)
        places: list[int] = []
        for skip, (tokens, _) in zip(skips, row):
            places += range(len(places) + skip, len(places) + skip + len(tokens))
        out.append(Row(ids, [weight for member in row for weight in member[1]], places))
    return out


def tensors(prefix, batch: list[Row], device):
    """The prefix, and `[rows, length]` of tokens, weights and places."""
    length = max(len(row.ids) for row in batch)
    tokens = torch.zeros(len(batch), length, dtype=torch.long)
    weights = torch.zeros(len(batch), length)
    places = torch.zeros(len(batch), length, dtype=torch.long)
    for at, row in enumerate(batch):
        tokens[at, : len(row.ids)] = torch.tensor(row.ids)
        weights[at, : len(row.ids)] = torch.tensor(row.weights)
        places[at, : len(row.ids)] = torch.tensor(row.places)
    head = None if prefix is None else torch.tensor(prefix, device=device)
    return head, tokens.to(device), weights.to(device), places.to(device)


def loss_of(model: Qwen3, head, tokens, weights, places):
    """The loss, the mean over the model's own tokens, and how many there are."""
    hidden = model.hidden(tokens, head, places).view(*tokens.shape, -1)[:, :-1]
    targets, weights = tokens[:, 1:], weights[:, 1:]
    used = weights > 0
    logits = model.logits(hidden[used])
    each = F.cross_entropy(logits.float(), targets[used], reduction="none")
    weights = weights[used]
    own = weights == 1.0
    return (each * weights).sum() / weights.sum(), each[own].mean().detach(), int(own.sum())


def learning_rate(step: int, steps: int, warmup: int, cooldown: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    left = steps - step
    return left / cooldown if left < cooldown else 1.0


def save(path: Path, model: Qwen3, optimizer: Muon, step: int, tokens: int) -> None:
    state = {"config": config_dict(model.c), "model": model.state_dict(), "optimizer": optimizer.state(), "step": step, "tokens": tokens}
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.rename(path)


def load(path: Path) -> dict:
    return torch.load(path, map_location="cpu", weights_only=True)


@torch.no_grad()
def exact(model: Qwen3, encoder: Encoder, seed: int, count: int, exam: bool, device) -> dict[str, list[int]]:
    """How many of the model's messages come out word for word when it writes greedily, by intent.
    Behind right words each token is the most likely one, or the message is wrong."""
    score: dict[str, list[int]] = {}
    for index in range(count):
        made = data.dialogue(seed, index, exam=exam, turns=1)
        head = torch.tensor(encoder.ids(prompt.prefix(made["tools"])), device=device)
        ids: list[int] = []
        spans = []
        for text, ours in prompt.pieces(made):
            piece = encoder.ids(text)
            if ours:
                spans.append((len(ids), len(ids) + len(piece)))
            ids += piece
        tokens = torch.tensor([ids], device=device)
        best = model.logits(model.hidden(tokens, head)).argmax(-1).tolist()
        right = [best[start - 1 : end - 1] == ids[start:end] for start, end in spans]
        entry = score.setdefault(made["turns"][0]["intent"], [0, 0, 0, 0])
        entry[0] += all(right)
        entry[1] += 1
        entry[2] += sum(right)
        entry[3] += len(right)
    return score


def summary(score: dict[str, list[int]]) -> str:
    whole, count, right, messages = (sum(entry[at] for entry in score.values()) for at in range(4))
    return f"dialogues {whole}/{count} = {whole / count:.3f}, messages {right}/{messages} = {right / messages:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--size", choices=list(SIZES), default="3m")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--cooldown", type=int, default=600)
    parser.add_argument("--warmup", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=4096, help="tokens of a step")
    parser.add_argument("--short", type=int, default=1000, help="steps at the beginning with single requests")
    parser.add_argument("--alone", type=int, default=1500, help="steps at the beginning without the fixed prompt")
    parser.add_argument("--by-turns", type=int, default=0, help="steps at the beginning of which half have no fixed prompt")
    parser.add_argument("--long-every", type=int, default=8, help="one set of dialogues in so many stands in long rows")
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--adam-lr", type=float, default=0.004)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0, help="processes that make data; for a GPU, all cores but one")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="matrix products in bfloat16")
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--eval-every", type=int, default=400)
    parser.add_argument("--minutes", type=float, default=0, help="stop after this long")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args)


def open_run(args):
    """The encoder, the model, the optimizer, and where the run stands."""
    args.run.mkdir(parents=True, exist_ok=True)
    if not (args.run / "tokenizer.json").exists():
        tokenizer.build(args.seed).save(str(args.run / "tokenizer.json"))
    encoder = Encoder(args.run)
    last = args.run / "last.pt"
    state = load(last) if last.exists() else None
    sizes = state["config"] if state else {**config_dict(SIZES[args.size]), "vocab": encoder.size}
    model = Qwen3(Config(**sizes), args.seed).to(args.device)
    if state:
        model.load_state_dict(state["model"])
    precision = torch.bfloat16 if args.bf16 else torch.float32
    optimizer = Muon(dict(model.named_parameters()), args.lr, args.adam_lr, precision=precision)
    if state:
        optimizer.load(state["optimizer"])
    return encoder, model, optimizer, (state["step"], state["tokens"]) if state else (0, 0)


def stage_of(args, step: int) -> Stage:
    bare = step < args.by_turns and step // Feed.STEPS % 2 == 1
    with_prefix = step >= args.alone and not bare
    return Stage(with_prefix, short=step < args.short, long_every=args.long_every if with_prefix else 0)


def train(args) -> None:
    encoder, model, optimizer, (step, tokens) = open_run(args)
    log = (args.run / "log.jsonl").open("a")
    print(f"{model.c.parameters():,} parameters, vocabulary {encoder.size}, from step {step}, {tokens:,} tokens", flush=True)
    began, began_tokens = time.time(), tokens
    feed = Feed(args, encoder)
    sums = [0.0, 0]
    while step < args.steps:
        head, ids, weights, places = tensors(*feed.batch(step), args.device)
        with torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=args.bf16):
            loss, own, count = loss_of(model, head, ids, weights, places)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimizer.others.values(), 1.0)
        optimizer.step(learning_rate(step, args.steps, args.warmup, args.cooldown))
        step += 1
        tokens += int((weights > 0).sum())
        sums = [sums[0] + float(own) * count, sums[1] + count]
        if step % 10 == 0:
            rate = (tokens - began_tokens) / (time.time() - began)
            entry = {"step": step, "tokens": tokens, "own": round(sums[0] / sums[1], 4), "rate": round(rate), "minutes": round((time.time() - began) / 60, 1)}
            log.write(json.dumps(entry) + "\n")
            log.flush()
            print(entry, flush=True)
            sums = [0.0, 0]
        late = args.minutes and time.time() - began > args.minutes * 60
        if step % args.save_every == 0 or step == args.steps or late:
            save(args.run / "last.pt", model, optimizer, step, tokens)
        if step == args.steps - args.cooldown:
            save(args.run / f"before-cooldown-{step}.pt", model, optimizer, step, tokens)
        if step % args.eval_every == 0 or step == args.steps:
            print("exam side:", summary(exact(model, encoder, args.seed, 100, True, args.device)), flush=True)
        if late:
            break


if __name__ == "__main__":
    main()
