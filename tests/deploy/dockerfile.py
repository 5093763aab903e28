"""Reads the Dockerfile as far as its tests need: stages, their instructions, and what a stage is made from."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FROM = re.compile(r"(\S+) AS (\S+)")
_COPY_FROM = re.compile(r"--from=(\S+)")


@dataclass
class Stage:
    """One `FROM ... AS name` and the instructions below it."""

    name: str
    parent: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, keyword: str) -> list[str]:
        return [text for word, text in self.instructions if word == keyword]


@dataclass(frozen=True)
class Dockerfile:
    stages: dict[str, Stage]

    def image(self, target: str) -> list[tuple[str, str]]:
        """The instructions that make the target's own file system and settings, first ones first."""
        stage = self.stages[target]
        before = self.image(stage.parent) if stage.parent in self.stages else []
        return before + stage.instructions

    def all(self, target: str, keyword: str) -> list[str]:
        return [text for word, text in self.image(target) if word == keyword]

    def everything(self, target: str) -> list[tuple[str, str]]:
        """The instructions of the target and of every stage that it copies from."""
        found = self.image(target)
        for text in self.all(target, "COPY"):
            if source := _COPY_FROM.search(text):
                found = found + self.everything(source[1])
        return found

    def environment(self, target: str) -> dict[str, str]:
        pairs = [pair.partition("=") for text in self.all(target, "ENV") for pair in text.split()]
        return {name: value for name, _, value in pairs}


def read_dockerfile(path: Path = ROOT / "Dockerfile") -> Dockerfile:
    stages: dict[str, Stage] = {}
    current: Stage | None = None
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        word, _, text = line.strip().partition(" ")
        if word == "FROM":
            named = _FROM.fullmatch(text)
            assert named, f"a stage without a name: {text}"
            current = stages[named[2]] = Stage(named[2], named[1])
        else:
            assert current is not None, f"before the first FROM: {line}"
            current.instructions.append((word, " ".join(text.split())))
    return Dockerfile(stages)


def exec_form(text: str) -> list[str]:
    """The arguments of an instruction in exec form; json raises on shell form."""
    arguments = json.loads(text)
    assert isinstance(arguments, list)
    return arguments
