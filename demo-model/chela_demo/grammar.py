"""Phrasing grammars: one line stands for many sentences.

`(a|b|)` is one of its alternatives, `{slot}` a value that the task fills in, `<rule>` another
grammar. A grammar can be sampled, and it can be turned into a regular expression that matches
exactly its sentences: that is how a test proves that no sentence of the exam is one of training.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Slot:
    name: str


@dataclass(frozen=True)
class Choice:
    options: tuple


@dataclass(frozen=True)
class Rule:
    name: str


@lru_cache(maxsize=None)
def parse(text: str) -> tuple:
    """A grammar as a sequence of strings, slots, rules and choices."""
    nodes, at = _sequence(text, 0, nested=False)
    assert at == len(text), f"unbalanced: {text!r}"
    return nodes


def _sequence(text: str, at: int, nested: bool) -> tuple[tuple, int]:
    nodes: list = []
    while at < len(text):
        c = text[at]
        if c == "(":
            options = []
            while True:
                option, at = _sequence(text, at + 1, nested=True)
                options.append(option)
                if text[at] == ")":
                    break
            nodes.append(Choice(tuple(options)))
            at += 1
        elif nested and c in "|)":
            return tuple(nodes), at
        elif c == "{":
            end = text.index("}", at)
            nodes.append(Slot(text[at + 1 : end]))
            at = end + 1
        elif c == "<":
            end = text.index(">", at)
            nodes.append(Rule(text[at + 1 : end]))
            at = end + 1
        else:
            end = at
            while end < len(text) and text[end] not in "({<" and not (nested and text[end] in "|)"):
                end += 1
            nodes.append(text[at:end])
            at = end
    assert not nested, f"a bracket is not closed: {text!r}"
    return tuple(nodes), at


def sample(rng, nodes: tuple, rules: dict[str, list[str]]) -> list:
    """One sentence: strings and slots in a row."""
    out: list = []
    for node in nodes:
        if isinstance(node, Choice):
            out += sample(rng, rng.choice(node.options), rules)
        elif isinstance(node, Rule):
            out += sample(rng, parse(rng.choice(rules[node.name])), rules)
        else:
            out.append(node)
    return out


def count(nodes: tuple, rules: dict[str, list[str]]) -> int:
    """How many ways lead through a grammar."""
    ways = 1
    for node in nodes:
        if isinstance(node, Choice):
            ways *= sum(count(option, rules) for option in node.options)
        elif isinstance(node, Rule):
            ways *= sum(count(parse(line), rules) for line in rules[node.name])
    return ways


def regex(nodes: tuple, rules: dict[str, list[str]]) -> str:
    """A regular expression of all its sentences, slots written as `{name}`, in lower case."""
    out = ""
    for node in nodes:
        if isinstance(node, Choice):
            out += "(?:" + "|".join(regex(option, rules) for option in node.options) + ")"
        elif isinstance(node, Rule):
            out += "(?:" + "|".join(regex(parse(line), rules) for line in rules[node.name]) + ")"
        elif isinstance(node, Slot):
            out += re.escape("{" + node.name + "}")
        else:
            out += re.escape(node.lower())
    return out


def skeleton(parts: list) -> str:
    """A sampled sentence with its slots by name, in lower case."""
    return "".join("{" + part.name + "}" if isinstance(part, Slot) else part.lower() for part in parts)


def fill(parts: list, values: dict[str, str]) -> str:
    return "".join(values[part.name] if isinstance(part, Slot) else part for part in parts)
