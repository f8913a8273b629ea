"""The README's examples run as they stand, and its translation stays in step with it."""

import contextlib
import io
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"


class Block(NamedTuple):
    """A fenced code block: what follows its opening fence, its text, and the line in the file where that begins."""

    info: str
    code: str
    line: int


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    found = re.finditer(r"^```([^\n]+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(match[1], match[2], text[: match.start(2)].count("\n") + 1) for match in found]


def without_comments(block: Block) -> tuple[str, list[str]]:
    # A number sign inside a string would be cut too, in both files alike.
    lines = (re.sub(r"\s*#.*", "", line).rstrip() for line in block.code.splitlines())
    return block.info, [line for line in lines if line]


def headings(path: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^(#+) ", text, re.MULTILINE)


def python_blocks() -> list[Block]:
    return [block for block in blocks(ENGLISH) if block.info == "python"]


def test_the_examples_run_in_order_in_one_namespace():
    namespace: dict[str, object] = {"__name__": "readme"}
    assert python_blocks()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in python_blocks():
            # Blank lines in front give a traceback the line numbers of the file.
            exec(compile("\n" * (block.line - 1) + block.code, str(ENGLISH), "exec"), namespace)


def test_what_the_examples_say_of_their_results_is_so():
    namespace: dict[str, object] = {"__name__": "readme"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(python_blocks()[0].code, namespace)
    for line in printed.getvalue().splitlines():
        pass


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_every_file_that_is_linked_exists(path):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_translation_has_the_same_code():
    assert [without_comments(block) for block in blocks(CHINESE)] == [without_comments(block) for block in blocks(ENGLISH)]


def test_the_translation_has_the_same_headings():
    assert headings(CHINESE) == headings(ENGLISH)
