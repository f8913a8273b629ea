"""The README's examples run as they stand and show what it says, and its translation stays in step with it."""

import contextlib
import io
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"


class Block(NamedTuple):
    """A fenced code block: what follows its opening fence, its text, and the line in the file where that begins.

    The examples are those marked `python`; `python notest` marks one that needs more than every machine has.
    """

    info: str
    code: str
    line: int


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    found = re.finditer(r"^```([^\n]+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(match[1], match[2], text[: match.start(2)].count("\n") + 1) for match in found]


def without_comments(block: Block) -> tuple[str, list[str]]:
    # A number sign inside a string would be cut too, in both files alike.
    return block.info, [re.sub(r"\s*#.*", "", line) for line in block.code.splitlines()]


def headings(path: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^(#+) ", text, re.MULTILINE)


@pytest.fixture(scope="module")
def after_the_examples() -> dict[str, Any]:
    """The names that the examples leave behind, run in order in one namespace; a warning is a failure."""
    namespace: dict[str, Any] = {"__name__": "readme"}
    with (
        torch.random.fork_rng(devices=[]),
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        torch.manual_seed(20)
        warnings.simplefilter("error", UserWarning)
        for block in blocks(ENGLISH):
            if block.info == "python":
                # Blank lines in front give a traceback the line numbers of the file.
                code = compile("\n" * (block.line - 1) + block.code, str(ENGLISH), "exec")
                exec(code, namespace)
    return namespace


def test_the_network_is_surer_of_what_it_knows(after_the_examples):
    names = after_the_examples
    right, kept = names["right"].float(), names["kept"]
    assert right.mean() > 0.9
    assert right[kept].mean() > right.mean()
    assert names["strange"].epistemic.mean() > 2 * names["p"].epistemic.mean()


def test_the_way_back_leaves_an_ordinary_network(after_the_examples):
    ordinary = after_the_examples["ordinary"]
    assert type(ordinary) is torch.nn.Sequential
    assert list(ordinary.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_a_loaded_network_has_the_same_posterior(after_the_examples):
    saved, loaded = (after_the_examples[name].state_dict() for name in ("bnn", "loaded"))
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[key], loaded[key]) for key in saved)


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_every_file_that_is_linked_exists(path):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_translation_has_the_same_code():
    theirs, ours = ([without_comments(block) for block in blocks(path)] for path in (CHINESE, ENGLISH))
    assert theirs == ours


def test_the_translation_has_the_same_headings():
    assert headings(CHINESE) == headings(ENGLISH)
