"""What each figure means, in one sentence."""

import re

MEANINGS = {
    r"success": "Share of the texts in which a judge that knows nothing of the direction finds all that was asked for.",
    r"judge's accuracy": "How often that judge is right about real texts that it was not fit on.",
    r"probe less judge": "How many more texts the steering direction itself takes for successes than the judge does, "
    "beside what it does on real texts: far above that, the direction has been pushed past its meaning.",
    r"frontier": "Harmonic mean of the three parts below, so that none of them can make up for another.",
    r"successful": "The part of success in it.",
    r"typical part": "The part of typical texts in it, as a share of what real texts show.",
    r"diversity part": "How diverse the successes are in it, as a share of as many real texts' diversity.",
    r"Vendi 1, .*": "How many clearly different texts there are in effect, judged by {what}; every text counts alike.",
    r"Vendi 2, .*": "The same, judged by {what}, with more weight on what comes often.",
    r"distinct-1": "Share of different words among all words.",
    r"distinct-(\d)": "Share of different runs of {what} words among all such runs.",
    r"self-BLEU": "How much of a text its likeliest neighbours say too: lower is more diverse.",
    r"compression ratio": "How many times smaller the texts get when packed together: lower is more diverse.",
    r"distinct attributes": "Share of different combinations of the world's attributes among the texts.",
    r"base NLL": "How unlikely the base model finds the texts, in nats per token.",
    r"typical": "Share of the texts that it finds as likely as the middle nine tenths of real ones.",
    r"typicality": "How near the middle of the real texts they lie: 0.5 for texts like real ones, less for too bland "
    "and for too strange ones.",
    r"pressure": "How far the sampler was pushed from the base model: mean KL(steered ‖ base), in nats per token.",
    r"p95 pressure( per text)?": "The pressure that one token in twenty exceeds.",
    r"total pressure": "Nats paid for a whole text, on average.",
    r"branching factor": "Among how many next tokens the sampler in effect chose: 1 is certainty.",
    r"broken down": "Share of texts that somewhere get stranger to the base model than all but one real text in 100.",
    r"breakdowns per nat": "How many such places there are for each nat of pressure borne.",
}
"""By the pattern of a figure's name."""

NAMES = (
    "success", "judge's accuracy", "probe less judge", "frontier", "successful", "typical part", "diversity part",
    "Vendi 1, words", "Vendi 2, words", "Vendi 1, activations", "Vendi 2, activations", "distinct-1", "distinct-2",
    "distinct-3", "self-BLEU", "compression ratio", "distinct attributes", "base NLL", "typical", "typicality",
    "pressure", "p95 pressure", "total pressure", "branching factor", "broken down", "breakdowns per nat",
)  # fmt: skip
"""The figures of a report, in its order."""


def meaning(name: str) -> str:
    """Return what a figure means, or nothing where its name is not known.

    >>> meaning("distinct-2")
    'Share of different runs of 2 words among all such runs.'
    """
    for pattern, text in MEANINGS.items():
        if found := re.fullmatch(pattern, name):
            return text.format(what=found[1] if found.groups() and found[1] else name.rpartition(", ")[2])
    return ""
