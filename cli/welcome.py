"""What `steer` prints without a command: five tasks, each with commands to copy."""

THINGS = (
    ("Sample four sonnets about quantum machines and cats",
     ('steer compose "sonnet + quantum + cat" -n 4 --radius 0.5',)),
    ("Search interactively: read texts, pick some, sample around them",
     ('steer explore "sonnet + cat"',)),
    ("Learn a concept of your own from texts, here from texts of the model itself",
     ('steer compose "sea + fearful" -n 120 -o storms.jsonl', "steer extract storm --positive storms.jsonl --layer 1",
      'steer compose "storm + letter" -n 4')),
    ("Measure a run, and read it in a browser",
     ('steer compose "sea + calm" -n 64 -o sea.jsonl', "steer report sea.jsonl --html sea.html")),
    ("Export a steered model that transformers and llama.cpp can load",
     ('steer export "sonnet + cat" -o steered-almanac',)),
)  # fmt: skip
"""Task and commands."""


def welcome() -> str:
    """Return the text that `steer` prints without a command."""
    lines = ["Find concepts in a base language model, switch them on inside it, and sample it", "without a prompt.", ""]
    for task, commands in THINGS:
        lines += [f"{task}:", *(f"  {command}" for command in commands), ""]
    return "\n".join([*lines, "Tour: steer demo. Concepts: steer ls. All commands: steer --help."])
