"""How different the texts of a run are: n-grams, self-BLEU, Vendi score."""
