"""What must hold of the data. `python -m unittest discover -s tests -t .` in `demo-model`."""

import random
import re
import unittest
from pathlib import Path

from chela_demo import data, grammar, phrases_exam, phrases_train, prompt, words

SEED = 1


def expressions(module) -> list[tuple[str, str]]:
    return [(intent, line) for intent, lines in module.PHRASES.items() for line in lines]


def nodes(line: str) -> tuple:
    mark = line[0] in "!?" and len(line) > 2 and line[1] not in "?!"
    return grammar.parse(line[1:] if mark else line)


class Grammars(unittest.TestCase):
    def test_no_sentence_of_the_exam_is_one_of_training(self):
        train = re.compile("|".join(f"(?:{grammar.regex(nodes(line), phrases_train.RULES)})" for _, line in expressions(phrases_train)))
        rng = random.Random(SEED)
        for intent, line in expressions(phrases_exam):
            for _ in range(40):
                sentence = grammar.skeleton(grammar.sample(rng, nodes(line), phrases_exam.RULES))
                # What nonsense says differs by its letters only.
                if intent != "nonsense":
                    self.assertIsNone(train.fullmatch(sentence), f"{intent}: {sentence}")

    def test_both_sides_have_words_for_every_request(self):
        self.assertEqual(set(phrases_train.PHRASES), set(phrases_exam.PHRASES))

    def test_a_regular_expression_matches_what_is_sampled(self):
        rng = random.Random(SEED)
        for _, line in expressions(phrases_train):
            pattern = re.compile(grammar.regex(nodes(line), phrases_train.RULES))
            sentence = grammar.skeleton(grammar.sample(rng, nodes(line), phrases_train.RULES))
            self.assertIsNotNone(pattern.fullmatch(sentence), line)

    def test_requests_vary(self):
        ways = {intent: sum(grammar.count(nodes(line), phrases_train.RULES) for line in lines) for intent, lines in phrases_train.PHRASES.items()}
        for intent in ("read", "ls", "grep", "glob_ext", "write", "edit", "append", "math", "run", "fetch", "remember", "recall"):
            self.assertGreater(ways[intent], 150, intent)


class Values(unittest.TestCase):
    def test_no_value_stands_on_both_sides(self):
        for exam in (False, True):
            made = words.Words(random.Random(SEED), exam)
            for draw in (made.invented, made.code, lambda: made.number(1_000, 99_999), lambda: made.of(words.STEMS), lambda: made.of(words.NAMES)):
                for _ in range(50):
                    self.assertEqual(words.held_out(draw()), exam)


class Dialogues(unittest.TestCase):
    def test_the_same_seed_makes_the_same(self):
        for index in (0, 17, 400):
            self.assertEqual(data.dialogue(SEED, index), data.dialogue(SEED, index))
        self.assertNotEqual(data.dialogue(SEED, 0), data.dialogue(SEED + 1, 0))

    def test_calls_name_tools_that_are_offered_and_answers_follow(self):
        for index in range(300):
            made = data.dialogue(SEED, index)
            offered = {tool["function"]["name"]: tool["function"]["parameters"] for tool in made["tools"]}
            for turn in made["turns"]:
                self.assertTrue(turn["answer"].strip())
                for name, args, result in turn["calls"]:
                    schema = offered[name]
                    self.assertLessEqual(set(schema.get("required", [])), set(args))
                    order = [key for key in schema["properties"] if key in args]
                    self.assertEqual(order, list(args), "arguments stand in the order of the schema")
                    self.assertTrue(result.strip(), name)

    def test_what_is_said_to_be_done_was_done(self):
        claims = re.compile(r"^(Wrote|Changed|Added|Set|Removed|Deleted|Made|Moved|Copied|Replaced|I noted)")
        for index in range(300):
            for turn in data.dialogue(SEED, index)["turns"]:
                if claims.match(turn["answer"]):
                    self.assertTrue(turn["calls"], turn)
                    self.assertFalse(re.match(r"error|refused", turn["calls"][-1][2]), turn)


class Prompt(unittest.TestCase):
    def test_the_prompt_is_the_programs(self):
        source = (Path(__file__).parents[2] / "crates/agent/src/prompt.rs").read_text()
        system = re.search(r'pub const SYSTEM: &str = "\\\n(.*?)";', source, re.S)[1]
        self.assertEqual(prompt.SYSTEM, system)

    def test_the_template_writes_what_training_sees(self):
        import json

        import jinja2

        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.Undefined)
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        template = environment.from_string(prompt.TEMPLATE)
        for index in range(0, 600, 5):
            made = data.dialogue(SEED, index)
            messages = [{"role": "system", "content": prompt.SYSTEM}]
            for turn in made["turns"]:
                context = f"<context>\n{turn['context']}\n</context>\n\n" if turn["context"] else ""
                messages.append({"role": "user", "content": context + turn["user"]})
                for name, args, result in turn["calls"]:
                    call = {"type": "function", "function": {"name": name, "arguments": args}}
                    messages += [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": result}]
                messages.append({"role": "assistant", "content": turn["answer"]})
            self.assertEqual(template.render(messages=messages, tools=made["tools"]), data.text(made))


if __name__ == "__main__":
    unittest.main()
