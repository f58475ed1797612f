"""The messages of collabpipe, collected from its source for errors.md: `python docs/errors.py` writes them anew.

A message's first sentence says what is wrong and where, the rest says what to do. The names of variables are in capital
letters, and `…` is in place of anything longer.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PAGE = Path(__file__).with_name("errors.md")
PACKAGE = PAGE.parent.parent / "collabpipe"
BEGIN, END = "<!-- messages: written by docs/errors.py -->", "<!-- end of messages -->"
ERRORS = {"CollabpipeError", "WrongSum"}
"""What is printed as one message and ends a command."""
GATHERED = {"faults", "messages", "_faults"}
"""Several mistakes are told in one message: variables that hold them, and functions that yield them."""
RETURNED = {"_why", "lacking", "_in_two_splits"}
"""Functions that return messages."""
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n")
WORDS = re.compile(r"[a-z]{2} [a-z]{2}")
MARKDOWN = re.compile(r"([|*_<`\[\]])")


@dataclass(frozen=True)
class Message:
    """What is wrong, and what to do."""

    module: str
    wrong: str
    remedy: str


def capitals(name: str) -> str:
    """The name of a variable, as it is shown."""
    return name.strip("_").upper()


class Module:
    """A module of the package: its tree, and the texts that it gives names."""

    def __init__(self, file: Path):
        self.name = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        self.tree = ast.parse(file.read_text(encoding="utf-8"))
        found = vars(importlib.import_module(self.name)).items()
        self.constants = {name: value for name, value in found if isinstance(value, str) and not name.startswith("__")}
        self.local: dict[str, ast.expr] = {}
        self.local = dict(self._local())

    def _local(self) -> Iterator[tuple[str, ast.expr]]:
        """The texts in variables that one line alone sets, and those that arguments have if they are left out."""
        names = [
            node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        ]
        for node in ast.walk(self.tree):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.JoinedStr() | ast.IfExp() as text):
                    if names.count(name) == 1 and WORDS.search(self.shown(text)):
                        yield name, text
                case ast.FunctionDef(
                    args=ast.arguments(args=[*_, ast.arg(arg=name)], defaults=[ast.Constant() as text])
                ):
                    if isinstance(text.value, str):
                        yield name, text

    @property
    def title(self) -> str:
        """The first sentence of its docstring."""
        return re.split(r"(?<=\.)\s", ast.get_docstring(self.tree) or "")[0]

    def shown(self, node: ast.expr) -> str:
        """The text of an expression."""
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr(values=parts):
                return "".join(map(self.shown, parts))
            case ast.FormattedValue(value=value) | ast.Starred(value=value) | ast.Subscript(value=value):
                return self.shown(value)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.shown(left) + self.shown(right)
            case ast.BoolOp(values=[first, *_]):
                return self.shown(first)
            case ast.IfExp(body=body, orelse=other):
                return " / ".join(filter(None, (self.shown(body), self.shown(other))))
            case ast.Name(id=name):
                if name not in self.local:
                    return self.constants.get(name, capitals(name))
                value = self.local.pop(name)  # it is not shown within itself
                shown = self.shown(value)
                self.local[name] = value
                return shown
            case ast.Attribute(attr=name):
                return capitals(name)
            case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="join"), args=[ast.List(elts=parts)]):
                return "\n".join(map(self.shown, parts))
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="format")) if name in self.constants:
                return re.sub(r"\{(\w+)\}", lambda found: capitals(found[1]), self.constants[name])
            case ast.Call(func=ast.Attribute(value=text, attr="removesuffix" | "format" | "resolve")):
                return self.shown(text)
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(name)), *_]):
                return capitals(name)
            case ast.Call(args=[ast.Name() | ast.Attribute() | ast.Call() as first, *_]):
                return self.shown(first)
            case ast.Call(func=ast.Attribute(attr="command" | "remedy")):
                return "COMMAND"
        return "…"

    def texts(self) -> Iterator[tuple[int, str]]:
        """The messages with their lines, what only passes on other messages too."""
        for node in ast.walk(self.tree):
            match node:
                case ast.Call(func=ast.Name(id=name), args=[text, *_]) if name in ERRORS:
                    yield node.lineno, self.shown(text)
                case ast.Call(func=ast.Name(id="_refuse"), args=[path, array, fault, remedy]):
                    parts = map(self.shown, (path, array, fault, remedy))
                    yield node.lineno, "{}: {}: {}. {}.".format(*parts)
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id=name) | ast.Attribute(attr=name), attr="append")
                ) if name in GATHERED:
                    yield node.lineno, self.shown(node.args[0])
                case ast.AugAssign(target=ast.Name(id=name), value=ast.ListComp(elt=text)) if name in GATHERED:
                    yield node.lineno, self.shown(text)
                case ast.Assign(targets=[ast.Name(id="message")], value=text):
                    yield node.lineno, self.shown(text)
                case ast.FunctionDef(name=name) if name in GATHERED | RETURNED:
                    for part in ast.walk(node):
                        match part:
                            case (
                                ast.Yield(value=ast.expr() as text)
                                | ast.Return(value=ast.ListComp(elt=text))
                                | ast.Return(value=ast.expr() as text)
                            ):
                                yield part.lineno, self.shown(text)

    def messages(self) -> Iterator[Message]:
        """The messages that have words of their own, each once, in the order of their lines."""
        for text in dict.fromkeys(text for _, text in sorted(self.texts())):
            if re.search(r"[a-z]{2}", text):
                wrong, *rest = SENTENCE.split(text.strip(), maxsplit=1)
                yield Message(self.name, wrong, " ".join(" ".join(rest).split()))


@cache
def modules() -> list[Module]:
    """The modules of the package."""
    return [Module(file) for file in sorted(PACKAGE.rglob("*.py")) if file.stem != "__main__"]


def messages() -> list[Message]:
    """All messages, in the order of the modules and of their lines."""
    return [message for module in modules() for message in module.messages()]


def section() -> str:
    """The messages as Markdown, a table per module."""
    parts = [BEGIN]
    for module in modules():
        if found := list(module.messages()):
            rows = [f"| {_escaped(one.wrong)} | {_escaped(one.remedy)} |" for one in found]
            parts.append(
                "\n".join([f"### {module.name}", "", module.title, "", "| message | what to do |", "|---|---|", *rows])
            )
    return "\n\n".join([*parts, END])


def _escaped(text: str) -> str:
    return MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def page() -> str:
    """The page as it must be: what is written by hand, and the messages."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return before + section() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
