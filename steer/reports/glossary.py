"""The figures of a report: how each is labelled, and one sentence that says what it measures."""

import re

MEANINGS = {
    r"success": "Share of texts in which the judge finds everything that you asked for; the judge does not know the "
    "steering direction.",
    r"judge's accuracy": "Share of real texts that the judge labels correctly, measured on texts it was not fit on.",
    r"probe less judge": "Share of texts that the steering direction itself accepts, minus the share that the judge "
    "accepts. Far above the value of real texts, the texts please the direction but lack the concept "
    "(over-optimisation).",
    r"frontier": "Harmonic mean of the three parts below, each counted as at most 1: a low part cannot be made up for "
    "by the others.",
    r"successful": "Success, as it enters the harmonic mean.",
    r"typical part": "Share of typical texts divided by that of real texts (0.9), as it enters the harmonic mean.",
    r"diversity part": "Vendi score of the successful texts divided by that of as many real texts (both less 1), as it "
    "enters the harmonic mean.",
    r"Vendi 1, .*": "Effective number of different texts (Vendi score of order 1), compared by {what}: 1 if all texts "
    "are copies of one.",
    r"Vendi 2, .*": "Vendi score of order 2, compared by {what}: frequent kinds of text count more than in order 1.",
    r"distinct-1": "Number of different words divided by the number of all words.",
    r"distinct-(\d)": "Number of different sequences of {what} words divided by the number of all such sequences.",
    r"self-BLEU": "Mean BLEU of each text against all the others: lower is more diverse.",
    r"compression ratio": "Size of the texts divided by their size when compressed together: lower is more diverse.",
    r"distinct attributes": "Number of different combinations of attributes divided by the number of texts.",
    r"base NLL": "Negative log-likelihood of the texts under the base model without steering, in nats per token.",
    r"typical": "Share of texts whose base NLL lies between the 5th and the 95th percentile of real texts.",
    r"typicality": "Mean of 2 min(p, 1 - p), where p is the percentile of a text's base NLL among real texts: 0.5 for "
    "texts like real ones, 0 for texts that are too bland or too strange.",
    r"pressure": "Mean KL(steered ‖ base) of the next-token distributions, in nats per token: how far steering pushed "
    "the model.",
    r"p95 pressure( per text)?": "95th percentile of that KL: one token in twenty exceeds it.",
    r"total pressure": "Sum of that KL over a text, in nats; mean over the texts.",
    r"branching factor": "Effective number of next tokens that the sampler chose between: 1 means no choice.",
    r"broken down": "Share of texts with 8 tokens in a row that the base model finds less likely than any passage of "
    "99 in 100 real texts.",
    r"breakdowns per nat": "Number of broken texts divided by the pressure, in nats, that the texts bore before they "
    "broke.",
}
"""Sentences by the pattern of a figure's name."""

LABELS = {
    "probe less judge": "direction - judge",
    "successful": "part: success",
    "typical part": "part: typical texts",
    "diversity part": "part: diversity",
    "typical": "typical texts",
    "broken down": "broken texts",
    "breakdowns per nat": "broken per nat",
    "p95 pressure per text": "p95 per text",
}
"""Labels of the figures whose name (as in JSON) does not say what they are."""

NAMES = (
    "success", "judge's accuracy", "probe less judge", "frontier", "successful", "typical part", "diversity part",
    "Vendi 1, words", "Vendi 2, words", "Vendi 1, activations", "Vendi 2, activations", "distinct-1", "distinct-2",
    "distinct-3", "self-BLEU", "compression ratio", "distinct attributes", "base NLL", "typical", "typicality",
    "pressure", "p95 pressure", "total pressure", "branching factor", "broken down", "breakdowns per nat",
)  # fmt: skip
"""The figures of a report, in its order."""

SECTIONS = {
    "success": "How many texts have what you asked for.",
    "frontier": "Success, typicality and diversity in one figure.",
    "diversity": "How much the texts differ from one another.",
    "diversity of successes": "How much the successful texts differ from one another.",
    "typicality": "How the base model rates the texts, compared with real texts.",
    "pressure": "How far steering pushed the model, and what the texts bore.",
}
"""What each section of a report is about."""

COLUMNS = {
    "real texts": "the expected value of as many real texts",
    "failure": "the value of a sampler that fails completely: no success, copies of one text, no pressure",
    "n": "number of texts measured",
}
"""Columns beside a figure's value."""

FIDELITY_COLUMNS = {
    "TV": "total variation distance between the texts' shares of an attribute's values and the true shares",
    "by chance": "the TV that as many texts of a perfect sampler show on average",
    "at most": "the TV that a perfect sampler stays below 39 times in 40",
    "one value": "the TV if every text had the most common value",
    "JS": "Jensen-Shannon divergence in nats",
    "truth": "the true probability of an event",
    "p": "probability that a perfect sampler shows a rate as unlikely as this one",
}
"""Columns of the tables of what else moved."""


def meaning(name: str) -> str:
    """Return what a figure measures, or an empty text if the name is unknown.

    >>> meaning("distinct-2")
    'Number of different sequences of 2 words divided by the number of all such sequences.'
    """
    for pattern, text in MEANINGS.items():
        if match := re.fullmatch(pattern, name):
            return text.format(what=match[1] if match.groups() and match[1] else name.rpartition(", ")[2])
    return ""


def label(name: str) -> str:
    """Return the label under which a figure is shown.

    >>> label("probe less judge"), label("self-BLEU")
    ('direction - judge', 'self-BLEU')
    """
    return LABELS.get(name, name)
