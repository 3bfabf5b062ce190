"""One dialogue in the making: a folder, a person, and what has been said so far."""

from __future__ import annotations

import datetime as dt

from . import grammar, phrases_exam, phrases_train
from .grammar import Slot
from .sandbox import Sandbox
from .words import ADJECTIVES, Words

OFFSETS = ["+00:00", "+00:00", "+01:00", "+02:00", "-05:00", "-08:00", "+05:30", "+09:00", "+10:00", "-03:00"]
PROSE = {"txt", "md", "log", "tex"}


class Turn:
    """A request, the calls with their results, and the answer."""

    def __init__(self, intent: str):
        self.intent = intent
        self.user = ""
        self.calls: list[tuple[str, dict, str]] = []
        self.answer = ""
        # What the answer must hold, and the files that must be there at the end; for the exam.
        self.must: list[str] = []
        self.skeleton = ""
        # Lines of the context besides the date and the folder.
        self.hints: list[str] = []


class Scene:
    def __init__(self, rng, exam: bool, tools: list[str]):
        self.rng = rng
        self.exam = exam
        self.tools = tools
        self.w = Words(rng, exam)
        self.phrases = phrases_exam if exam else phrases_train
        self.turns: list[Turn] = []
        self.notes: list[str] = []
        self.now = dt.datetime(2024, 1, 1) + dt.timedelta(minutes=rng.randrange(6 * 365 * 24 * 60))
        self.offset = rng.choice(OFFSETS)
        self.workspace = self._workspace()
        self.box = self._box()
        self.setup = (dict(self.box.files), sorted(self.box.empty_folders))
        self.last_path: str | None = None
        self.turn: Turn | None = None

    # What is there.

    def _workspace(self) -> str:
        r, w = self.rng, self.w
        home = r.choice([f"/home/{w.name().lower()}", f"/Users/{w.name().lower()}", "/root", "/srv", "/tmp"])
        return home + r.choice([f"/{w.folder()}", f"/{w.folder()}/{w.word()}", ""])

    def _box(self) -> Sandbox:
        r, w = self.rng, self.w
        folders = ["", "", ""] + [w.folder() + "/" for _ in range(r.choice([0, 1, 1, 2]))]
        if len(folders) > 3 and r.random() < 0.2:
            folders.append(folders[-1] + w.folder() + "/")
        files: dict[str, str] = {}
        for _ in range(r.choice([0, 1, 2, 3, 3, 4, 5, 6])):
            path = r.choice(folders) + w.file()
            files[path] = self.content(path)
        used = Sandbox(files).folders()
        empty = [folder[:-1] for folder in folders if folder and folder[:-1] not in used]
        return Sandbox(files, empty)

    def content(self, path: str, lines: int | None = None) -> str:
        """Text such as a file of this name may have; always with a line end."""
        r = self.rng
        extension = path.rsplit(".", 1)[-1]
        lines = lines or r.choice([1, 1, 2, 2, 3, 3, 4, 5, 6])
        if extension in PROSE and r.random() < 0.75 or extension not in PROSE and r.random() < 0.15:
            return self.prose(lines)
        return self.settings(lines)[0]

    def prose(self, lines: int) -> str:
        r, w = self.rng, self.w
        bullet = r.choice(["", "", "", "- ", "* ", "[ ] "])
        title = r.choice(["", "", f"# {w.word().capitalize()}\n", f"{w.word().capitalize()}\n"])
        seen: list[str] = []
        while len(seen) < lines:
            line = w.phrase()
            if line not in seen and not any(line in other or other in line for other in seen):
                seen.append(line)
        return title + "".join(f"{bullet}{line}\n" for line in seen)

    def settings(self, lines: int, numbers: bool = False) -> tuple[str, dict[str, str]]:
        """Lines of keys and values, and what they say."""
        r, w = self.rng, self.w
        between = r.choice([" = ", ": ", "=", ": "])
        values: dict[str, str] = {}
        while len(values) < lines:
            key = w.key()
            if not any(key in other or other in key for other in values):
                values[key] = str(w.some_number()) if numbers else w.value()
        return "".join(f"{key}{between}{value}\n" for key, value in values.items()), values

    def add_file(self, path: str | None = None, text: str | None = None, *, extension: str | None = None) -> str:
        """A new file of the setup."""
        if path is None:
            path = self.new_path(extension)
        self.box.files[path] = text if text is not None else self.content(path)
        self.setup[0][path] = self.box.files[path]
        return path

    def new_path(self, extension: str | None = None, folder: bool = True) -> str:
        r, w = self.rng, self.w
        while True:
            path = w.file(extension)
            if folder and r.random() < 0.3:
                path = r.choice([f"{w.folder()}/", f"{w.folder()}/{w.folder()}/", f"{w.folder()}/"]) + path
            parts = path.split("/")
            prefixes = {"/".join(parts[:at]) for at in range(1, len(parts))}
            if path not in self.box.files and path not in self.box.folders() and not prefixes & set(self.box.files):
                return path

    def some_file(self) -> str:
        """A file that is there, or is now."""
        files = sorted(self.box.files)
        if files and self.rng.random() < 0.5:
            return self.rng.choice(files)
        return self.add_file()

    # What is said.

    def say(self, intent: str, **slots: str) -> str:
        """Words a request, with values in place, and begins its turn."""
        r = self.rng
        line = r.choice(self.phrases.PHRASES[intent])
        mark = line[0] if line[0] in "!?" and len(line) > 2 and line[1] not in "?!" else ""
        parts = grammar.sample(r, grammar.parse(line[len(mark) :]), self.phrases.RULES)
        core = grammar.skeleton(parts)
        before = after = ""
        if mark == "!":
            before, after = self.around(self.phrases.ORDER_BEFORE), self.around(self.phrases.ORDER_AFTER)
        elif mark == "?":
            before, after = self.around(self.phrases.ASK_BEFORE), self.around(self.phrases.ASK_AFTER)
        last = parts[-1] if parts else ""
        if isinstance(last, Slot) and last.name in ("t", "t2", "m", "c", "v", "b", "list", "x"):
            after = "?" if mark == "?" and r.random() < 0.7 else ""
        parts = [before, *parts, after]
        parts = self._noise(parts)
        text = grammar.fill(parts, slots)
        if mark == "!" and not after and not isinstance(last, Slot) and r.random() < 0.25:
            text += "."
        if mark == "!" and not after and isinstance(last, Slot) and last.name in "pqdfuw" and r.random() < 0.08:
            text += "."
        turn = Turn(intent)
        turn.user = text
        turn.skeleton = core
        self.turn = turn
        self.turns.append(turn)
        return text

    def around(self, lines: list[str]) -> str:
        """Words before or behind a request."""
        r, w = self.rng, self.w
        parts = grammar.sample(r, grammar.parse(r.choice(lines)), self.phrases.RULES)
        values = {"w": w.word(), "n": w.name(), "c": w.place(), "adj": w.of(ADJECTIVES), "g": w.syllables(1, 2)}
        return grammar.fill(parts, values)

    def _noise(self, parts: list) -> list:
        """Capital letters, missing letters and the like, never in a value."""
        r = self.rng
        joined: list = []
        for part in parts:
            if isinstance(part, str) and joined and isinstance(joined[-1], str):
                joined[-1] += part
            else:
                joined.append(part)
        style = r.random()
        if style < 0.5 and joined and isinstance(joined[0], str) and joined[0]:
            joined[0] = joined[0][0].upper() + joined[0][1:]
        elif style < 0.51:
            joined = [part.upper() if isinstance(part, str) else part for part in joined]
        if r.random() < 0.12:
            joined = [self._typo(part) if isinstance(part, str) else part for part in joined]
        return joined

    def _typo(self, text: str) -> str:
        r = self.rng
        words = text.split(" ")
        long = [at for at, word in enumerate(words) if len(word) >= 4 and word.isalpha()]
        if not long:
            return text
        at = r.choice(long)
        word = words[at]
        place = r.randrange(1, len(word) - 1)
        kind = r.randrange(3)
        if kind == 0:
            word = word[:place] + word[place + 1 :]
        elif kind == 1:
            word = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        else:
            word = word[:place] + word[place] + word[place:]
        words[at] = word
        return " ".join(words)

    # How values are written.

    def p(self, path: str) -> str:
        """A path as people write it."""
        r = self.rng.random()
        if " " in path or r < 0.1:
            return self.rng.choice(['"{}"', "'{}'", "`{}`", '"{}"']).format(path)
        if r < 0.13:
            return "./" + path
        return path

    def t(self, text: str) -> str:
        """Text as people write it: mostly in quotation marks."""
        r = self.rng.random()
        if r < 0.5 and '"' not in text:
            return f'"{text}"'
        if r < 0.65 and "'" not in text:
            return f"'{text}'"
        if r < 0.68 and "`" not in text:
            return f"`{text}`"
        return text

    # What is done.

    def call(self, name: str, result: str | None = None, /, **args) -> str:
        """A call, with the result that the folder gives or that is given here."""
        if result is None:
            result = self.box.call(name, args)
        self.turn.calls.append((name, args, result))
        if "path" in args:
            self.last_path = Sandbox.normal(args["path"])
        return result

    def answer(self, text: str, *must: str) -> None:
        self.turn.answer = text
        self.turn.must = list(must)

    def context(self, at: int) -> str:
        """The context lines of a turn: date and folder with the first, the date again after a while."""
        lines = []
        if at == 0 or self.rng.random() < 0.15:
            lines.append(f"date: {self.now.strftime('%a %Y-%m-%d %H:%M')} {self.offset}")
        if at == 0:
            lines.append(f"workspace: {self.workspace}")
        return "\n".join(lines + self.turns[at].hints)
