"""The Compare dock: two layers side by side, under a curtain, or in turn."""
