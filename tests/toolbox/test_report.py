"""The report holds everything itself, escapes what it is given, and is never drawn from bad data."""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
import torch

from posterity.toolbox import Answers, Comparison, render_report

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

CLASSES = ["cat", "dog", "<i>cow</i>"]


def answers(batch: int, spread: float, truth: list[str] | None = None) -> Answers:
    generator = torch.Generator().manual_seed(batch)
    probs = (spread * torch.randn(batch, 3, generator=generator)).softmax(-1)
    total = torch.special.entr(probs).sum(-1)
    share = torch.rand(batch, generator=generator)
    if truth is None:
        truth = [CLASSES[int(k)] for k in torch.multinomial(probs, 1, generator=generator)]
    images = torch.rand(batch, 8, 8, generator=generator)
    return Answers(images, truth, probs, share * total, (1 - share) * total)


KNOWN = answers(60, 4.0)
UNKNOWN = answers(40, 1.0, ['"rabbit" & co'] * 40)
ROWS = [
    Comparison("Accuracy", "How many are right.", 0.98, 0.97, True, "at least 0.97", True),
    Comparison("ECE", "The gap.", 0.04, 0.02, False, "at most 0.03", False),
]


def page(**changes) -> str:
    arguments = {
        "title": "Pets & <others>",
        "summary": "A network for pets.",
        "class_names": CLASSES,
        "comparisons": ROWS,
        "known": KNOWN,
        "unknown": UNKNOWN,
        "deterministic_probs": KNOWN.probs,
    }
    return render_report(**arguments | changes)


class Reader(HTMLParser):
    """Checks that elements nest and close, and keeps tags with their attributes."""

    VOID = frozenset({"meta", "img", "br", "link", "hr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute of <{tag}> is repeated"
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.tags if name == tag)


def test_the_page_is_whole_and_asks_for_nothing():
    html = page()
    reader = Reader(html)
    assert "://" not in html
    assert not re.search(r"url\((?!#)", html)
    assert not list(reader.all("link")) + list(reader.all("script"))
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in reader.all("img"))


def test_ids_are_unique_and_references_lead_somewhere():
    html = page()
    ids = [attributes["id"] for _, attributes in Reader(html).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:href="#|url\(#|aria-labelledby=")([^")]+)', html)
    assert references
    assert set(references) <= set(ids)


def test_every_picture_has_words_for_those_who_do_not_see_it():
    reader = Reader(page())
    assert all(image["alt"] for image in reader.all("img"))
    assert len(list(reader.all("svg"))) == 3
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in reader.all("svg"))
    assert all(header["scope"] in ("row", "col") for header in reader.all("th"))


def test_what_it_is_given_is_shown_as_text():
    html = page()
    text = " ".join(Reader(html).text.split())
    assert "Pets & <others>" in text
    assert "<i>cow</i>" in text
    assert 'is "rabbit" & co, never seen' in text
    assert "<i>cow" not in html


def test_it_says_who_wins_also_where_the_baseline_does():
    text = " ".join(Reader(page()).text.split())
    assert "The Bayesian network wins, 0.980 against 0.970; target met." in text
    assert "The deterministic network wins, 0.020 against 0.040; target missed." in text


def test_the_least_certain_come_first():
    total = KNOWN.aleatoric + KNOWN.epistemic
    html = page()
    gallery = html[html.index("least certain") : html.index("recognised as strange")]
    shown = [float(a) + float(e) for a, e in re.findall(r">([\d.]+) aleatoric.*?>([\d.]+) epistemic", gallery)]
    assert shown == pytest.approx(total.sort(descending=True).values[:8].tolist(), abs=0.011)


def test_the_same_answers_give_the_same_page():
    assert page() == page()


def test_drawing_leaves_matplotlib_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    page()
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_extremes_are_drawn():
    certain = torch.eye(3)[torch.arange(20) % 3]
    zero = torch.zeros(20)
    sure = Answers(torch.zeros(20, 4, 6), [CLASSES[i % 3] for i in range(20)], certain, zero, zero)
    one = Answers(*(field[:1] for field in UNKNOWN))
    Reader(page(known=sure, deterministic_probs=certain))
    Reader(page(known=KNOWN, unknown=one, comparisons=[]))


def test_a_hair_below_zero_is_rounding():
    Reader(page(known=KNOWN._replace(epistemic=KNOWN.epistemic.clamp(min=0) - 1e-7)))


def test_more_classes_than_columns():
    many = [f"class {k}" for k in range(30)]
    probs = torch.full((5, 30), 1 / 30)
    set_ = Answers(torch.rand(5, 8, 8), many[:5], probs, torch.ones(5), torch.ones(5))
    html = page(class_names=many, known=set_, unknown=set_, deterministic_probs=probs)
    cards = html.count('<li class="card">')
    assert html.count('class="bar"') == cards * 10


NAN = float("nan")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ["cat"]}, "at least two different names"),
        ({"class_names": ["cat", "cat", "dog"]}, "at least two different names"),
        ({"known": UNKNOWN}, r"known\.truth names .*rabbit"),
        ({"unknown": Answers(*(field[:0] for field in UNKNOWN))}, "unknown holds no images"),
        (
            {"known": KNOWN._replace(images=KNOWN.images[:, 0])},
            r"known\.images must be \[batch, h",
        ),
        ({"known": KNOWN._replace(images=KNOWN.images[:-1])}, r"known\.images must have shape \(60, 8, 8\)"),
        ({"known": KNOWN._replace(images=KNOWN.images * NAN)}, r"known\.images holds NaN"),
        ({"known": KNOWN._replace(probs=KNOWN.probs[:, :2])}, r"known\.probs must have shape \(60, 3\)"),
        ({"unknown": UNKNOWN._replace(probs=UNKNOWN.probs * 2)}, "sum to 1"),
        ({"unknown": UNKNOWN._replace(epistemic=UNKNOWN.epistemic * NAN)}, r"unknown\.epistemic holds NaN"),
        (
            {"unknown": UNKNOWN._replace(aleatoric=UNKNOWN.aleatoric - 1)},
            r"unknown\.aleatoric.*be negative",
        ),
        ({"deterministic_probs": KNOWN.probs[:-1]}, "same batch"),
        ({"deterministic_probs": torch.full((60, 4), 0.25)}, r"deterministic_probs has shape \(60, 4\)"),
        ({"comparisons": [ROWS[0]._replace(bayesian=NAN)]}, "Accuracy of the Bayesian network is nan"),
    ],
)
def test_bad_data_is_an_error_and_no_picture(changes, message: str):
    with pytest.raises(ValueError, match=message):
        page(**changes)


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch, package: str):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf"needs {package}: pip install 'posterity\[report\]'"):
        page()
