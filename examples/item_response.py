"""Item response: the abilities of people and the difficulties of questions from right and wrong answers.

Shows two crossed plates with fixed dims, a mean-field guide, and its quantiles. The two-parameter logistic model
(Birnbaum 1968) is fitted to simulated answers, so that the truth is known.
"""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

import posterity as pt

dist = pt.distributions


def answers(num_people: int, num_questions: int, right: Tensor | None = None) -> Tensor:
    """A person answers rightly if the ability exceeds the difficulty, the more surely the more a question tells."""
    people = pt.plate("people", num_people, dim=-2)
    questions = pt.plate("questions", num_questions, dim=-1)
    with people:
        ability = pt.sample("ability", dist.Normal(0.0, 1.0))
    with questions:
        difficulty = pt.sample("difficulty", dist.Normal(0.0, 2.0))
        discrimination = pt.sample("discrimination", dist.LogNormal(0.0, 0.5))
    with people, questions:
        logits = discrimination * (ability - difficulty)
        return pt.sample("right", dist.Bernoulli(logits=logits), obs=right)


def correlation(x: Tensor, y: Tensor) -> float:
    """Pearson's correlation of two vectors."""
    return float(torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1])


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Simulate from the model itself, fit, and compare with what was drawn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    steps = parser.parse_args(arguments).steps
    num_people, num_questions = 400, 40

    simulated = pt.handlers.trace(pt.handlers.seed(answers, rng_seed=0)).get_trace(num_people, num_questions)
    truth = {name: simulated[name].value for name in ("ability", "difficulty", "discrimination", "right")}
    right = truth["right"]

    guide = pt.infer.AutoNormal(answers)
    svi = pt.infer.SVI(answers, guide, torch.optim.Adam, {"lr": 0.03}, seed=0)
    losses = svi.run(steps, num_people, num_questions, right).losses

    median = guide.median()
    low, high = (guide.quantiles([0.05, 0.95])["ability"][i] for i in range(2))
    coverage = ((low < truth["ability"]) & (truth["ability"] < high)).float().mean()
    found = {name: correlation(median[name], truth[name]) for name in ("ability", "difficulty", "discrimination")}
    counted = correlation(right.mean(1), truth["ability"])
    print("correlation with the truth")
    for name, value in found.items():
        print(f"{name:>15}  {value:.3f}")
    print(f"\nthe share of right answers alone knows the ability with a correlation of {counted:.3f}")
    print(f"{coverage:.0%} of the abilities lie in their 90 % interval")
    print("\nquestion  difficulty  truth  discrimination  truth")
    median = {name: value.flatten() for name, value in median.items()}
    for j in range(5):
        cells = (f"{median[name][j]:10.2f}  {truth[name][j]:5.2f}" for name in ("difficulty", "discrimination"))
        print(f"{j:>8}  {'      '.join(cells)}")
    return {**found, "coverage": float(coverage), "loss_fell_by": float(losses[:20].mean() - losses[-20:].mean())}


if __name__ == "__main__":
    torch.set_num_threads(1)  # small tensors: threads cost more than they give
    main()
