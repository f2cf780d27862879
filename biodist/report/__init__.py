"""The report: one self-contained page, its short form in the terminal, and the model card."""
