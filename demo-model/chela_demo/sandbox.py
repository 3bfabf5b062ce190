"""A folder in memory with Chela's tools on it.

What the tools answer is word for word what the real ones answer; a test of the Rust workspace
replays recorded dialogues with the real tools and compares.
"""

from __future__ import annotations

import difflib
import json
import re


def jaro_winkler(a: str, b: str) -> float:
    """As crate strsim computes it: what decides about `Did you mean`."""
    if not a and not b:
        return 1.0
    if not a or not b:
        return 0.0
    reach = max(max(len(a), len(b)) // 2 - 1, 0)
    in_a, in_b = [False] * len(a), [False] * len(b)
    matches = 0
    for i, x in enumerate(a):
        for j in range(max(i - reach, 0), min(len(b), i + reach + 1)):
            if x == b[j] and not in_b[j]:
                in_a[i] = in_b[j] = True
                matches += 1
                break
    if not matches:
        return 0.0
    left = [x for x, hit in zip(a, in_a) if hit]
    right = [x for x, hit in zip(b, in_b) if hit]
    turned = sum(x != y for x, y in zip(left, right)) // 2
    sim = (matches / len(a) + matches / len(b) + (matches - turned) / matches) / 3
    if sim <= 0.7:
        return sim
    prefix = 0
    for x, y in zip(a[:4], b):
        if x != y:
            break
        prefix += 1
    return sim + 0.1 * prefix * (1 - sim)


def size(count: int) -> str:
    if count < 1_000:
        return f"{count} B"
    if count < 1_000_000:
        return f"{count / 1e3:.1f} kB"
    return f"{count / 1e6:.1f} MB"


def diff(before: str, after: str) -> str:
    """The hunks of a unified diff with three lines of context."""
    lines = list(difflib.unified_diff(before.splitlines(True), after.splitlines(True), n=3))[2:]
    out = [line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines]
    text = "".join(out).split("\n")[:-1]
    shown = "\n".join(text[:40])
    if len(text) > 40:
        shown += f"\n[{len(text) - 40} more lines of the diff]"
    return shown


def lines_of(text: str) -> list[str]:
    """As Rust's `str::lines`."""
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def glob_regex(pattern: str) -> re.Pattern:
    """What crate globset understands, as far as it is used here."""
    out, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            out, at = out + "(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            out, at = out + ".*", at + 2
        elif pattern[at] == "*":
            out, at = out + "[^/]*", at + 1
        elif pattern[at] == "?":
            out, at = out + "[^/]", at + 1
        elif pattern[at] == "{":
            end = pattern.index("}", at)
            out += "(?:" + "|".join(map(re.escape, pattern[at + 1 : end].split(","))) + ")"
            at = end + 1
        else:
            out, at = out + re.escape(pattern[at]), at + 1
    return re.compile(out + r"\Z")


class Sandbox:
    """Files by path, and what was read of them."""

    def __init__(self, files: dict[str, str], folders: list[str] = ()):
        self.files = dict(files)
        self.empty_folders = set(folders)
        self.known: dict[str, str] = {}

    # What is where.

    def folders(self) -> set[str]:
        found = {"."} | self.empty_folders
        for path in list(self.files) + list(self.empty_folders):
            while "/" in path:
                path = path.rsplit("/", 1)[0]
                found.add(path)
        return found

    def entries(self, folder: str) -> list[str]:
        """Names in a folder; those of folders end in a slash."""
        prefix = "" if folder == "." else folder + "/"
        names = set()
        for path in list(self.files) + [folder + "/" for folder in self.folders() if folder != "."]:
            if path.startswith(prefix):
                rest = path[len(prefix) :]
                if rest:
                    head, slash, _ = rest.partition("/")
                    names.add(head + slash)
        return sorted(names)

    @staticmethod
    def normal(path: str) -> str:
        parts = [part for part in path.split("/") if part not in ("", ".")]
        return "/".join(parts) or "."

    def missing(self, path: str) -> str:
        text = f"error: {path} does not exist."
        folder, name = path.rsplit("/", 1) if "/" in path else (".", path)
        while folder not in self.folders():
            folder = folder.rsplit("/", 1)[0] if "/" in folder else "."
        names = [entry.rstrip("/") for entry in self.entries(folder)]
        inside = lambda name: name if folder == "." else f"{folder}/{name}"
        scores = [(jaro_winkler(name.lower(), other.lower()), other) for other in names]
        near = sorted((pair for pair in scores if pair[0] > 0.85), key=lambda pair: -pair[0])[:2]
        if near:
            text += f" Did you mean {' or '.join(inside(name) for _, name in near)}?"
        same = [path for path in self.walk(".") if path.rsplit("/", 1)[-1] == name][:3]
        if same:
            text += f" There is {' and '.join(same)}."
        if not near and not same:
            if not names:
                holds = "is empty"
            elif len(names) <= 12:
                holds = "holds " + ", ".join(sorted(names))
            else:
                holds = f"holds {', '.join(sorted(names)[:12])} and {len(names) - 12} more"
            text += f" The folder {folder} {holds}."
        return text

    def walk(self, folder: str) -> list[str]:
        prefix = "" if folder == "." else folder + "/"
        # Names are compared folder by folder.
        return sorted((path for path in self.files if path.startswith(prefix)), key=lambda path: path.split("/"))

    # The tools.

    def call(self, name: str, args: dict) -> str:
        return getattr(self, name)(**args)

    def ls(self, path: str = ".") -> str:
        path = self.normal(path)
        if path in self.files:
            return f"{path} is a file of {len(self.files[path].encode())} bytes"
        if path not in self.folders():
            return self.missing(path)
        prefix = "" if path == "." else path + "/"
        lines = []
        for entry in self.entries(path):
            if entry.endswith("/"):
                lines.append(entry)
            else:
                lines.append(f"{entry} ({size(len(self.files[prefix + entry].encode()))})")
        return "\n".join(sorted(lines)) or f"({path} is empty)"

    def read(self, path: str, offset: int = 1, limit: int = 2_000) -> str:
        path = self.normal(path)
        if path in self.folders():
            return f"{path} is a folder:\n{self.ls(path)}"
        if path not in self.files:
            return self.missing(path)
        text = self.files[path]
        self.known[path] = text
        if not text:
            return f"({path} is empty)"
        lines = lines_of(text)
        first = max(offset, 1) - 1
        if first >= len(lines):
            return f"error: offset {first + 1} is past the end; {path} has {len(lines)} lines"
        shown = lines[first : first + limit]
        end = first + len(shown)
        out = "".join(line + "\n" for line in shown)
        if first > 0 or end < len(lines):
            more = f"; for more, offset={end + 1}" if end < len(lines) else ""
            out += f"[lines {first + 1}-{end} of {len(lines)}{more}]"
        return out.rstrip("\n")

    def _apply(self, path: str, before: str | None, after: str) -> str:
        if before == after:
            return f"{path} is already so; nothing was written"
        self.files[path] = self.known[path] = after
        if before is None:
            return f"created {path} ({len(lines_of(after))} lines)"
        return f"changed {path}\n{diff(before, after)}"

    def write(self, path: str, content: str) -> str:
        path = self.normal(path)
        if path in self.folders():
            return f"error: {path} is a folder"
        before = self.files.get(path)
        if before and self.known.get(path) != before:
            return (
                f"error: {path} was not read yet. Call read on {path} first. Or change a part of it with edit."
            )
        return self._apply(path, before, content)

    def edit(self, path: str, oldText: str, newText: str) -> str:
        path = self.normal(path)
        if path not in self.files:
            return self.missing(path)
        text = self.files[path]
        if self.known.get(path) != text:
            return f"error: {path} was not read yet. Call read on {path} first."
        hits = [found.start() for found in re.finditer(re.escape(oldText), text)]
        if len(hits) > 1:
            lines = ", ".join(str(text[:at].count("\n") + 1) for at in hits[:8])
            return (
                f"error: oldText occurs more than once in {path}, at lines {lines}. Take in more lines around the "
                "one that you mean."
            )
        if not hits:
            return f"error: oldText does not occur in {path}, nor anything like it. Call read on it again."
        return self._apply(path, text, text.replace(oldText, newText))

    def grep(self, pattern: str, path: str = ".") -> str:
        path = self.normal(path)
        if path not in self.files and path not in self.folders():
            return self.missing(path)
        note = ""
        for flags in (0, re.IGNORECASE):
            found = self._grep(re.compile(pattern, flags), path)
            if found:
                break
            note = "[nothing in this case; found in another]\n"
        if not found:
            return f"no line in {path} matches {json.dumps(pattern, ensure_ascii=False)}"
        return (note + "\n".join(found)).rstrip()

    def _grep(self, pattern: re.Pattern, path: str) -> list[str]:
        files = [path] if path in self.files else self.walk(path)
        found = []
        for file in files:
            for at, line in enumerate(lines_of(self.files[file])):
                if pattern.search(line):
                    found.append(f"{file}:{at + 1}: {line.rstrip()}")
        return found

    def glob(self, pattern: str) -> str:
        special = min((pattern.find(c) for c in "*?[{" if c in pattern), default=len(pattern))
        slash = pattern[:special].rfind("/")
        folder, rest = (".", pattern) if slash < 0 else (pattern[:slash], pattern[slash + 1 :])
        folder = self.normal(folder)
        if folder not in self.folders():
            return self.missing(folder)
        prefix = "" if folder == "." else folder + "/"
        regex = glob_regex(rest)
        found = []
        for path in self.walk(folder):
            inside = path[len(prefix) :]
            if regex.match(inside) or ("/" not in rest and regex.match(path.rsplit("/", 1)[-1])):
                found.append(path)
        return "\n".join(found) or f"no file in {folder} matches {rest}"
