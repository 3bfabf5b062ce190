"""Names, texts and numbers that dialogues are about.

Every value belongs either to training or to the exam, decided by its checksum: `Words(rng, exam)`
never gives one of the other side.
"""

from __future__ import annotations

import zlib

# One value in this many is held out for the exam.
HELD_OUT = 6

STEMS = """
report notes todo budget invoice letter recipe plan agenda minutes summary draft journal diary list
shopping packing inventory contacts address phone birthday wedding garden kitchen travel flight hotel
ticket receipt tax rent salary insurance loan bank account balance ledger order customer client project
roadmap backlog sprint release version changelog readme license manual guide tutorial lesson homework
essay thesis chapter outline abstract review feedback survey results data table chart figure sample test
bench metrics stats log error debug trace audit config settings options profile user admin server proxy
router network firewall backup archive restore mirror cache queue worker job task schedule calendar
event meeting call interview resume offer contract policy terms privacy security secret token session
login password index main app core util helper parser lexer reader writer loader filter search query
model schema view page layout theme style color font icon image photo video audio music song playlist
album artist movie book author title quote poem story character scene map route trail camp hike bike
run swim yoga gym weight diet meal soup salad bread cake cookie coffee tea water milk egg butter cheese
apple banana orange lemon grape cherry carrot potato tomato onion pepper salt sugar honey flour rice
river lake ocean island mountain valley forest desert meadow village city street bridge tower castle
harbor station airport market museum library school office studio factory warehouse farm barn stable
horse sheep goat rabbit eagle falcon robin sparrow dolphin whale shark otter beaver badger fox wolf bear
winter spring summer autumn january march april june july august october monday friday sunday morning
evening sensor motor pump valve battery panel solar wind engine pilot rocket orbit lunar comet planet
alpha beta gamma delta omega prime zero atlas nova pixel vector matrix tensor kernel thread socket
buffer stream packet signal clock timer counter ring tree graph node edge heap stack hash string
""".split()

NAMES = """
Anna Ben Carla David Elena Felix Greta Hugo Ida Jonas Klara Leo Mira Noah Olga Paul Rosa Samuel Tina
Viktor Wanda Yusuf Zoe Amir Bianca Chen Dora Emil Fatima Goran Hanna Ivan Julia Kofi Lena Marco Nadia
Oscar Priya Ravi Sofia Tomas Uma Vera Walter Ximena Yara Zoltan Aisha Boris Celine Diego Esther Farid
Ines Jakob Kenji Liam Maya Nils Omar Petra Quinn Rahul Selma Theo Ursula Vijay Wen Akira Britta Cyril
""".split()

THINGS = """
milk eggs bread butter rice apples coffee tea sugar salt flour onions tomatoes cheese honey soap stamps
batteries candles paper pencils tape glue nails screws paint brushes seeds soil gloves socks shoes towels
lamps bulbs cables plugs keys maps tickets cards letters parcels boxes bottles cups plates spoons knives
""".split()

VERBS = """
buy call write send fix clean check order pay book water feed paint sell read sort print pack wash move
update review test deploy plan draft sign return collect deliver repair measure count copy scan
""".split()

ADJECTIVES = """
red blue green old new small large spare cold warm dry wet light heavy short long empty full quiet loud
early late open plain round flat soft sharp clean broken second third last main local public private
""".split()

PLACES = """
Berlin Oslo Madrid Lyon Porto Vienna Prague Krakow Riga Turin Ghent Basel Malmo Bergen Delhi Pune Osaka
Kyoto Lima Quito Bogota Cairo Accra Nairobi Tunis Boston Denver Austin Dallas Seattle Toronto Sydney
""".split()

KEYS = """
port host user name timeout retries limit level mode path color size width height depth speed rate count
owner region zone version theme language encoding interval threads workers batch seed price total amount
quantity discount weight length distance temperature pressure capacity volume age score points deadline
status priority budget editor shell server database table prefix suffix format quality delay offset
""".split()

EXTENSIONS = """
txt md txt md txt md json toml yaml yml ini cfg conf csv log py rs js ts sh html css xml sql c go java tex
""".split()

LANGUAGES = {
    "python": "py", "rust": "rs", "javascript": "js", "typescript": "ts", "markdown": "md", "text": "txt",
    "json": "json", "toml": "toml", "yaml": "yaml", "csv": "csv", "html": "html", "css": "css", "log": "log",
    "shell": "sh", "xml": "xml", "sql": "sql", "java": "java", "go": "go", "c": "c", "ini": "ini", "tex": "tex",
}  # fmt: skip

FOLDERS = """
src docs doc data notes test tests lib bin etc logs scripts config assets images old new tmp archive work
home projects backup reports invoices letters recipes photos music build examples tools public private
""".split()

TLDS = ["com", "org", "net", "io", "dev", "de", "fr", "nl", "se", "in", "co.uk", "info", "example"]

ONSETS = "b c d f g h j k l m n p q r s t v w x y z".split()
CLUSTERS = "br ch cl cr dr fl gr kl kr pl pr sh sk sl sn sp st th tr wh".split()
VOWELS = "a e i o u a e i o u a e i o u ai ea ee oo ou y".split()
CODAS = ["", "", "", "", "", "", "n", "r", "s", "l", "t", "m", "k", "x", "nd", "st", "p", "d"]


def held_out(value: str) -> bool:
    """True where a value belongs to the exam."""
    return zlib.crc32(str(value).lower().encode()) % HELD_OUT == 0


class Words:
    """Values of one side, drawn from one random source."""

    def __init__(self, rng, exam: bool):
        self.rng = rng
        self.exam = exam

    def _mine(self, draw):
        """A value of this side."""
        while True:
            value = draw()
            if held_out(value) == self.exam:
                return value

    def of(self, values):
        return self._mine(lambda: self.rng.choice(values))

    def number(self, low: int, high: int) -> int:
        """A number of this side; of a small range any."""
        if high - low < 60:
            return self.rng.randint(low, high)
        return self._mine(lambda: self.rng.randint(low, high))

    def some_number(self) -> int:
        """A number of one to six digits, each length about as likely."""
        digits = self.rng.choice([1, 2, 2, 2, 3, 3, 4, 4, 5, 6])
        return self.number(10 ** (digits - 1) if digits > 1 else 2, 10**digits - 1)

    def syllables(self, low: int = 1, high: int = 3) -> str:
        r = self.rng
        onset = lambda: r.choice(ONSETS if r.random() < 0.8 else CLUSTERS)
        return "".join(onset() + r.choice(VOWELS) + r.choice(CODAS) for _ in range(r.randint(low, high)))

    def invented(self) -> str:
        return self._mine(lambda: self.syllables(2, 2 if self.rng.random() < 0.7 else 3))

    def code(self) -> str:
        """Letters and digits without sense."""
        r = self.rng
        letters = r.choice(["abcdefghjkmnpqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ", "0123456789abcdef"])
        return self._mine(lambda: "".join(r.choice(letters + "0123456789") for _ in range(r.randint(4, 9))))

    def word(self) -> str:
        """A word in lower case: known, or invented."""
        r = self.rng.random()
        if r < 0.62:
            return self.of(STEMS)
        if r < 0.72:
            return self.of(THINGS)
        return self.invented()

    def name(self) -> str:
        if self.rng.random() < 0.6:
            return self.of(NAMES)
        return self.invented().capitalize()

    def place(self) -> str:
        if self.rng.random() < 0.6:
            return self.of(PLACES)
        return self.invented().capitalize()

    def identifier(self) -> str:
        """A name as programs have it."""
        r = self.rng
        kind = r.randrange(6)
        if kind == 0:
            return self.word() + "_" + self.word()
        if kind == 1:
            return self.word() + self.word().capitalize()
        if kind == 2:
            return self.word().upper()
        if kind == 3:
            return self.word().upper() + "_" + self.word().upper()
        if kind == 4:
            return self.word().capitalize() + self.word().capitalize()
        return self.word()

    def stem(self) -> str:
        """A file's name without its extension."""
        r = self.rng
        kind = r.random()
        if kind < 0.5:
            return self.word()
        if kind < 0.62:
            return self.word() + "-" + self.word()
        if kind < 0.74:
            return self.word() + "_" + self.word()
        if kind < 0.84:
            return self.word() + str(self.number(1, 99))
        if kind < 0.88:
            return self.word() + "-" + str(self.number(2018, 2031))
        if kind < 0.91:
            return self.word().upper()
        if kind < 0.94:
            return self.word().capitalize()
        if kind < 0.97:
            return self.code()
        return self.word() + " " + self.word()

    def file(self, extension: str | None = None) -> str:
        return self.stem() + "." + (extension or self.rng.choice(EXTENSIONS))

    def folder(self) -> str:
        r = self.rng.random()
        if r < 0.4:
            return self.rng.choice(FOLDERS)
        if r < 0.9:
            return self.word()
        return self.word() + "-" + self.word()

    def key(self) -> str:
        r = self.rng.random()
        if r < 0.55:
            return self.of(KEYS)
        if r < 0.8:
            return self.of(KEYS) + "_" + self.of(KEYS)
        return self.invented()

    def value(self) -> str:
        r = self.rng.random()
        if r < 0.45:
            return str(self.some_number())
        if r < 0.75:
            return self.word()
        if r < 0.85:
            return self.code()
        return self.name()

    def url(self) -> str:
        r = self.rng
        host = self.word() + r.choice(["", "", "-" + self.word()]) + "." + r.choice(TLDS)
        host = r.choice(["", "", "", "www.", "docs.", "blog."]) + host
        path = "".join("/" + self.word() for _ in range(r.choice([0, 0, 1, 1, 2])))
        if path and r.random() < 0.3:
            path += r.choice([".html", ".txt", ".md", "/" + str(self.number(1, 9999))])
        return r.choice(["https://", "https://", "https://", "http://"]) + host + path

    def phrase(self) -> str:
        """Two to six words that a person might write down."""
        r = self.rng
        kind = r.randrange(12)
        if kind == 0:
            return f"{self.of(VERBS)} {self.of(THINGS)}"
        if kind == 1:
            return f"{self.of(VERBS)} the {self.of(ADJECTIVES)} {self.word()}"
        if kind == 2:
            return f"{r.choice(['call', 'meet', 'pay', 'write to', 'ask', 'thank'])} {self.name()}"
        if kind == 3:
            return f"{self.word()} in {self.place()}"
        if kind == 4:
            return f"{self.some_number()} {self.of(THINGS)}"
        if kind == 5:
            return f"{self.name()} and {self.name()}"
        if kind == 6:
            return f"the {self.word()} is {self.of(ADJECTIVES)}"
        if kind == 7:
            return f"{self.of(ADJECTIVES)} {self.of(THINGS)} for {self.name()}"
        if kind == 8:
            return f"{self.of(VERBS)} {self.word()} at {self.number(1, 12)}:{r.choice(['00', '15', '30', '45'])}"
        if kind == 9:
            return f"hello {self.name()}"
        if kind == 10:
            return " ".join(self.word() for _ in range(r.randint(2, 5)))
        return f"{self.word()} {self.code()}"

    def source(self) -> str:
        """A line as it stands in programs and pages."""
        r, word, number = self.rng, self.word(), self.some_number()
        return r.choice([
            f'print("{word}")', f"print('{self.word()} {word}')", f"{word} = {number}", f"<h1>{word.capitalize()}</h1>", f'{{"{word}": {number}}}',
            f"echo {word}", f"#!/bin/{r.choice(['sh', 'bash'])}", f"# {word}", f"- [ ] {self.phrase()}", f"{word}: {number}", f"import {word}", f"{word},{self.word()},{number}",
        ])  # fmt: skip

    def text(self) -> str:
        """A phrase, a word, a number or a code."""
        r = self.rng.random()
        if r < 0.06:
            return self.source()
        if r < 0.7:
            text = self.phrase()
        elif r < 0.82:
            text = self.word()
        elif r < 0.9:
            text = str(self.some_number())
        else:
            text = self.code()
        r = self.rng.random()
        if r < 0.2:
            text = text[0].upper() + text[1:]
        if r < 0.12:
            text += self.rng.choice([".", "!", "?"])
        return text
