"""The report: one HTML page that shows what an image classifier knows and what it doesn't.

The page holds its pictures and its style itself and asks no network for anything. jinja2 and matplotlib are
imported when a page is made.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from posterity._version import __version__
from posterity.toolbox import figures
from posterity.toolbox.calibration import check_probabilities, reliability
from posterity.toolbox.comparison import Comparison
from posterity.toolbox.deferral import DeferralCurve, deferral_curve
from posterity.toolbox.page import png, template

_FEW, _MANY, _MOST_BARS = 4, 8, 10


class Answers(NamedTuple):
    """What a network says about a set of images.

    Attributes:
        images: `[batch, height, width]`, greyscale; the range of the whole set spans black to white.
        truth: The name of what each image shows, `batch` of them. It may be no class of the network.
        probs: `[batch, classes]`, predictive probabilities.
        aleatoric: `[batch]`, the uncertainty that lies in the image, in nats.
        epistemic: `[batch]`, the uncertainty that more training data would cure, in nats.
    """

    images: Tensor
    truth: Sequence[str]
    probs: Tensor
    aleatoric: Tensor
    epistemic: Tensor


def render_report(
    *,
    title: str,
    summary: str,
    class_names: Sequence[str],
    comparisons: Sequence[Comparison],
    known: Answers,
    unknown: Answers,
    deterministic_probs: Tensor,
) -> str:
    """Make the page that compares a Bayesian classifier with the deterministic one that it was made from.

    Args:
        title: The page's heading.
        summary: What was done to which data, in a sentence or two.
        class_names: The names of the networks' classes, in the order of their outputs.
        comparisons: The rows of the table of headline figures.
        known: The Bayesian network's answers on test images of its classes; each `truth` is a class name.
        unknown: Its answers on images of kinds that it was never shown.
        deterministic_probs: `[batch, classes]`, the other network's probabilities on the known images.

    Returns:
        A self-contained HTML document.

    Raises:
        ValueError: If shapes don't fit each other, a set is empty, a number isn't finite, an uncertainty is
            negative, probabilities don't sum to 1, or a known image's truth is no class.
        ModuleNotFoundError: If jinja2 or matplotlib isn't installed.

    Example:
        >>> answers = Answers(torch.rand(3, 8, 8), ["cat", "dog", "dog"], torch.tensor([[0.9, 0.1]] * 3),
        ...                   torch.full((3,), 0.3), torch.full((3,), 0.02))
        >>> page = render_report(title="Pets", summary="Three pictures.", class_names=["cat", "dog"],
        ...                      comparisons=[], known=answers, deterministic_probs=answers.probs,
        ...                      unknown=answers._replace(truth=["rabbit"] * 3))
        >>> page.splitlines()[0]
        '<!doctype html>'
    """
    labels = _labels(known.truth, class_names)
    _check_answers("known", known, len(class_names))
    _check_answers("unknown", unknown, len(class_names))
    check_probabilities(known.probs, labels.to(known.probs.device))
    check_probabilities(deterministic_probs, labels.to(deterministic_probs.device))
    if deterministic_probs.shape != known.probs.shape:
        raise ValueError(
            f"deterministic_probs has shape {tuple(deterministic_probs.shape)}, known.probs {tuple(known.probs.shape)}"
        )
    for comparison in comparisons:
        comparison.check()
    known, unknown, plain = _on_cpu(known), _on_cpu(unknown), deterministic_probs.detach().cpu().double()
    right = known.probs.argmax(-1) == labels
    keep = deferral_curve(known.aleatoric + known.epistemic, right)
    keep_plain = deferral_curve(_entropy(plain), plain.argmax(-1) == labels)
    page: str = template("report.html").render(
        title=title,
        summary=summary,
        comparisons=comparisons,
        num_classes=len(class_names),
        ignorance=math.log(len(class_names)),
        num_known=len(known.truth),
        num_unknown=len(unknown.truth),
        standard_error=_standard_error(right),
        galleries=_galleries(known, unknown, class_names),
        histograms=figures.histograms(known.epistemic, unknown.epistemic),
        medians=(known.epistemic.median().item(), unknown.epistemic.median().item()),
        reliability=figures.reliability_diagram(reliability(known.probs, labels), reliability(plain, labels)),
        deferral=figures.deferral_figure(keep, keep_plain),
        accuracy_without_a_tenth=[_without_a_tenth(curve) for curve in (keep, keep_plain)],
        version=__version__,
    )
    return page


class _Card(NamedTuple):
    """One image with what the network says about it."""

    image: str
    truth: str
    answer: str
    certainty: float
    right: bool | None
    bars: list[tuple[str, float]]
    aleatoric: float
    epistemic: float


class _Gallery(NamedTuple):
    title: str
    text: str
    cards: list[_Card]


def _galleries(known: Answers, unknown: Answers, class_names: Sequence[str]) -> list[_Gallery]:
    total = known.aleatoric + known.epistemic
    most_certain = total.argsort(stable=True)
    strangest = unknown.epistemic.argsort(descending=True, stable=True)
    return [
        _Gallery(
            "Known kinds, most certain",
            "Test images of kinds the network was trained on, with the least uncertainty in total.",
            _cards(known, most_certain[:_FEW], class_names),
        ),
        _Gallery(
            "Known kinds, least certain",
            "The test images that the network itself would hand to somebody else first.",
            _cards(known, most_certain.flip(0)[:_MANY], class_names),
        ),
        _Gallery(
            "Unknown kinds, recognised as strange",
            "Nothing like these was in the training set, so no answer can be right. High epistemic "
            "uncertainty is how the network says so.",
            _cards(unknown, strangest[:_MANY], class_names),
        ),
        _Gallery(
            "Unknown kinds that slipped through",
            "The unknown images with the least epistemic uncertainty: here the network fails to notice "
            "that it doesn\u2019t know.",
            _cards(unknown, strangest.flip(0)[:_FEW], class_names),
        ),
    ]


def _cards(answers: Answers, chosen: Tensor, class_names: Sequence[str]) -> list[_Card]:
    black, white = answers.images.min().item(), answers.images.max().item()
    cards = []
    for i in chosen.tolist():
        probs = answers.probs[i]
        answer = class_names[int(probs.argmax())]
        truth = answers.truth[i]
        shown = probs.topk(min(_MOST_BARS, len(class_names))).indices.sort().values.tolist()
        cards.append(
            _Card(
                image=_png(answers.images[i], black, white),
                truth=truth,
                answer=answer,
                certainty=probs.max().item(),
                right=answer == truth if truth in class_names else None,
                bars=[(class_names[k], probs[k].item()) for k in shown],
                aleatoric=answers.aleatoric[i].item(),
                epistemic=answers.epistemic[i].item(),
            )
        )
    return cards


def _png(image: Tensor, black: float, white: float) -> str:
    return png(image.numpy(), cmap="gray", vmin=black, vmax=max(white, black + 1e-12))


def _labels(truth: Sequence[str], class_names: Sequence[str]) -> Tensor:
    if len(class_names) < 2 or len(set(class_names)) != len(class_names):
        raise ValueError(f"class_names must be at least two different names; got {list(class_names)}")
    strangers = sorted(set(truth) - set(class_names))
    if strangers:
        raise ValueError(f"known.truth names {strangers}, which aren't among the classes {list(class_names)}")
    return torch.tensor([list(class_names).index(name) for name in truth], dtype=torch.long)


def _check_answers(name: str, answers: Answers, num_classes: int) -> None:
    batch = len(answers.truth)
    if batch == 0:
        raise ValueError(f"{name} holds no images")
    if answers.images.ndim != 3:
        raise ValueError(f"{name}.images must be [batch, height, width]; got {tuple(answers.images.shape)}")
    for field, shape in (
        ("images", (batch, *answers.images.shape[1:])),
        ("probs", (batch, num_classes)),
        ("aleatoric", (batch,)),
        ("epistemic", (batch,)),
    ):
        values: Tensor = getattr(answers, field)
        if values.shape != shape:
            raise ValueError(f"{name}.{field} must have shape {shape}; got {tuple(values.shape)}")
        if not values.isfinite().all():
            raise ValueError(f"{name}.{field} holds NaN or infinite values")
        if field in ("aleatoric", "epistemic") and values.min() < -1e-4:
            raise ValueError(f"{name}.{field} holds {values.min():.4g} nats: uncertainty can't be negative")
    check_probabilities(answers.probs, answers.probs.argmax(-1))


def _on_cpu(answers: Answers) -> Answers:
    images, probs, aleatoric, epistemic = (
        values.detach().cpu().double()
        for values in (answers.images, answers.probs, answers.aleatoric, answers.epistemic)
    )
    # Rounding can leave a difference of two entropies a hair below 0.
    return Answers(images, answers.truth, probs, aleatoric.clamp(min=0), epistemic.clamp(min=0))


def _entropy(probs: Tensor) -> Tensor:
    terms: Tensor = torch.special.entr(probs)
    return terms.sum(-1)


def _standard_error(right: Tensor) -> float:
    accuracy = right.double().mean().item()
    return math.sqrt(accuracy * (1 - accuracy) / len(right))


def _without_a_tenth(curve: DeferralCurve) -> float:
    return curve.accuracy_of_the_rest[len(curve.accuracy_of_the_rest) // 10].item()
