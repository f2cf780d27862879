"""A run rehearsed: a few steps of it, once undisturbed and once killed and resumed, before its days begin."""
