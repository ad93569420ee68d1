"""The commands about concepts: extract, discover, keep, ls, show, import, export."""
