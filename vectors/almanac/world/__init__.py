"""The data of the embedded model: its distribution, its phrases, the author that writes, the oracle that reads."""
