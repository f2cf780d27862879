"""biodist: a distributed training harness for biomedical language models."""

__version__ = "0.1.0"
