"""Dialogues from a seed: the same seed and number, the same dialogue.

    python -m chela_demo.data show 5            prints dialogues
    python -m chela_demo.data show 5 --exam     the same from the exam's side
"""

from __future__ import annotations

import argparse
import random

from . import prompt
from .scene import Scene
from .tasks import NO_TOOL, TASKS, stray_note
from .words import Words

# Dialogues that share a set of tools, and with it a prefix.
GROUP = 64

# Tools that are not Chela's: name, description, argument, and how people ask for it.
FOREIGN = [
    ("weather", "Get the weather of a place.", "place", "place", "?what is the weather in {}"),
    ("translate", "Translate a text.", "text", "text", "!translate {}"),
    ("send_mail", "Send a mail.", "to", "name", "!send a mail to {}"),
    ("create_ticket", "Open a ticket.", "title", "text", "!open a ticket {}"),
    ("lookup_user", "Look up a user of the directory.", "name", "name", "!look up the user {}"),
    ("stock_price", "Get the price of a share.", "symbol", "code", "?what is the share {} worth"),
    ("convert_unit", "Convert a quantity.", "quantity", "number", "!convert {}"),
    ("define_word", "Look up a word in a dictionary.", "word", "word", "?what does the word {} mean"),
    ("find_flight", "Find flights to a place.", "destination", "place", "!find a flight to {}"),
    ("play_song", "Play a song.", "title", "text", "!play the song {}"),
    ("set_timer", "Set a timer.", "minutes", "number", "!set a timer of {} minutes"),
    ("calendar_add", "Add an entry to the calendar.", "entry", "text", "!add {} to my calendar"),
    ("door_open", "Open a door.", "door", "word", "!open the door {}"),
    ("light_on", "Turn a light on.", "room", "word", "!turn on the light in the {}"),
    ("query_db", "Run a query on the database.", "query", "text", "!run the query {} on the database"),
    ("restart_service", "Restart a service.", "service", "word", "!restart the service {}"),
    ("get_invoice", "Get an invoice by its number.", "number", "code", "!get the invoice {}"),
    ("count_stock", "Count the stock of an article.", "article", "word", "?how many {} are in stock"),
]


def foreign(rng, words: Words) -> dict:
    """A tool of some other server; half of them under a name of no meaning."""
    name, description, argument, *_ = rng.choice(FOREIGN)
    if rng.random() < 0.4:
        name = rng.choice([words.invented() + "_" + name, name + "_" + words.invented(), words.invented()])
    spec = {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": spec}}


def toolset(rng, words: Words) -> list[dict]:
    """Chela's tools: mostly as they are, else in another order, fewer, or among others."""
    roll = rng.random()
    if roll < 0.5:
        return list(prompt.TOOLS)
    tools = list(prompt.TOOLS)
    if roll < 0.6:
        order = "read write edit ls grep glob exec web_fetch memory".split()
        return [prompt.BY_NAME[name] for name in order]
    if roll >= 0.8:
        tools = rng.sample(tools, rng.randint(4, 9))
        others = {tool["function"]["name"]: tool for tool in (foreign(rng, words) for _ in range(rng.randint(0, 4)))}
        tools += others.values()
    rng.shuffle(tools)
    return tools


def ask_foreign(s: Scene, tool: dict) -> None:
    """A request for a tool that is known from its description only."""
    function = tool["function"]
    _, _, argument, kind, line = next(entry for entry in FOREIGN if entry[1] == function["description"])
    value = {"place": s.w.place, "text": s.w.phrase, "name": s.w.name, "code": s.w.code, "number": lambda: str(s.w.some_number()), "word": s.w.word}[kind]()
    s.say("again_other", p=value)
    mark, core = line[0], line[1:].format(value)
    s.turn.intent = "foreign"
    module = s.phrases
    before, after = (module.ORDER_BEFORE, ["", ""]) if mark == "!" else (module.ASK_BEFORE, module.ASK_AFTER)
    s.turn.user = s.around(before) + core + s.around(after)
    result = s.call(function["name"], s.w.phrase(), **{argument: value})
    s.answer(f"{function['name']} says: {result}")


def dialogue(seed: int, index: int, exam: bool = False, turns: int | None = None, tools: list[dict] | None = None) -> dict:
    """One dialogue with the tools of its group, or with these."""
    side = "exam" if exam else "train"
    if tools is None:
        group = random.Random(f"{seed}/{side}/group/{index // GROUP}")
        tools = toolset(group, Words(group, exam))
    attempt = 0
    while True:
        rng = random.Random(f"{seed}/{side}/{index}/{attempt}")
        scene = Scene(rng, exam, [tool["function"]["name"] for tool in tools])
        _play(scene, tools, turns or rng.choice([1, 1, 1, 1, 1, 2, 2, 2, 3, 4]))
        if scene.turns and all(turn.answer for turn in scene.turns):
            break
        attempt += 1
    files, folders = scene.setup
    return {
        "index": index,
        "tools": tools,
        "files": files,
        "folders": folders,
        "turns": [
            {"context": scene.context(at), "intent": turn.intent, "skeleton": turn.skeleton, "user": turn.user, "calls": turn.calls, "answer": turn.answer, "must": turn.must}
            for at, turn in enumerate(scene.turns)
        ],
        "after": scene.box.files,
    }  # fmt: skip


def _play(scene: Scene, tools: list[dict], turns: int) -> None:
    rng = scene.rng
    names = set(scene.tools)
    own = {tool["function"]["name"] for tool in tools} & set(prompt.NAMES)
    possible = [(weight, task) for weight, task, needs in TASKS if set(needs.split()) <= names]
    lacking = [(weight, task) for weight, task, needs in TASKS if needs in ("exec", "web_fetch", "memory") and needs not in own]
    others = [tool for tool in tools if tool["function"]["name"] not in prompt.BY_NAME]
    while len(scene.turns) < turns:
        before = len(scene.turns)
        if others and rng.random() < 0.25:
            ask_foreign(scene, rng.choice(others))
            continue
        if lacking and rng.random() < 0.08:
            _pick(rng, lacking)(scene)
            for turn in scene.turns[before:]:
                turn.calls, turn.answer, turn.must = [], NO_TOOL, []
            continue
        _pick(rng, possible)(scene)
        if len(scene.turns) > before and rng.random() < 0.04:
            scene.turns[before].hints.append(stray_note(scene))
        if len(scene.turns) == before and rng.random() < 0.2:
            return


def _pick(rng, tasks):
    return rng.choices([task for _, task in tasks], [weight for weight, _ in tasks])[0]


def text(dialogue: dict) -> str:
    return prompt.prefix(dialogue["tools"]) + "".join(part for part, _ in prompt.pieces(dialogue))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["show"])
    parser.add_argument("count", type=int)
    parser.add_argument("--exam", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--from", dest="start", type=int, default=0)
    args = parser.parse_args()
    for index in range(args.start, args.start + args.count):
        made = dialogue(args.seed, index, args.exam)
        print("".join(f"\033[1m{part}\033[0m" if ours else part for part, ours in prompt.pieces(made)), end="")
        print("----")


if __name__ == "__main__":
    main()
