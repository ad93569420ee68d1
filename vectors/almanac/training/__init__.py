"""How the embedded model and its concepts were made."""
