"""The autoencoder given a condition: it reaches both networks, and labels that are missing are summed out."""

import math

import pytest
import torch
from torch import nn

import posterity as pt
from posterity.networks import ConditionalVAE, VampPrior
from tests.statistical import assert_same_mean, assert_variance

infer = pt.infer
WIDTH, PIXELS, CODES, CLASSES = 8, 12, 3, 4


def autoencoder(**options) -> ConditionalVAE:
    encoder = nn.Sequential(nn.Linear(PIXELS + CLASSES, WIDTH), nn.Tanh())
    decoder = nn.Sequential(nn.Tanh(), nn.Linear(WIDTH, PIXELS))
    options = options if "condition_size" in options else {"num_classes": CLASSES, **options}
    return ConditionalVAE(encoder, decoder, WIDTH, CODES, **options)


def labelled(number=40) -> tuple[torch.Tensor, torch.Tensor]:
    return (torch.rand(number, PIXELS) < 0.3).float(), torch.randint(CLASSES, (number,))


@pytest.mark.parametrize("objective", [None, infer.ELBO(4, kl_weight=0.5), infer.IWAE(4, plate="data")])
def test_loss_is_the_objective_of_model_and_guide_a_datum(objective):
    vae, (x, y) = autoencoder(), labelled()
    program = objective or infer.ELBO()
    with torch.no_grad():
        direct = torch.stack([vae.loss(x, y, objective=objective) for _ in range(100)])
        by_program = torch.stack([program.loss(vae.model, vae.guide, x, y) / len(x) for _ in range(30)])
    assert_same_mean(direct, by_program)


@pytest.mark.parametrize("missing", [0, 25, 40])
@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_missing_labels_are_summed_out_alike_by_loss_and_programs(missing, weight):
    vae, (x, y) = autoencoder(classifier=nn.Linear(PIXELS, CLASSES), label_weight=weight), labelled()
    y[:missing] = -1
    objective = infer.ELBO(2)
    with torch.no_grad():
        direct = torch.stack([vae.loss(x, y, objective=objective) for _ in range(100)])
        by_program = torch.stack([objective.loss(vae.model, vae.guide, x, y) / len(x) for _ in range(30)])
    assert_same_mean(direct, by_program)


def test_bound_with_missing_labels_is_the_sum_over_classes_written_out():
    vae, (x, y) = autoencoder(classifier=nn.Linear(PIXELS, CLASSES), label_weight=0.0), labelled(10)
    probs = vae.classify(x).probs.detach()
    with torch.no_grad():
        summed = torch.stack([vae.loss(x, torch.full_like(y, -1)) for _ in range(300)])
        each = torch.stack(
            [
                torch.stack([vae.loss(x[i : i + 1], torch.tensor([c])) for c in range(CLASSES)])
                for _ in range(100)
                for i in [_ % 10]
            ]
        ).reshape(10, 10, CLASSES)  # [repeat, datum, class]
    # Each labelled loss counts the prior of its class already.
    by_hand = (each * probs).sum(-1).mean(-1) + (probs * probs.log()).sum(-1).mean()
    assert_same_mean(summed, by_hand)


def test_classes_reach_the_encoder_and_the_decoder():
    vae, (x, _) = autoencoder(), labelled(5)
    code = torch.zeros(5, CODES)
    first, second = (torch.full((5,), c) for c in (0, 1))
    assert not torch.equal(vae.encode(x, first).mean, vae.encode(x, second).mean)
    assert not torch.equal(vae.decode(code, first).mean, vae.decode(code, second).mean)
    assert torch.equal(vae.decode(code, first).mean, vae.decode(code, 0).mean)


def test_weights_of_a_class_start_as_an_embedding():
    decoder = nn.Linear(400, PIXELS)
    vae = ConditionalVAE(nn.Linear(PIXELS + 10, 400), decoder, 400, CODES, num_classes=10)
    assert_variance(vae.from_code.weight[:, CODES:].flatten(), 1.0)


def test_images_are_given_to_the_encoder_beside_their_condition():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.image, self.condition = nn.Linear(16, WIDTH), nn.Linear(2, WIDTH)

        def forward(self, x, condition):
            return (self.image(x.flatten(1)) + self.condition(condition)).tanh()

    decoder = nn.Sequential(nn.Linear(WIDTH, 16), nn.Unflatten(1, (1, 4, 4)))
    vae = ConditionalVAE(Encoder(), decoder, WIDTH, 2, condition_size=2)
    x, y = torch.rand(6, 1, 4, 4).bernoulli(), torch.randn(6, 2)
    vae.loss(x, y, objective=infer.IWAE(3)).backward()
    assert vae.reconstruct(x, y).shape == x.shape
    assert vae.generate(3, y=torch.tensor([0.5, 1.0])).shape == (3, 1, 4, 4)
    assert vae.log_likelihood(x, y, num_importance_samples=10).shape == (6,)


def test_classifier_learns_from_few_labels_and_much_without():
    """Two clusters of bits, of which three data each are labelled."""
    pattern = torch.tensor([[0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9]])
    truth = torch.arange(200) % 2
    x = pattern[truth].bernoulli()
    y = torch.where(torch.arange(200) < 6, truth, -1)
    encoder = nn.Sequential(nn.Linear(10, 16), nn.Tanh())
    decoder = nn.Sequential(nn.Tanh(), nn.Linear(16, 8))
    vae = ConditionalVAE(encoder, decoder, 16, 1, num_classes=2, classifier=nn.Linear(8, 2), label_weight=20.0)
    svi = infer.SVI(vae.model, vae.guide, torch.optim.Adam, {"lr": 0.02}, seed=0, progress=False, compile=False)
    svi.run(300, x, y)
    assert (vae.classify(x).mode == truth).float().mean() > 0.9


def test_compiled_loss_takes_missing_labels():
    vae, (x, y) = autoencoder(classifier=nn.Linear(PIXELS, CLASSES)), labelled()
    y[::2] = -1
    compiled = torch.compile(vae.loss, fullgraph=True, backend="aot_eager")
    assert_same_mean(*(torch.stack([loss(x, y).detach() for _ in range(50)]) for loss in (vae.loss, compiled)))


BAD_MAKING = {
    "give num_classes, or condition_size": {"num_classes": None},
    "num_classes must be a whole number of at least 1": {"num_classes": 0},
    "condition_size must be a whole number": {"condition_size": 0},
    "a classifier needs num_classes": {"condition_size": CLASSES, "classifier": nn.Linear(2, 2)},
    "classifier must be a torch.nn.Module": {"classifier": torch.tanh},
    "label_weight must not be negative": {"label_weight": -1.0},
}


@pytest.mark.parametrize("message", BAD_MAKING)
def test_what_cannot_be_made_is_refused(message):
    with pytest.raises((ValueError, TypeError), match=message):
        autoencoder(**BAD_MAKING[message])


BAD_CLASSES = {
    r"must be classes, whole numbers from 0 to 3, not None": None,
    "must be classes, whole numbers from 0 to 3, not torch.float32": torch.zeros(40),
    r"must be a class for each datum, \[40\], but is \[39\]": torch.zeros(39, dtype=torch.long),
    "must hold whole numbers from 0 to 3, but holds values from 0 to 4": torch.arange(40) % 5,
    "but holds values from -1 to 2; labels may be missing where there is a classifier": torch.arange(40) % 4 - 1,
}


@pytest.mark.parametrize("message", BAD_CLASSES)
def test_bad_classes_are_refused_before_training(message):
    vae, (x, _) = autoencoder(), labelled()
    with pytest.raises(ValueError, match=message):
        vae.loss(x, BAD_CLASSES[message])
    svi = infer.SVI(vae.model, vae.guide, torch.optim.Adam, progress=False)
    with pytest.raises(ValueError, match=message):
        svi.run(5, x, BAD_CLASSES[message])


def test_bad_conditions_that_are_vectors_are_refused():
    vae, (x, _) = autoencoder(condition_size=CLASSES), labelled()
    for y, message in (
        (None, "must be a tensor of floating numbers"),
        (torch.zeros(40, 3), r"\[4\] or \[40, 4\], not torch.float32 of shape \[40, 3\]"),
        (torch.zeros(39, 4), r"y must be \[40, 4\], but is \[39, 4\]"),
        (torch.full((40, 4), math.nan), "holds NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            vae.loss(x, y)


def test_asking_a_missing_or_ill_sized_classifier_is_refused():
    x, y = labelled()
    with pytest.raises(ValueError, match="there is no classifier to ask"):
        autoencoder().classify(x)
    with pytest.raises(ValueError, match=r"must return logits \[40, 4\], but returned \[40, 3\]"):
        autoencoder(classifier=nn.Linear(PIXELS, 3)).loss(x, y)
    with pytest.raises(ValueError, match="summed out, which IWAE does not do"):
        autoencoder(classifier=nn.Linear(PIXELS, CLASSES)).loss(x, y, objective=infer.IWAE(3))


def test_a_label_counts_alike_beside_missing_ones_under_a_tempered_bound():
    vae, (x, y) = autoencoder(classifier=nn.Linear(PIXELS, CLASSES)), labelled(6)
    objective = infer.ELBO(2000, kl_weight=0.0)
    y_less_one = torch.cat([y[:5], torch.tensor([-1])])
    with torch.no_grad():
        all_known = torch.stack([vae.loss(x[:5], y[:5], objective=objective) * 5 for _ in range(10)])
        beside = torch.stack(
            [
                vae.loss(x, y_less_one, objective=objective) * 6 - vae.loss(x[5:], y_less_one[5:], objective=objective)
                for _ in range(10)
            ]
        )
    assert_same_mean(all_known, beside)


def test_labels_may_be_bytes():
    vae, (x, y) = autoencoder(classifier=nn.Linear(PIXELS, CLASSES)), labelled()
    torch.manual_seed(0)
    loss = vae.loss(x, y)
    torch.manual_seed(0)
    assert torch.equal(vae.loss(x, y.to(torch.uint8)), loss)


def test_pseudo_data_without_conditions_are_refused():
    with pytest.raises(ValueError, match="VampPrior's pseudo-data would need conditions"):
        autoencoder(prior=VampPrior(torch.zeros(3, PIXELS)))
