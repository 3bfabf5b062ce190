"""The tokenizer: byte-level BPE on Qwen2's pieces, trained on the generator's text.

What makes copying easy is that a name is made of the same tokens wherever it stands. So a space is
a token of its own before a word, except before the words of the requests' grammars that hardly ever
begin a name; no merge crosses from punctuation into letters; and `\\n` in JSON is one token, so
that the word behind it keeps its own.

    python -m chela_demo.tokenizer FOLDER       writes tokenizer.json and the template beside it
"""

from __future__ import annotations

import argparse
import collections
import json
import re
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from . import data, grammar, phrases_train, prompt, words

QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Tokens of their own that a parser reads as text.
MARKERS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"]

DIALOGUES = 12_000
WORD_MERGES = 900
MARK_MERGES = 90
SPACE_MERGES = 280


def byte_alphabet() -> dict[int, str]:
    """The printable character that stands for each byte (GPT-2's)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {byte: chr(byte) for byte in plain}, 0
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + extra)
            extra += 1
    return table


ALPHABET = byte_alphabet()


def spell(text: str) -> str:
    return "".join(ALPHABET[byte] for byte in text.encode())


def learn(pieces: collections.Counter, count: int) -> list[tuple[str, str]]:
    """The merges that BPE makes first, ties broken by spelling."""
    split = [(list(word), number) for word, number in sorted(pieces.items())]
    merges: list[tuple[str, str]] = []
    pairs: collections.Counter = collections.Counter()
    where: dict[tuple[str, str], set[int]] = collections.defaultdict(set)
    for at, (symbols, number) in enumerate(split):
        for pair in zip(symbols, symbols[1:]):
            pairs[pair] += number
            where[pair].add(at)
    while len(merges) < count and pairs:
        best = max(pairs.items(), key=lambda item: (item[1], item[0]))
        if best[1] < 2:
            break
        pair = best[0]
        merges.append(pair)
        for at in sorted(where.pop(pair)):
            symbols, number = split[at]
            for old in zip(symbols, symbols[1:]):
                pairs[old] -= number
                if pairs[old] <= 0:
                    del pairs[old]
            joined, i = [], 0
            while i < len(symbols):
                if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
                    joined.append(symbols[i] + symbols[i + 1])
                    i += 2
                else:
                    joined.append(symbols[i])
                    i += 1
            split[at] = (joined, number)
            for new in zip(joined, joined[1:]):
                pairs[new] += number
                where[new].add(at)
    return merges


def corpus(seed: int, count: int):
    """Texts that the merges are learned from: dialogues, and now and then a prefix."""
    for index in range(count):
        made = data.dialogue(seed, index)
        if index % data.GROUP == 0:
            for _ in range(4):
                yield prompt.prefix(made["tools"])
        yield "".join(part for part, _ in prompt.pieces(made))


def request_words() -> set[str]:
    """The words of the grammars and of the answers."""
    found: set[str] = set()

    def walk(nodes):
        for node in nodes:
            if isinstance(node, grammar.Choice):
                for option in node.options:
                    walk(option)
            elif isinstance(node, str):
                found.update(re.findall(r"[a-z]+", node.lower()))

    for lines in [*phrases_train.PHRASES.values(), *phrases_train.RULES.values()]:
        for line in lines:
            walk(grammar.parse(line.lstrip("!?") if len(line) > 2 else line))
    for text in phrases_train.ORDER_BEFORE + phrases_train.ASK_BEFORE + [prompt.SYSTEM]:
        found.update(re.findall(r"[a-z]+", text.lower()))
    return found


def build(seed: int = 1) -> Tokenizer:
    split = re.compile(r"[A-Za-z\u00c0-\u024f]+|[0-9]| ?[^\sA-Za-z\u00c0-\u024f0-9]+[\r\n]*|\s*[\r\n]+| +")
    markers = re.compile("|".join(map(re.escape, SPECIAL + MARKERS)))
    letters: collections.Counter = collections.Counter()
    marks: collections.Counter = collections.Counter()
    after_space: collections.Counter = collections.Counter()
    for text in corpus(seed, DIALOGUES):
        text = text.replace("\\n", " ")
        for part in markers.split(text):
            for piece in split.findall(part):
                (letters if piece[0].isalpha() else marks)[spell(piece)] += 1
            after_space.update(re.findall(r" ([A-Za-z]+)", part))
    merges = [("\\", "n"), ("\\", "t")]
    merges += learn(letters, WORD_MERGES) + learn(marks, MARK_MERGES)
    vocab = [ALPHABET[byte] for byte in range(256)] + ["".join(pair) for pair in merges]
    vocab = list(dict.fromkeys(vocab))
    whole = bpe(vocab, merges)
    # A space joins a word that mostly stands for itself.
    alone: collections.Counter = collections.Counter()
    begins: collections.Counter = collections.Counter()
    for word, number in after_space.items():
        tokens = [token for token, _ in whole.tokenize_word(word)]
        (alone if len(tokens) == 1 else begins)[tokens[0]] += number
    wanted = request_words()
    wanted -= set(words.STEMS + words.THINGS + words.ADJECTIVES + words.KEYS + words.FOLDERS)
    chosen = [word for word, number in alone.most_common() if word.lower() in wanted and number > 6 * begins[word]]
    for word in chosen[:SPACE_MERGES]:
        merges.append(("Ġ", word))
        vocab.append("Ġ" + word)
    return assembled(vocab, merges)


def assembled(vocab: list[str], merges: list[tuple[str, str]]) -> Tokenizer:
    """A tokenizer of these tokens, the markers behind them."""
    tokenizer = Tokenizer(models.BPE(vocab={token: at for at, token in enumerate(vocab)}, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in MARKERS])
    return tokenizer


class bpe:
    """Merges on single words."""

    def __init__(self, vocab: list[str], merges: list[tuple[str, str]]):
        self.model = models.BPE(vocab={token: at for at, token in enumerate(vocab)}, merges=merges)

    def tokenize_word(self, word: str) -> list[tuple[str, int]]:
        return [(token.value, token.id) for token in self.model.tokenize(spell(word))]


def config() -> dict:
    """`tokenizer_config.json`."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 8192,
        "chat_template": prompt.TEMPLATE,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build(args.seed)
    tokenizer.save(str(args.folder / "tokenizer.json"))
    (args.folder / "tokenizer_config.json").write_text(json.dumps(config(), indent=1) + "\n")
    print(f"{tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
