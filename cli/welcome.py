"""What `steer` says by itself: the things people do with it, each with a command that works as it stands."""

THINGS = (
    ("Write four sonnets about a quantum machine, told by a cat",
     ('steer compose "sonnet + quantum + cat" -n 4 --radius 0.5',)),
    ("Search by hand, a screen of texts at a time",
     ('steer explore "sonnet + cat"',)),
    ("Make a concept of your own from texts, here those that the model writes itself",
     ('steer compose "sea + fearful" -n 120 -o storms.jsonl', "steer extract storm --positive storms.jsonl",
      'steer compose "storm + letter" -n 4')),
    ("Measure what came out, and look at it in a browser",
     ('steer compose "sea + calm" -n 64 -o sea.jsonl', "steer report sea.jsonl --html sea.html")),
    ("Take steering elsewhere, as a folder that transformers and llama.cpp read",
     ('steer export "sonnet + cat" -o steered-almanac',)),
)  # fmt: skip
"""What each is, and the commands for it."""


def welcome() -> str:
    """Return what a newcomer wants to see."""
    lines = ["Find concepts in a base language model, switch them on inside it, and sample it", "without a prompt.", ""]
    for what, commands in THINGS:
        lines += [f"{what}:", *(f"  {command}" for command in commands), ""]
    return "\n".join([*lines, "A short tour: steer demo. The concepts: steer ls. All commands: steer --help."])
