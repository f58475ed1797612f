"""A loss term and a kind of method that uses it: predictions must not be too certain (Pereyra et al., 2017)."""

from typing import Literal

from collabpipe import plugin


@plugin.term
class ConfidenceTerm(plugin.OwnTerm):
    """Minus the entropy of the predictions, a mean over heads and images."""

    term: Literal["confidence"] = "confidence"

    def loss(self, step):
        log_probabilities = step.activations.logits.log_softmax(-1)
        return (log_probabilities.exp() * log_probabilities).sum(-1).mean()


@plugin.kind
class Confidence(plugin.WithPasses):
    """Cross-entropy and the confidence penalty."""

    kind: Literal["confidence"] = "confidence"
    weight: plugin.Weight = 0.1

    def compose(self, stages, resolve):
        return plugin.Composition(passes=self.passes(), terms=(ConfidenceTerm(weight=self.weight),))
