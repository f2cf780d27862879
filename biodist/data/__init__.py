"""Corpora to samples: readers, tokenizers, windows, the Arrow store, order and arrangement. No torch."""
