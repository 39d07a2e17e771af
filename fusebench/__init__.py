"""fusebench: does fusing several causal language models into one pay off, by which method, is the gain real?"""

__version__ = "0.1.0"
