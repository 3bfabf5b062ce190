"""The fixed prompt and the tools, as Chela sends them. They stand in `prompt.json`, which a test of
the Rust workspace compares with the program."""

from __future__ import annotations

import json
from pathlib import Path

_DATA = json.loads((Path(__file__).parent / "prompt.json").read_text())
SYSTEM: str = _DATA["system"]
TOOLS: list[dict] = _DATA["tools"]
NAMES = [tool["function"]["name"] for tool in TOOLS]
BY_NAME = {tool["function"]["name"]: tool for tool in TOOLS}

TEMPLATE = (Path(__file__).parent / "template.jinja").read_text()


def describe(tool: dict) -> str:
    """A tool as the template writes it."""
    function = tool["function"]
    required = function["parameters"].get("required", [])
    args = []
    for name, spec in function["parameters"].get("properties", {}).items():
        kind = "|".join(spec["enum"]) if "enum" in spec else spec.get("type", "any")
        args.append(f"{name}{'' if name in required else '?'}: {kind}")
    return f"{function['name']}({', '.join(args)}): {function['description']}"


def prefix(tools: list[dict], system: str = SYSTEM) -> str:
    """The system message, which is the same for all dialogues with these tools."""
    listed = "\n".join(describe(tool) for tool in tools)
    return f"<|im_start|>system\n{system}\n\n# Tools\n{listed}<|im_end|>\n"


def user(text: str, context: str) -> str:
    if context:
        text = f"<context>\n{context}\n</context>\n\n{text}"
    return f"<|im_start|>user\n{text}<|im_end|>\n"


def call(name: str, args: dict) -> str:
    """A call in the Hermes dialect."""
    body = json.dumps({"name": name, "arguments": args}, ensure_ascii=False)
    return f"<tool_call>\n{body}\n</tool_call>"


def result(text: str) -> str:
    return f"<|im_start|>user\n<tool_response>\n{text}\n</tool_response><|im_end|>\n"


ASSISTANT = "<|im_start|>assistant\n"
END = "<|im_end|>\n"


def pieces(dialogue: dict) -> list[tuple[str, bool]]:
    """A dialogue without its prefix, in pieces; true for what the model writes."""
    out: list[tuple[str, bool]] = []
    for turn in dialogue["turns"]:
        out.append((user(turn["user"], turn["context"]) + ASSISTANT, False))
        for name, args, text in turn["calls"]:
            out.append((call(name, args) + "<|im_end|>", True))
            out.append(("\n" + result(text) + ASSISTANT, False))
        out.append((turn["answer"] + "<|im_end|>", True))
        out.append(("\n", False))
    return out
